"""What colluding servers see of each of many images: the masks that every attack starts from.

A view is a mask over SAM's tokens (patches), True where one of the colluding servers got the patch.
For each image the coalition is drawn anew; a secret random assignment is drawn anew too, the others
are the same for every image. All follow from the seed.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from paperlib.pedsam.split.partition import (
    KINDS,
    AssignmentKind,
    WindowGrid,
    assign,
    visible_pixels,
)
from paperlib.seeds import derive, generator


def draw_views(
    grid: WindowGrid,
    kind: AssignmentKind,
    servers: int,
    colluding: int,
    count: int,
    seed: int,
) -> Bool[Tensor, "count tokens tokens"]:
    """The views of `count` coalitions of `colluding` of `servers` servers, one an image.

    Raises:
        ValueError: unknown `kind`, more servers than windows, or not 1 <= colluding <= servers.
    """
    if not 1 <= colluding <= servers:
        raise ValueError(f"colluding={colluding}: 1 to servers={servers} are valid")
    draw, secret = generator(seed, "coalitions"), derive(seed, "secret").to_bytes(8)
    views = []
    for frame in range(count):
        assignment = assign(kind, grid.count, servers, grid, secret, frame)
        coalition = torch.randperm(servers, generator=draw)[:colluding].tolist()
        views.append(visible_pixels(grid, assignment, coalition, patch=1))
    return torch.stack(views)


def draw_mixed_views(
    grid: WindowGrid, servers: Sequence[int], count: int, seed: int
) -> Bool[Tensor, "count tokens tokens"]:
    """Views of all kinds for training: assignment, number of servers (one of `servers`) and size
    of the coalition (1 to all but one, or the single server) are drawn uniformly for each.
    """
    draw = generator(seed, "kinds")
    views = []
    for frame in range(count):
        kind = KINDS[_draw(len(KINDS), draw)]
        k = servers[_draw(len(servers), draw)]
        colluding = 1 + _draw(max(k - 1, 1), draw)
        views.append(draw_views(grid, kind, k, colluding, 1, derive(seed, "view", frame)))
    return torch.cat(views)


def to_pixels(view: Bool[Tensor, "n tokens tokens"], size: int) -> Bool[Tensor, "n {size} {size}"]:
    """The views as masks of images of `size` pixels.

    Raises:
        ValueError: `size` is no multiple of the number of tokens in a row.
    """
    tokens = view.shape[-1]
    if size % tokens:
        raise ValueError(f"size={size}: multiples of {tokens}, the tokens in a row, are valid")
    patch = size // tokens
    return view.repeat_interleave(patch, 1).repeat_interleave(patch, 2)


def _draw(high: int, draw: torch.Generator) -> int:
    return int(torch.randint(high, (), generator=draw))
