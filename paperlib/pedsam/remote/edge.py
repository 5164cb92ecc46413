"""The edge's side: send each server its windows, gather the results, and trust nothing.

An `EdgeCompute` takes the place of `LocalCompute`. For each image it assigns windows to servers;
for each round it sends to all of them at once and takes the results as they come. Several images
travel together, a request to each server: of a small model, a request costs more than a window.
Every sending is entered in the ledger first.

Windows that only fill a picture up to the square stay here, in every round: in the first they are
the same for every picture and computed once, later they are not, as global attention has mixed
the picture into them. So do windows that would let a server see more of a picture than its limit.

A server that has failed (`paperlib.pedsam.remote.request`) is not asked again for these images: its
windows are computed here, or by a spare that has no part in them. At the next images it is tried
again, after a new check of what it is. One whose reply cannot be honest
(`paperlib.pedsam.remote.honesty`) is not used any more.
"""

import logging
import queue
import random
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Literal, get_args

import grpc
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.connection import Connection, ServerMismatchError
from paperlib.pedsam.remote.honesty import Range, agrees
from paperlib.pedsam.remote.ledger import ExposureError, Ledger
from paperlib.pedsam.remote.picture import Pictures
from paperlib.pedsam.remote.request import Call, Part, Request
from paperlib.pedsam.split.partition import EDGE, assign
from paperlib.pedsam.split.schedule import Round
from paperlib.pedsam.split.worker import WindowBlocks

LOG = logging.getLogger("paperlib.pedsam.remote.edge")
CHECK_SECONDS = 5.0  # that a server has to say what it is
Fallback = Literal["edge", "spare", "fail"]


class ServerFailedError(RuntimeError):
    """A server failed, and nothing is to be computed in its place."""


