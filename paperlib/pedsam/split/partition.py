r"""Windows of an image, and which server gets which.

SAM's encoder cuts its $t \times t$ map of tokens into windows of $w \times w$ and pads the map at
the right and bottom to whole windows: $\lceil t/w \rceil^2$ of them, numbered row by row. What
travels is a matrix with a row for each real token of the windows, window after window, row by row
inside a window: tokens, or the patches of pixels they are made of. Padding is made again by
whoever computes. Source: "A Distributed Framework for Privacy-Enhanced Vision Transformers on the
Edge", arXiv 2512.09309 (the partition); segment_anything (windows and padding).
"""

import hashlib
import hmac
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

CPU = torch.device("cpu")
ROWS = 4096  # of a request, and computed at once: the tokens of an image of the published sizes

AssignmentKind = Literal["contiguous", "interleaved", "random"]
KINDS = get_args(AssignmentKind)
SERVERS = (2, 4, 8, 16)  # numbers of them that attack networks are trained for
Assignment = tuple[int, ...]  # server of each window, or EDGE
EDGE = -1  # in an assignment: the window stays on the edge
Box = tuple[int, int, int, int]  # top, left, bottom and right, the last two outside


@dataclass(frozen=True)
class WindowGrid:
    """The windows of an encoder.

    Attributes:
        tokens: along a side of the image.
        window: tokens along a side of a window.
    """

    tokens: int
    window: int

    @classmethod
    def from_encoder(cls, encoder: ImageEncoderViT) -> "WindowGrid":
        """The grid of a SAM encoder.

        Raises:
            ValueError: it has no windowed block.
        """
        sizes = {block.window_size for block in encoder.blocks} - {0}
        if len(sizes) != 1:
            raise ValueError(f"encoder with window sizes {sorted(sizes)}: one size is needed")
        return cls(encoder.img_size // encoder.patch_embed.proj.kernel_size[0], sizes.pop())

    @property
    def per_side(self) -> int:
        """Windows along a side."""
        return -(-self.tokens // self.window)

    @property
    def count(self) -> int:
        """Windows of the image."""
        return self.per_side**2

    @property
    def batch(self) -> int:
        """Images that are computed at once."""
        return max(1, ROWS // self.tokens**2)

    def box(self, window: int) -> Box:
        """Top, left, bottom and right of a window in tokens of the image, the last two outside.

        Raises:
            ValueError: there is no such window.
        """
        if not 0 <= window < self.count:
            raise ValueError(f"window {window}: valid are 0 to {self.count - 1}")
        top, left = (self.window * step for step in divmod(window, self.per_side))
        bottom, right = (min(side + self.window, self.tokens) for side in (top, left))
        return top, left, bottom, right

    def shape(self, window: int) -> tuple[int, int]:
        """Rows and columns of real tokens in a window; fewer at the right and bottom.

        Raises:
            ValueError: there is no such window.
        """
        top, left, bottom, right = self.box(window)
        return bottom - top, right - left

    def contents(self, height: int, width: int, patch: int) -> list[Box]:
        """Where each window has content, in pixels; an empty box where it only fills up.

        Args:
            height, width: of the picture at the top left of the image, as `content_size` says.
            patch: pixels along a side of a token.
        """
        boxes = []
        for window in range(self.count):
            top, left, bottom, right = (patch * side for side in self.box(window))
            bottom, right = max(top, min(bottom, height)), max(left, min(right, width))
            boxes.append((top, left, bottom, right))
        return boxes

    def beside(self, window: int) -> list[int]:
        """The windows next to this one in its row and in its column."""
        row, column = divmod(window, self.per_side)
        places = [(row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)]
        inside = range(self.per_side)
        return [r * self.per_side + c for r, c in places if r in inside and c in inside]

    def layout(self, windows: Sequence[int], device: torch.device = CPU) -> "Layout":
        """Where the tokens of these windows, in the order in which they travel, belong.

        Raises:
            ValueError: there is no such window.
        """
        return _layout(self, tuple(windows), device)

    def rows(self, windows: Sequence[int]) -> Int[Tensor, " rows"]:
        """Tokens of these windows in the order in which they travel, as row · tokens + column."""
        return self.layout(windows).tokens


@dataclass(frozen=True)
class Layout:
    """Places of the tokens of some windows; shared, not to be written.

    Attributes:
        tokens: of each row that travels the token of the image, as row · tokens + column.
        places: of each row that travels its place among the padded windows.
        sources: of each place in the padded windows the row that is there; one beyond the last
            row where there is padding.
    """

    tokens: Int[Tensor, " rows"]
    places: Int[Tensor, " rows"]
    sources: Int[Tensor, " places"]


@lru_cache(maxsize=256)  # a server is asked for the same windows at every image
@torch.inference_mode(False)
def _layout(grid: WindowGrid, windows: tuple[int, ...], device: torch.device) -> Layout:
    if device.type != "cpu":
        here = _layout(grid, windows, CPU)
        return Layout(*(each.to(device) for each in (here.tokens, here.places, here.sources)))
    w = grid.window
    token = torch.arange(grid.tokens**2).view(grid.tokens, grid.tokens)
    place = torch.arange(len(windows) * w * w).view(len(windows), w, w)
    tokens, places = [token.new_empty(0)], [token.new_empty(0)]
    for number, window in enumerate(windows):
        top, left, bottom, right = grid.box(window)
        tokens.append(token[top:bottom, left:right].flatten())
        places.append(place[number, : bottom - top, : right - left].flatten())
    layout = Layout(torch.cat(tokens), torch.cat(places), torch.empty_like(place).flatten())
    rows = len(layout.tokens)
    layout.sources.fill_(rows)[layout.places] = torch.arange(rows)
    return layout


def patches(
    images: Float[Tensor, "n 3 size size"], patch: int
) -> Float[Tensor, "n tokens features"]:
    """Cut images into patches, row by row, each flattened as (3, patch, patch)."""
    n, colours, size, _ = images.shape
    t = size // patch
    cut = images.view(n, colours, t, patch, t, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, t * t, colours * patch**2)


def content_size(image: Float[Tensor, "3 size size"]) -> tuple[int, int]:
    """Height and width of a picture in the square that ``Sam.preprocess`` fills up with zeros.

    Rows at the bottom and columns at the right that are zero in all colours are filling.
    """
    filled = image.ne(0).any(0)
    ends = [
        lines.nonzero().amax() + 1 if lines.any() else 0 for lines in (filled.any(1), filled.any(0))
    ]
    return int(ends[0]), int(ends[1])


def area(box: Box) -> int:
    """Pixels in a box."""
    top, left, bottom, right = box
    return (bottom - top) * (right - left)


def bound(sizes: Sequence[int], servers: int, content: int | None = None) -> int:
    r"""Most content that a server may get: $T/k + (1 - 1/k) m$, rounded down.

    $T$ is `content`, or that of all windows together if None (where they overlap, that is more),
    $m$ that of the largest window, $k$ the number of servers. One of several servers may get
    nothing where a single window shows everything ($m = T$): such a picture stays on the edge.
    """
    total, largest = sum(sizes) if content is None else content, max(sizes)
    if servers > 1 and largest >= total:
        return 0
    return (total + (servers - 1) * largest) // servers


@runtime_checkable
class Sight(Protocol):
    """What servers see of a picture, while the windows of an image of it are given away."""

    def gain(self, server: int, window: int) -> int:
        """Pixels of a window that a server had not seen before this image."""

    def allows(self, server: int, window: int) -> bool:
        """Whether a server that is given this window too sees no more than it may."""

    def give(self, server: int, window: int) -> None:
        """Have a server see a window."""


def assign(
    kind: str,
    windows: int,
    servers: int,
    grid: WindowGrid,
    secret: bytes = b"",
    frame: int = 0,
    *,
    sizes: Sequence[int] | None = None,
    sight: Sight | None = None,
) -> Assignment:
    """Give every window with content to a server; none gets more content than its bound.

    Windows are given away one by one, each to a server that keeps its bound with it: of those, to
    one that gains least of the picture, then to the one that `kind` prefers. Without `sight` there
    always is one, unless a single window has all content: were a window of content $c$ too much for
    each of the $k$ servers, they would have more than $k (b - c) \\ge T - c$ already, with $b$ the
    `bound`.

    Args:
        kind: what is preferred: contiguous (runs of the row-by-row order), interleaved (in turns
            along the diagonals, so that neighbours in a row, and with two servers or more in a
            column too, go to different servers wherever the numbers allow it) or random (in a
            secret order, each window to the server with the least content so far).
        windows: how many there are, as `grid` says.
        servers: 1 to `windows`.
        grid: where the windows lie.
        secret: of the edge; decides a random assignment together with `frame`.
        frame: number of the image; nothing else of the image decides.
        sizes: content of each window: the `area` of its box in `WindowGrid.contents`, or its tokens
            if None.
        sight: what servers see of the picture, and may see; is told what they are given.

    Returns:
        The server of each window, `EDGE` where there is no content or no server may have it.

    Raises:
        ValueError: unknown `kind`; no valid number of servers; random without a secret.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: valid are {', '.join(KINDS)}")
    if windows != grid.count or not 1 <= servers <= windows:
        raise ValueError(
            f"{servers} servers for {windows} windows: valid are the grid's {grid.count} windows "
            f"and 1 to {grid.count} servers"
        )
    if kind == "random" and not secret:
        raise ValueError("secret: a random assignment needs one, 16 random bytes or more")
    if sizes is None:
        sizes = [area(box) for box in grid.contents(grid.tokens, grid.tokens, patch=1)]
    most, order, rank = bound(sizes, servers), [*range(windows)], [*range(servers)]
    if kind == "random":
        key = hmac.new(secret, str(frame).encode(), hashlib.sha256).digest()
        draw = random.Random(key)
        draw.shuffle(order)
        draw.shuffle(rank)
    wishes = _wishes(kind, sizes, servers, grid)
    assignment, loads = [EDGE] * windows, [0] * servers

    def preference(window: int, server: int) -> tuple[int, ...]:
        gain, apart = sight.gain(server, window) if sight else 0, abs(server - wishes[window])
        if kind == "random":
            return gain, loads[server], rank[server]
        if kind == "contiguous":
            return gain, apart, -server
        near = [assignment[each] for each in grid.beside(window)]
        return gain, min(apart, 1), near.count(server), loads[server]

    for window in (each for each in order if sizes[each]):
        fits = [
            server
            for server in range(servers)
            if loads[server] + sizes[window] <= most
            and (sight is None or sight.allows(server, window))
        ]
        if fits:
            server = min(fits, key=partial(preference, window))
            assignment[window] = server
            loads[server] += sizes[window]
            if sight:
                sight.give(server, window)
    return tuple(assignment)


def _wishes(kind: str, sizes: Sequence[int], servers: int, grid: WindowGrid) -> list[int]:
    """The server that each window should have by `kind`."""
    if kind == "contiguous":
        full = [window for window, size in enumerate(sizes) if size]
        wished = [0] * len(sizes)
        for place, window in enumerate(full):  # equal numbers of windows
            wished[window] = place * servers // len(full)
        loads = [
            sum(c for c, w in zip(sizes, wished, strict=True) if w == k) for k in range(servers)
        ]
        if max(loads) <= bound(sizes, servers):
            return wished
        before = accumulate(sizes, initial=0)  # else equal parts of the content
        middles = [2 * start + size for start, size in zip(before, sizes, strict=False)]
        return [min(middle * servers // (2 * sum(sizes)), servers - 1) for middle in middles]
    shift = _shift(grid.per_side, servers)
    places = [divmod(window, grid.per_side) for window in range(grid.count)]
    wished = [(row * shift + column) % servers for row, column in places]
    counts = [*map(wished.count, range(servers))]
    if max(counts) - min(counts) <= 1:
        return wished
    return [window % servers for window in range(grid.count)]


def _shift(per_side: int, servers: int) -> int:
    """Steps from row to row such that a column goes round the servers, as knights on a board."""
    for shift in (2, 3, 1):
        if servers > 1 and shift % servers and (shift - 1) % servers and (shift + 1) % servers:
            return shift
    return per_side + 1 if per_side % servers == 0 else per_side


def neighbours(grid: WindowGrid, assignment: Assignment) -> float:
    """Share of the pairs of windows side by side, in a row or a column, that one server gets."""
    pairs = [(a, b) for a in range(grid.count) for b in grid.beside(a) if a < b]
    return sum(assignment[a] == assignment[b] != EDGE for a, b in pairs) / len(pairs)


def owner_map(grid: WindowGrid, assignment: Assignment, patch: int) -> Int[Tensor, "size size"]:
    """Server of every pixel; with patch=1, of every token."""
    owner = torch.empty(grid.tokens**2, dtype=torch.long)
    for window, server in enumerate(assignment):
        owner[grid.rows([window])] = server
    square = owner.view(grid.tokens, grid.tokens)
    return square.repeat_interleave(patch, 0).repeat_interleave(patch, 1)


def visible_pixels(
    grid: WindowGrid, assignment: Assignment, servers: Collection[int], patch: int
) -> Bool[Tensor, "size size"]:
    """Which pixels these servers see together; with patch=1, which tokens."""
    return torch.isin(owner_map(grid, assignment, patch), torch.tensor(sorted(servers)))
