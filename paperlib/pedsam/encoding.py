"""Pictures over servers of this machine, for every assignment and number of servers."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor

from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.ledger import Ledger
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.split.encoder import LocalCompute, PartitionedEncoder
from paperlib.pedsam.split.partition import (
    EDGE,
    KINDS,
    Assignment,
    Box,
    WindowGrid,
    area,
    assign,
    bound,
    neighbours,
)
from paperlib.pedsam.split.schedule import Round, rounds
from paperlib.pedsam.split.worker import WindowBlocks

SIDES = ("top", "left", "bottom", "right")
SHAPES = {  # width and height of pictures, as shares of the encoder's side
    "20:1": (1, 1 / 20),
    "21:9": (1, 9 / 21),
    "16:9": (1, 9 / 16),
    "4:3": (1, 3 / 4),
    "1:1": (1, 1),
    "3:4": (3 / 4, 1),
    "9:16": (9 / 16, 1),
    "1:20": (1 / 20, 1),
}


@dataclass(frozen=True)
class Encoded:
    """Pictures encoded over servers.

    Attributes:
        difference: largest from the encoder's own embeddings.
        ledgers: of the 1:1 picture by assignment and number of servers: what was sent to whom;
            servers are numbered from 0.
        shares: a row for each shape, assignment and number of servers: the largest share of the
            picture's pixels that a server was sent, all rounds together, and its bound.
        log: what the first server said of its calls, an entry a line.
    """

    difference: float
    ledgers: dict[tuple[str, int], pd.DataFrame]
    shares: pd.DataFrame
    log: list[dict[str, Any]]


def rounds_table(encoders: Mapping[str, ImageEncoderViT]) -> pd.DataFrame:
    """The exact schedule: a row for each SAM and round."""
    rows = []
    for name, encoder in encoders.items():
        windows = WindowGrid.from_encoder(encoder).count
        for number, turn in enumerate(rounds(encoder, "exact")):
            row = {"SAM": name, "windows": windows, "round": number}
            row |= {"sent": "pixels" if turn.pixels else "tokens"}
            row |= {"servers run": " ".join(map(str, turn.server_blocks))}
            rows.append(row | {"edge runs": " ".join(map(str, turn.edge_blocks))})
    return pd.DataFrame(rows).set_index(["SAM", "windows", "round"])


def assignment_table(assignment: Assignment, boxes: Sequence[Box]) -> pd.DataFrame:
    """A row for each window that a server gets: window, server, and its sides in pixels.

    Args:
        assignment: of the windows.
        boxes: where each window has content, of `WindowGrid.contents`.

    Returns:
        window, server, top, left, bottom, right.
    """
    rows = [
        {"window": window, "server": server} | dict(zip(SIDES, box, strict=True))
        for window, (server, box) in enumerate(zip(assignment, boxes, strict=True))
        if server != EDGE
    ]
    return pd.DataFrame(rows)


def assignments(
    grid: WindowGrid,
    servers: Sequence[int],
    secret: bytes,
    patch: int,
    size: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """Every assignment of a picture.

    Args:
        grid: of the windows.
        servers: numbers of them.
        secret: of the edge.
        patch: pixels along a side of a token.
        size: height and width of the picture, in pixels, at the encoder's size; all of its square
            if None.

    Returns:
        A row a window with content: servers, assignment, server, place in pixels, `share` (of the
        picture's pixels, those that this window's server gets, 0 to 1) and its `bound`.
    """
    boxes, parts = grid.contents(*(size or 2 * (patch * grid.tokens,)), patch), []
    sizes = [area(box) for box in boxes]
    for k, kind in itertools.product(servers, KINDS):
        part = assignment_table(assign(kind, grid.count, k, grid, secret, sizes=sizes), boxes)
        pixels = (part.bottom - part.top) * (part.right - part.left)
        share = pixels.groupby(part.server).transform("sum") / pixels.sum()
        most = bound(sizes, k) / sum(sizes)
        parts.append(part.assign(servers=k, assignment=kind, share=share, bound=most))
    return pd.concat(parts, ignore_index=True)


def neighbours_table(
    grid: WindowGrid, servers: Sequence[int], secret: bytes, frames: int
) -> pd.DataFrame:
    """Share of neighbouring windows on one server; of random assignments the mean over frames."""
    rows = []
    for kind, k in itertools.product(KINDS, servers):
        drawn = range(frames if kind == "random" else 1)
        found = [neighbours(grid, assign(kind, grid.count, k, grid, secret, t)) for t in drawn]
        rows.append({"assignment": kind, "servers": k, "share": sum(found) / len(found)})
    return pd.DataFrame(rows)


@torch.inference_mode()
def encode_over_servers(
    name: str,
    sam: Sam,
    image: Float[Tensor, "1 3 size size"],
    servers: Sequence[int],
    secret: bytes,
) -> Encoded:
    """Encode an image, cut to each of `SHAPES`, over real servers, each a process of its own.

    Args:
        name: of the SAM, which the servers load.
        sam: the same.
        image: 0 to 255, of the encoder's size.
        servers: numbers of them.
        secret: of the edge, of any length.
    """
    key = sha256(secret).digest()
    encoder, side = sam.image_encoder, image.shape[-1]
    worker, grid = WindowBlocks(encoder), WindowGrid.from_encoder(encoder)
    differences, ledgers, rows = [], {}, []
    with local_servers(max(servers), ["--sam", name]) as started:
        addresses = [server.address for server in started]
        for shape, (width, height) in SHAPES.items():
            size = round(height * side), round(width * side)
            x = sam.preprocess(image[..., : size[0], : size[1]])
            own, sizes = encoder(x), [area(box) for box in grid.contents(*size, worker.patch)]
            for kind, k in itertools.product(KINDS, servers):
                with EdgeCompute(worker, addresses[:k], assignment=kind, secret=key) as edge:
                    found = PartitionedEncoder(encoder, edge)(x)
                differences.append((found - own).abs().max().item())
                row = {"shape": shape, "assignment": kind, "servers": k}
                row["share"] = edge.ledger.exposure().share.max()
                rows.append(row | {"bound": bound(sizes, k) / sum(sizes)})
                if shape == "1:1":
                    ledgers[kind, k] = _numbered(edge.ledger, addresses)
        log = [json.loads(line) for line in started[0].log.read_text().splitlines()]
    return Encoded(max(differences), ledgers, pd.DataFrame(rows), log)


class _Changed(LocalCompute):
    """In this process, with the first round's answer changed."""

    def __init__(self, worker: WindowBlocks, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(worker)
        self.change = change

    def run(self, number: int, turn: Round, values: Tensor) -> Tensor:
        out = super().run(number, turn, values)
        return out if number else self.change(out)


@torch.inference_mode()
def inexact_splits(sam: Sam, image: Float[Tensor, "1 3 size size"]) -> dict[str, float]:
    """Largest difference of splits that are not exact from SAM's own embedding.

    Args:
        sam: of any size.
        image: 0 to 255, of the encoder's size.

    Returns:
        By name: two neighbouring tokens change places in the first round; tokens come back from it
        as float16; all windowed blocks run in one round, before the global ones.
    """
    encoder, x = sam.image_encoder, sam.preprocess(image)
    worker, own = WindowBlocks(encoder), encoder(x)
    middle = worker.grid.tokens**2 // 2
    order = [*range(middle), middle + 1, middle, *range(middle + 2, worker.grid.tokens**2)]
    splits = {
        "two tokens exchanged": (_Changed(worker, lambda out: out[:, order]), "exact"),
        "float16": (_Changed(worker, lambda out: out.half().float()), "exact"),
        "pixels once": (LocalCompute(worker), "pixels_once"),
    }
    found = {name: PartitionedEncoder(encoder, *how)(x) for name, how in splits.items()}
    return {name: (each - own).abs().max().item() for name, each in found.items()}


def _numbered(ledger: Ledger, addresses: Sequence[str]) -> pd.DataFrame:
    table = ledger.table()
    return table.assign(server=table.server.map(addresses.index))
