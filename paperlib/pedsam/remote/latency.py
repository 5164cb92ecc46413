"""Where the time of one image goes, measured over gRPC.

For each round of an image: CPU seconds of the edge (cutting, serialising, checking, global blocks)
and of each server (reading, windowed blocks, writing), and the bytes up and down of all servers
together. Servers on this machine share its cores, so their CPU time stands for the time that each
would need on a core of its own. What that takes on a network: `paperlib.pedsam.remote.network`.
"""

import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor

from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.listener import serving
from paperlib.pedsam.remote.processes import LocalServer, servers_of
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.remote.wire import FORMATS
from paperlib.pedsam.split.encoder import PartitionedEncoder, Session
from paperlib.pedsam.split.schedule import Round
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runtime import giving_back, peak_memory

CASES = (*(("exact", form) for form in FORMATS), ("pixels_once", "int8"))  # schedule, format
KEYS = ["SAM", "schedule", "format", "servers"]
ALONE = "edge alone"
SPENT = ["edge", "server", "bytes_up", "bytes_down"]


class _Watched:
    """The windowed blocks of an edge, with the CPU seconds that the edge spends on each round."""

    batch = 1

    def __init__(self, compute: EdgeCompute) -> None:
        self.compute = compute

    def begin(self, images: Tensor) -> Session:
        self.session = self.compute.begin(images)
        self.largest = self.session.largest
        self.mark, self.edge = time.thread_time(), defaultdict(float)
        return self

    def run(self, number: int, turn: Round, values: Tensor) -> Tensor:
        self.take(max(number - 1, 0))  # global blocks belong to the round before them
        out = self.session.run(number, turn, values)
        self.take(number)
        return out

    def again(self, number: int, turn: Round, values: Tensor) -> Tensor:
        raise RuntimeError("a server has lied")

    def take(self, number: int) -> None:
        """Count what has been used since the last call to round `number`."""
        now = time.thread_time()
        self.edge[number] += now - self.mark
        self.mark = now


@torch.inference_mode()
def measure_rounds(
    encoder: ImageEncoderViT,
    edge: EdgeCompute,
    schedule: str,
    images: Float[Tensor, "n 3 size size"],
) -> pd.DataFrame:
    """Encode images one by one over the servers of `edge`, one torch thread on this side.

    Returns:
        A row for each image and round: image, round, edge (CPU seconds, the global blocks after the
        round among them), server (largest CPU seconds of a server), bytes_up, bytes_down, wall
        (seconds of the whole image, over loopback).

    Raises:
        RuntimeError: a server failed, so that the edge computed its windows and the times are none
            of the servers'.
    """
    watched = _Watched(edge)
    split = PartitionedEncoder(encoder, watched, schedule)
    rows = []
    for number, x in enumerate(images):
        first, begun = len(edge.calls), time.perf_counter()
        split(x[None])
        wall = time.perf_counter() - begun
        watched.take(len(split.rounds) - 1)
        calls = _answered(edge, first).query("server != 'edge'")
        for r, part in calls.groupby("round"):
            rows.append(
                {
                    "image": number,
                    "round": r,
                    "edge": watched.edge[r],
                    "server": part.server_cpu.max(),
                    "bytes_up": part.bytes_up.sum(),
                    "bytes_down": part.bytes_down.sum(),
                    "wall": wall,
                }
            )
    return pd.DataFrame(rows)


def _answered(edge: EdgeCompute, first: int) -> pd.DataFrame:
    """Calls from `first` on, all of which servers must have answered."""
    calls = edge.table().iloc[first:]
    failed = calls[calls.status != "OK"]
    if len(failed):
        raise RuntimeError(f"{failed.server.iloc[0]} failed: {failed.status.iloc[0]}")
    return calls


def whole_seconds(
    sams: Mapping[str, Sam],
    images: Mapping[str, Float[Tensor, "n 3 size size"]],
    compared: Collection[str],
) -> pd.DataFrame:
    """Median CPU seconds of an image, undistributed: a row for each SAM.

    Args:
        sams: by name.
        images: of each, normalised.
        compared: SAMs whose own encoder is timed too, in the column segment_anything beside ours.
    """
    rows = {}
    for name, sam in sams.items():
        encoders = {"ours": PartitionedEncoder(sam.image_encoder)}
        if name in compared:
            encoders["segment_anything"] = sam.image_encoder
        with giving_back():
            rows[name] = encoder_seconds(encoders, images[name]).median()
    return pd.DataFrame(rows).T.rename_axis("SAM")


@torch.inference_mode()
def encoder_seconds(
    encoders: Mapping[str, torch.nn.Module], images: Float[Tensor, "n 3 size size"]
) -> pd.DataFrame:
    """CPU seconds of this thread for each image, undistributed; the encoders take turns.

    Returns:
        A row for each image, a column for each encoder.
    """
    for encoder in encoders.values():
        encoder(images[:1])  # the first call of a process takes longer
    rows = []
    for x in images:
        taken = {}
        for name, encoder in encoders.items():
            begun = time.thread_time()
            encoder(x[None])
            taken[name] = time.thread_time() - begun
        rows.append(taken)
    return pd.DataFrame(rows)