class EdgeCompute:
    """Windowed blocks on servers. A context manager; leaving it closes the connections.

    Attributes:
        ledger: what was sent to whom.
        calls: every request so far, in the order of its end.
        distrusted: servers and spares that have lied.
    """

    def __init__(
        self,
        worker: WindowBlocks,
        servers: Sequence[str],
        *,
        assignment: str = "interleaved",
        secret: bytes = b"",
        exposure_limit: float | None = None,
        checks: int | Literal["strict"] = 0,
        form: str = "float32",
        deadline: float = 30.0,
        fallback: str = "edge",
        spares: Sequence[str] = (),
        certificates: Path | None = None,
    ) -> None:
        """Connect and check what the servers are; one that is not there is tried again later.

        Args:
            worker: the same blocks as the servers', for what the edge computes itself.
            servers: HOST:PORT of each.
            assignment: contiguous, interleaved or random (see `partition.assign`).
            secret: decides a random assignment and which windows are checked; without one the
                latter come from the system.
            exposure_limit: share of a picture's pixels that a server may see, above 0, in all its
                encodings together; `partition.bound` of the whole picture if None.
            checks: windows of an image that are computed again here in each round, to compare with
                the replies; strict: all of them.
            form: of numbers on the wire: float32, float16 or int8.
            deadline: seconds that a server has for one call.
            fallback: what is done with the windows of a server that fails: edge computes them;
                spare has a spare do it, and the edge once no spare is left; fail raises, and so
                it does at the exposure limit, where with the others the edge computes the rest.
            spares: HOST:PORT of servers that stand by.
            certificates: the client's folder (see `paperlib.pedsam.remote.certificates`).

        Raises:
            ValueError: an argument out of its range, or without use beside the others.
            ServerMismatchError: a server of another version, model or weights.
        """
        if fallback not in get_args(Fallback):
            raise ValueError(f"fallback={fallback!r}: valid are edge, spare, fail")
        if bool(spares) != (fallback == "spare"):
            raise ValueError(f"fallback={fallback!r} with {len(spares)} spares: they go together")
        if form not in wire.FORMATS:
            raise ValueError(f"form={form!r}: valid are {', '.join(wire.FORMATS)}")
        if exposure_limit is not None and not 0 < exposure_limit <= 1:
            raise ValueError(f"exposure_limit={exposure_limit}: above 0, up to 1 is valid")
        if checks != "strict" and checks < 0:
            raise ValueError(f"checks={checks}: a number from 0, or strict, is valid")
        if deadline <= 0:
            raise ValueError(f"deadline={deadline}: seconds above 0 are valid")
        names = [*servers, *spares]
        if len(set(names)) != len(names):
            raise ValueError(f"servers {names}: one stands twice")
        self.worker, self.form, self.deadline = worker, form, deadline
        self.servers, self.spares = tuple(servers), tuple(spares)
        self._how = (assignment, worker.grid.count, len(servers), worker.grid, secret)
        assign(*self._how)
        self.fallback, self.checks = fallback, checks
        self.draw = random.Random(secret) if secret else random.SystemRandom()  # of what is checked
        self.range, self.distrusted = Range(worker), set[str]()
        self.ledger = Ledger()
        self.calls: list[Call] = []
        self.pictures = Pictures(worker.grid, worker.patch, len(servers), exposure_limit)
        self._filling: dict[tuple[int, tuple[int, ...]], Tensor] = {}  # by window and blocks
        self.weights = wire.worker_fingerprint(worker)
        limit = wire.request_bytes(worker, wire.request_rows(worker))
        self.connections = {name: Connection(name, certificates, limit) for name in names}
        self.unchecked = set(names)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "EdgeCompute":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in self.connections.values():
            connection.channel.close()

    @property
    def batch(self) -> int:
        """Images that go together: a server takes its windows of them in one request."""
        checked = self.connections.keys() - self.unchecked
        limits = [self.connections[name].limit_rows for name in checked]
        return max(
            1, min([self.worker.grid.batch, *(n // self.worker.grid.tokens**2 for n in limits)])
        )

    def picture(
        self, name: str, height: int, width: int, *, video: bool = False
    ) -> AbstractContextManager[None]:
        """Count all that is encoded in this context as one picture (see `Pictures.open`)."""
        return self.pictures.open(name, height, width, video)

    def crop(self, left: int, top: int, right: int, bottom: int) -> AbstractContextManager[None]:
        """Within `picture`: what is encoded is this part of it (see `Pictures.crop`)."""
        return self.pictures.crop(left, top, right, bottom)

    def begin(self, images: Float[Tensor, "n 3 size size"]) -> "EdgeSession":
        """Start some images: assign their windows, and try again the servers that failed before.

        Raises:
            ExposureError: at the exposure limit, with `fallback` fail.
            ValueError: an image that is not what the open picture should show.
        """
        numbers = [self._enter(image) for image in images]
        try:
            self._check()
        except ServerMismatchError as error:  # it was another one when this run began
            LOG.warning("%s; it is not used", error)
        return EdgeSession(self, numbers, set(self.unchecked))

    def filling(
        self, windows: Sequence[int], blocks: tuple[int, ...]
    ) -> Float[Tensor, "rows channels"]:
        """What the first round makes of windows without content; computed once."""
        grid, features = self.worker.grid, wire.pixel_features(self.worker)
        for window in windows:
            if (window, blocks) not in self._filling:
                zeros = torch.zeros(len(grid.rows([window])), features)
                with torch.no_grad():
                    self._filling[window, blocks] = self.worker(zeros, [window], blocks, True)
        return torch.cat([self._filling[window, blocks] for window in windows])

    def table(self) -> pd.DataFrame:
        """`calls`, a row each, with the fields of `Call` as columns."""
        names = [field.name for field in fields(Call)]
        return pd.DataFrame([asdict(call) for call in self.calls], columns=names)

    def forget(self, server: str) -> None:
        """Have a server checked again before it is used for another image."""
        self.unchecked.add(server)

    def _enter(self, image: Float[Tensor, "3 size size"]) -> int:
        """Assign the windows of an image; its number in the ledger."""
        found = self.pictures.find(image)
        assignment = assign(
            *self._how,
            found.number,
            sizes=found.sizes,
            most=self.pictures.limit(found.sizes),
            gains=[found.picture.gains(server, found.places) for server in self.servers],
            rooms=[found.picture.room(server) for server in self.servers],
        )
        kept = [size for owner, size in zip(assignment, found.sizes, strict=True) if owner == EDGE]
        if self.fallback == "fail" and any(kept):
            raise ExposureError("servers have seen as much of the picture as they may")
        return self.ledger.begin(assignment, self.servers, found.picture, found.sizes, found.places)

    def _check(self) -> None:
        """Check the servers that are new or have failed; those in order leave `unchecked`."""
        ask, seconds = pb.DescribeRequest().SerializeToString(), min(self.deadline, CHECK_SECONDS)
        asked = {
            name: self.connections[name].describe.future(ask, timeout=seconds)
            for name in sorted(self.unchecked - self.distrusted)
        }
        mismatches = []
        for name, answer in asked.items():
            try:
                self.connections[name].check(answer.result(), self.worker, self.weights)
            except grpc.RpcError as error:
                LOG.warning("%s cannot be reached: %s", name, error.code().name)
                continue
            except ServerMismatchError as error:
                mismatches.append(error)
                continue
            self.unchecked.discard(name)
        if mismatches:
            raise mismatches[0]


class EdgeSession:
    """Some images, round after round.

    Attributes:
        largest: size of tokens that the wire's number format carries.
    """

    def __init__(self, edge: EdgeCompute, images: Sequence[int], failed: set[str]) -> None:
        """Give the windows of `failed` servers to others.

        Args:
            edge: whose servers are used.
            images: numbers in the ledger.
            failed: servers and spares that are not to be asked.
        """
        self.edge, self.images, self.failed = edge, images, failed
        self.largest = wire.LARGEST[edge.form]
        self.parts: dict[str, Part] = {}  # of each server that takes part
        self.own: list[Part] = []  # computed here
        self.filling = self._part(
            {image: edge.ledger.kept(image, content=False) for image in images}
        )
        kept = self._part({image: edge.ledger.kept(image, content=True) for image in images})
        if kept.order:
            self.own.append(kept)
        for name in edge.servers:
            part = self._part({image: edge.ledger.allowed(image, name) for image in images})
            if not part.order:
                continue
            if name in failed:
                self._replace(name, part)
            else:
                self.parts[name] = part

    def run(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """Send a round to all servers, gather what comes back, make up for what does not.

        Args:
            number: of the round, for the ledger.
            turn: what the servers compute.
            values: all tokens of the images, row by row; patches of pixels if `turn` says so.

        Raises:
            WireError: `values` are not finite in the format of the wire.
            ExposureError: a server would get a window that it may not see.
        """
        edge, (n, tokens, _) = self.edge, values.shape
        values = values.flatten(0, 1)
        out = torch.empty(n * tokens, edge.worker.channels)
        self._sample = {image: self._draw(image) for image in self.images}
        finished: queue.SimpleQueue[Request] = queue.SimpleQueue()
        sent: list[Request] = []

        def send(name: str) -> None:
            part = self.parts[name]
            call = self._call(number, name, part)
            request = Request(call, part, turn, values, edge.weights, edge.form)
            for image, windows in part.windows.items():
                edge.ledger.record(image, number, name, windows, turn.pixels)
            request.send(edge.connections[name], edge.deadline, finished)
            sent.append(request)

        def compute(part: Part) -> None:
            self._compute_here(number, part, turn, values, out)

        def believe(request: Request, reply: Tensor) -> bool:
            return self._believe(request, turn, values, reply)

        try:
            for name in self.parts:
                send(name)
            for part in self.own:
                compute(part)
            if self.filling.order and turn.pixels:
                rows = edge.filling(self.filling.order, turn.server_blocks)
                out[self.filling.rows] = rows
            elif self.filling.order:
                compute(self.filling)
            taken = 0
            while taken < len(sent):
                request = finished.get()
                taken += 1
                edge.calls.append(request.call)
                if not request.take(out, believe):
                    spare = self._fail(request.call)
                    if spare is None:
                        compute(request.part)
                    else:
                        send(spare)
        finally:
            for request in sent:
                request.cancel()
        self._out = out
        return out.unflatten(0, (n, tokens))

    def again(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """Compute all windows of the last round here; servers whose replies differ have lied.

        Args:
            number, turn, values: as of the last `run`.
        """
        (n, tokens, _), replies = values.shape, self._out
        values, out = values.flatten(0, 1), replies.clone()
        for name, part in list(self.parts.items()):
            self._compute_here(number, part, turn, values, out)
            if not agrees(replies[part.rows], out[part.rows], self.edge.form):
                LOG.warning("image %d: %s has lied", self.images[0], name)
                self._fail(self._call(number, name, part, status="FALSE_REPLY"))
        return out.unflatten(0, (n, tokens))

    def _draw(self, image: int) -> set[int]:
        """Windows of an image that are computed again in a round."""
        given = [w for name in self.parts for w in self.parts[name].windows[image]]
        if self.edge.checks == "strict":
            return set(given)
        return set(self.edge.draw.sample(given, min(self.edge.checks, len(given))))

    def _believe(self, request: Request, turn: Round, values: Tensor, reply: Tensor) -> bool:
        """Whether a reply is within the range, and what was drawn of it as computed here."""
        edge, part, begun = self.edge, request.part, time.thread_time()
        windows = [(image, window) for image, each in part.windows.items() for window in each]
        drawn = [window in self._sample[image] for image, window in windows]
        sizes = torch.tensor([len(edge.worker.grid.rows([window])) for _, window in windows])
        rows = torch.tensor(drawn).repeat_interleave(sizes)
        honest = edge.range.holds(reply, values[part.rows], turn)
        if honest and any(drawn):
            order = [window for (_, window), mine in zip(windows, drawn, strict=True) if mine]
            read = wire.as_read(values[part.rows[rows]], edge.form)
            with torch.no_grad():
                due = edge.worker(read, order, turn.server_blocks, turn.pixels)
            honest, request.call.checked = agrees(reply[rows], due, edge.form), len(order)
        request.call.check = time.thread_time() - begun
        return honest

    def _part(self, windows: Mapping[int, Collection[int]]) -> Part:
        """Some windows of each image."""
        grid, order = (
            self.edge.worker.grid,
            {image: tuple(sorted(windows[image])) for image in windows},
        )
        rows = [k * grid.tokens**2 + grid.rows(each) for k, each in enumerate(order.values())]
        return Part(order, torch.cat(rows))

    def _fail(self, call: Call) -> str | None:
        """Leave a server out from now on; the spare that has its windows, None for the edge."""
        name = call.server
        if call.status == "FALSE_REPLY":
            self.edge.distrusted.add(name)
        self.failed.add(name)
        self.edge.forget(name)
        return self._replace(name, self.parts.pop(name))

    def _replace(self, name: str, part: Part) -> str | None:
        ledger = self.edge.ledger
        for spare in self.edge.spares:
            if spare in self.failed or not ledger.may_appoint(self.images, spare, name):
                continue
            for image in self.images:
                ledger.appoint(image, spare, instead_of=name)
            self.parts[spare] = part
            return spare
        if self.edge.fallback == "fail":
            raise ServerFailedError(f"{name} failed")
        self.own.append(part)
        return None

    def _call(self, number: int, server: str, part: Part, status: str = "OK") -> Call:
        return Call(self.images[0], len(self.images), number, server, len(part.order), status)

    def _compute_here(
        self, number: int, part: Part, turn: Round, values: Tensor, out: Tensor
    ) -> None:
        rows, blocks = part.rows, turn.server_blocks
        wall, cpu = time.perf_counter(), time.thread_time()
        with torch.no_grad():
            out[rows] = self.edge.worker(values[rows], part.order, blocks, turn.pixels)
        call = self._call(number, "edge", part)
        call.server_seconds, call.server_cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self.edge.calls.append(call)
