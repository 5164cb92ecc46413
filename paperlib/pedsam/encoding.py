"""One image over servers of this machine, for every assignment and number of servers."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.ledger import Ledger
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import KINDS, WindowGrid, assign, assignment_table, neighbours
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks


@dataclass(frozen=True)
class Encoded:
    """An image encoded over servers.

    Attributes:
        embeddings: by assignment and number of servers.
        ledgers: the same, what was sent to whom; servers are numbered from 0.
        log: what the first server said of its calls, an entry a line.
    """

    embeddings: dict[tuple[str, int], Float[Tensor, "1 channels rows columns"]]
    ledgers: dict[tuple[str, int], pd.DataFrame]
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


def assignments(
    grid: WindowGrid, servers: Sequence[int], secret: bytes, patch: int
) -> pd.DataFrame:
    """Every assignment, a row a window: servers, assignment, server, place in pixels, and `share`.

    `share` is that of the image's pixels that this window's server gets, 0 to 1.
    """
    parts = []
    for k, kind in itertools.product(servers, KINDS):
        part = assignment_table(grid, assign(kind, grid.count, k, grid, secret), patch)
        pixels = (part.bottom - part.top) * (part.right - part.left)
        share = pixels.groupby(part.server).transform("sum") / pixels.sum()
        parts.append(part.assign(servers=k, assignment=kind, share=share))
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
    encoder: ImageEncoderViT,
    x: Float[Tensor, "1 3 size size"],
    servers: Sequence[int],
    secret: bytes,
) -> Encoded:
    """Encode an image over real servers, each a process of its own.

    Args:
        name: of the SAM, which the servers load.
        encoder: the same SAM's.
        x: the image, as ``Sam.preprocess`` gives it.
        servers: numbers of them.
        secret: of the edge.
    """
    worker, embeddings, ledgers = WindowBlocks(encoder), {}, {}
    with local_servers(max(servers), ["--sam", name]) as started:
        addresses = [server.address for server in started]
        for kind, k in itertools.product(KINDS, servers):
            with EdgeCompute(worker, addresses[:k], assignment=kind, secret=secret) as edge:
                embeddings[kind, k] = PartitionedEncoder(encoder, edge)(x)
            ledgers[kind, k] = _numbered(edge.ledger, addresses)
        log = [json.loads(line) for line in started[0].log.read_text().splitlines()]
    return Encoded(embeddings, ledgers, log)


def _numbered(ledger: Ledger, addresses: Sequence[str]) -> pd.DataFrame:
    table = ledger.table()
    return table.assign(server=table.server.map(addresses.index))


def largest_shares(grid: WindowGrid, encoded: Encoded) -> pd.DataFrame:
    """Largest share of the image's pixels that a server was sent, all rounds together."""
    rows = []
    for (kind, k), ledger in encoded.ledgers.items():
        windows = ledger.groupby("server").window.unique()
        pixels = max(len(grid.rows(each.tolist())) for each in windows) / grid.tokens**2
        rows.append({"assignment": kind, "servers": k, "pixels": pixels})
    return pd.DataFrame(rows)