@torch.inference_mode()
def cpu_of_all(
    encoder: ImageEncoderViT,
    edge: EdgeCompute,
    servers: Sequence[LocalServer],
    images: Float[Tensor, "n 3 size size"],
    turns: int,
) -> dict[str, float]:
    """CPU seconds for each image: of segment_anything's own encoder, of the edge, of all servers.

    The images are encoded together. What is compared takes turns, so that other load on this
    machine falls on both.

    Args:
        encoder: of segment_anything.
        edge: the exact schedule over `servers`.
        servers: processes of this machine.
        images: normalised, as `Sam.preprocess` does.
        turns: how often.

    Raises:
        RuntimeError: a server failed, so that the edge computed its windows.
    """
    split, first = PartitionedEncoder(encoder, edge), len(edge.calls)
    spent = {"own": 0.0, "edge": 0.0, "servers": 0.0}
    split(images)  # the first call of a process takes longer
    for _ in range(turns):
        start = time.process_time()
        encoder(images)
        own, before = time.process_time(), sum(server.cpu_seconds() for server in servers)
        split(images)
        spent["own"] += own - start
        spent["edge"] += time.process_time() - own
        spent["servers"] += sum(server.cpu_seconds() for server in servers) - before
    _answered(edge, first)
    return {name: seconds / (turns * len(images)) for name, seconds in spent.items()}


def measure_cases(
    sams: Mapping[str, Sam],
    images: Mapping[str, Float[Tensor, "n 3 size size"]],
    servers: Mapping[str, Sequence[int]],
    threads: Collection[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`measure_rounds` over servers of this machine for `CASES` and numbers of servers.

    Args:
        sams: by name.
        images: of each, normalised as ``Sam.preprocess`` does.
        servers: numbers of them.
        threads: SAMs whose servers are threads of this process, not processes of their own.

    Returns:
        The rounds, with the columns `KEYS`; and for each SAM the largest resident memory so far, in
        bytes, of a server that is a process and of the edge.
    """
    parts, memory = [], []
    for name, sam in sams.items():
        encoder, worker = sam.image_encoder, WindowBlocks(sam.image_encoder)
        most, largest = max(servers[name]), float("nan")
        with contextlib.ExitStack() as stack:
            started: list[LocalServer] = []
            if name in threads:
                services = (WindowService(worker, Limits()) for _ in range(most))
                addresses = stack.enter_context(serving(services))
            else:
                started = stack.enter_context(servers_of(sam, name, most))
                addresses = [server.address for server in started]
            for k, (schedule, form) in itertools.product(servers[name], CASES):
                with EdgeCompute(worker, addresses[:k], form=form, deadline=600) as edge:
                    rounds = measure_rounds(encoder, edge, schedule, images[name])
                setting = dict(zip(KEYS, (name, schedule, form, k), strict=True))
                parts.append(rounds.assign(**setting))
            if started:
                largest = max(server.peak_memory() for server in started)
        memory.append({"SAM": name, "a server": largest, "the edge": peak_memory()})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(memory).set_index("SAM")


def totals(measured: pd.DataFrame) -> pd.DataFrame:
    """Medians over the images of all rounds together, and of the time that passed, by case."""
    images = measured.groupby([*KEYS, "image"], sort=False)
    total = images[SPENT].sum().join(images[["wall"]].first())
    return total.groupby(KEYS, sort=False).median()


def stages(total: pd.DataFrame, whole: pd.Series) -> pd.DataFrame:
    """CPU seconds of the edge and of the busiest of four servers, and of the edge alone.

    Args:
        total: of `totals`.
        whole: seconds of the whole encoder, by SAM.
    """
    alone = pd.DataFrame({"SAM": whole.index, "case": ALONE, "edge": whole.to_numpy()})
    split = total.xs(4, level="servers")[["edge", "server"]].reset_index()
    split["case"] = [case_name(*case) for case in zip(split.schedule, split.format, strict=True)]
    return pd.concat([alone.assign(server=0.0), split[["SAM", "case", "edge", "server"]]])


def case_name(schedule: str, form: str) -> str:
    """In words."""
    return f"{schedule.replace('_', ' ')}, {form}"


def cpu_by_servers(
    name: str, sam: Sam, images: Float[Tensor, "n 3 size size"], turns: int
) -> pd.DataFrame:
    """`cpu_of_all` over one and four servers, images one by one and as many together as can be."""
    encoder, worker, rows = sam.image_encoder, WindowBlocks(sam.image_encoder), []
    together = min(len(images), worker.grid.batch)
    with servers_of(sam, name, 4) as servers:
        for k, n in itertools.product((1, 4), (1, together)):
            with EdgeCompute(worker, [server.address for server in servers[:k]]) as edge:
                spent = cpu_of_all(encoder, edge, servers[:k], images[:n], turns // n)
            rows.append({"number of servers": k, "images together": n} | spent)
    return pd.DataFrame(rows).set_index(["number of servers", "images together"])
