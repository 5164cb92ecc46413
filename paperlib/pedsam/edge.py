"""The edge's side: send each server its windows, gather the results, and trust nothing.

An `EdgeCompute` takes the place of `LocalCompute`. For each image it assigns windows to servers;
for each round it sends to all of them at once and takes the results as they come. Several images
travel together, a request to each server: of a small model, a request costs more than a window.
What comes back must have the right format and shape and be finite; every sending is entered in the
ledger first.

A server that cannot be reached, misses the deadline, refuses, or answers garbage has failed: its
windows are computed here, or by a spare that has seen nothing of these images, and it is not asked
again for them. At the next images it is tried again, after a new check of what it is.
"""

import logging
import queue
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import grpc
import pandas as pd
import torch
from google.protobuf.message import DecodeError
from jaxtyping import Float
from torch import Tensor

from paperlib.pedsam import pedsam_pb2 as pb
from paperlib.pedsam import wire
from paperlib.pedsam.connection import Connection, ServerMismatchError
from paperlib.pedsam.ledger import Ledger
from paperlib.pedsam.partition import assign
from paperlib.pedsam.worker import WindowBlocks

LOG = logging.getLogger("paperlib.pedsam.edge")
CHECK_SECONDS = 5.0  # that a server has to say what it is
Fallback = Literal["edge", "spare"]


@dataclass
class Call:
    """One request to one server, or what the edge computed instead (server "edge").

    Attributes:
        image, round: numbers from 0; of several images the first.
        images: how many.
        server: its address.
        windows: how many, of all images.
        status: OK, a gRPC status, or INVALID_REPLY.
        bytes_up, bytes_down: of the serialised messages.
        serialise, deserialise: seconds on the edge.
        wait: seconds from sending until the reply, or the failure, was taken up.
        server_seconds, server_cpu: of reading, computing and writing, as the server says.
    """

    image: int
    images: int
    round: int
    server: str
    windows: int
    status: str = "OK"
    bytes_up: int = 0
    bytes_down: int = 0
    serialise: float = 0.0
    wait: float = 0.0
    deserialise: float = 0.0
    server_seconds: float = 0.0
    server_cpu: float = 0.0


class EdgeCompute:
    """Windowed blocks on servers. A context manager; leaving it closes the connections.

    Attributes:
        ledger: what was sent to whom.
        calls: every request so far, in the order of its end.
    """

    def __init__(
        self,
        worker: WindowBlocks,
        servers: Sequence[str],
        *,
        assignment: str = "interleaved",
        secret: bytes = b"",
        sticky: bool = False,
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
            secret: decides a random assignment.
            sticky: the same assignment for every image, as for the frames of a video.
            form: of numbers on the wire: float32, float16 or int8.
            deadline: seconds that a server has for one call.
            fallback: edge, or spare: then the edge too once no spare is left.
            spares: HOST:PORT of servers that stand by.
            certificates: the client's folder (see `paperlib.pedsam.certificates`).

        Raises:
            ValueError: an argument out of its range, or without use beside the others.
            ServerMismatchError: a server of another version, model or weights.
        """
        if fallback not in get_args(Fallback):
            raise ValueError(f"fallback={fallback!r}: valid are edge and spare")
        if bool(spares) != (fallback == "spare"):
            raise ValueError(f"fallback={fallback!r} with {len(spares)} spares: they go together")
        if form not in wire.FORMATS:
            raise ValueError(f"form={form!r}: valid are {', '.join(wire.FORMATS)}")
        if deadline <= 0:
            raise ValueError(f"deadline={deadline}: seconds above 0 are valid")
        names = [*servers, *spares]
        if len(set(names)) != len(names):
            raise ValueError(f"servers {names}: one stands twice")
        self.worker, self.form, self.deadline = worker, form, deadline
        self.servers, self.spares = tuple(servers), tuple(spares)
        self._how = (assignment, worker.grid.count, len(servers), worker.grid, secret)
        assign(*self._how)
        self.sticky = sticky
        self.ledger = Ledger(worker.grid.count)
        self.calls: list[Call] = []
        self._images = 0
        self.weights = wire.fingerprint(worker)
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
        """Images that go together: every server takes its windows of them in one request."""
        grid = self.worker.grid
        sizes = sorted((len(grid.rows([w])) for w in range(grid.count)), reverse=True)
        largest = sum(sizes[: -(-grid.count // len(self.servers))])  # rows for a server, any way
        checked = self.connections.keys() - self.unchecked
        limits = [self.connections[name].limit_rows // largest for name in checked]
        return max(1, min([grid.batch, *limits]))

    def begin(self, images: int) -> "EdgeSession":
        """Start some images: assign their windows, and try again the servers that failed before."""
        numbers = []
        for _ in range(images):
            frame = 0 if self.sticky else self._images
            self._images += 1
            numbers.append(self.ledger.begin(assign(*self._how, frame), self.servers))
        try:
            self._check()
        except ServerMismatchError as error:  # it was another one when this run began
            LOG.warning("%s; it is not used", error)
        return EdgeSession(self, numbers, set(self.unchecked))

    def table(self) -> pd.DataFrame:
        """`calls`, a row each, with the fields of `Call` as columns."""
        names = [field.name for field in fields(Call)]
        return pd.DataFrame([asdict(call) for call in self.calls], columns=names)

    def forget(self, server: str) -> None:
        """Have a server checked again before it is used for another image."""
        self.unchecked.add(server)

    def _check(self) -> None:
        """Check the servers that are new or have failed; those in order leave `unchecked`."""
        ask, seconds = pb.DescribeRequest().SerializeToString(), min(self.deadline, CHECK_SECONDS)
        asked = {
            name: self.connections[name].describe.future(ask, timeout=seconds)
            for name in sorted(self.unchecked)
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


@dataclass
class Part:
    """Windows that go to one server.

    Attributes:
        windows: of each image, by its number in the ledger.
        rows: where their tokens stand among those of all images of the session.
    """

    windows: dict[int, tuple[int, ...]]
    rows: Tensor

    @property
    def order(self) -> list[int]:
        """Windows in the order of the rows, image after image."""
        return [window for windows in self.windows.values() for window in windows]


@dataclass
class _Sent:
    """A request under way."""

    call: Call
    part: Part
    future: grpc.Future
    start: float
    end: float = 0.0


class EdgeSession:
    """Some images, round after round."""

    def __init__(self, edge: EdgeCompute, images: Sequence[int], failed: set[str]) -> None:
        """Give the windows of `failed` servers to others.

        Args:
            edge: whose servers are used.
            images: numbers in the ledger.
            failed: servers and spares that are not to be asked.
        """
        self.edge, self.images, self.failed = edge, images, failed
        self.parts: dict[str, Part] = {}  # of each server that takes part
        self.own: list[Part] = []  # computed here
        for name in edge.servers:
            part = self._part(name)
            if name in failed:
                self._replace(name, part)
            else:
                self.parts[name] = part

    def run(
        self,
        number: int,
        blocks: Sequence[int],
        pixels: bool,
        values: Float[Tensor, "n tokens features"],
    ) -> Float[Tensor, "n tokens channels"]:
        """Send a round to all servers, gather what comes back, make up for what does not.

        Args:
            number: of the round, for the ledger.
            blocks: numbers of windowed blocks, ascending.
            pixels: `values` are patches of pixels.
            values: all tokens of the images, row by row.

        Raises:
            WireError: `values` are not finite in the format of the wire.
            ExposureError: a server would get a window that it may not see.
        """
        n, tokens, _ = values.shape
        values = values.flatten(0, 1)
        out = torch.empty(n * tokens, self.edge.worker.channels)
        finished: queue.SimpleQueue[_Sent] = queue.SimpleQueue()
        sent: list[_Sent] = []

        def send(name: str) -> None:
            sent.append(self._send(name, number, blocks, pixels, values, finished))

        def compute(part: Part) -> None:
            self._compute_here(number, part, blocks, pixels, values, out)

        try:
            for name in self.parts:
                send(name)
            for part in self.own:
                compute(part)
            taken = 0
            while taken < len(sent):
                reply = finished.get()
                taken += 1
                if not self._take(reply, out):
                    name = reply.call.server
                    spare = self._fail(name)
                    if spare is None:
                        compute(reply.part)
                    else:
                        send(spare)
        finally:
            for request in sent:
                request.future.cancel()
        return out.unflatten(0, (n, tokens))

    def _part(self, name: str) -> Part:
        """The windows that a server may see."""
        grid, ledger = self.edge.worker.grid, self.edge.ledger
        windows = {image: tuple(sorted(ledger.allowed(image, name))) for image in self.images}
        rows = [k * grid.tokens**2 + grid.rows(each) for k, each in enumerate(windows.values())]
        return Part(windows, torch.cat(rows))

    def _fail(self, name: str) -> str | None:
        """Leave a server out from now on; the spare that has its windows, None for the edge."""
        self.failed.add(name)
        self.edge.forget(name)
        return self._replace(name, self.parts.pop(name))

    def _replace(self, name: str, part: Part) -> str | None:
        ledger = self.edge.ledger
        for spare in self.edge.spares:
            if spare in self.failed or any(ledger.allowed(each, spare) for each in self.images):
                continue
            for image in self.images:
                ledger.appoint(image, spare, instead_of=name)
            self.parts[spare] = part
            return spare
        self.own.append(part)
        return None

    def _call(self, number: int, server: str, part: Part) -> Call:
        return Call(self.images[0], len(self.images), number, server, len(part.order))

    def _send(
        self,
        name: str,
        number: int,
        blocks: Sequence[int],
        pixels: bool,
        values: Tensor,
        finished: "queue.SimpleQueue[_Sent]",
    ) -> _Sent:
        begun, part = time.perf_counter(), self.parts[name]
        request = pb.ComputeRequest(
            weights=self.edge.weights,
            blocks=blocks,
            windows=part.order,
            pixels=pixels,
            values=wire.encode(values[part.rows], self.edge.form),
        ).SerializeToString()
        call = self._call(number, name, part)
        call.bytes_up = len(request)
        for image, windows in part.windows.items():
            self.edge.ledger.record(image, number, name, windows, pixels)
        start = time.perf_counter()
        call.serialise = start - begun
        future = self.edge.connections[name].compute.future(request, timeout=self.edge.deadline)
        sent = _Sent(call, part, future, start)

        def done(_: grpc.Future) -> None:
            sent.end = time.perf_counter()
            finished.put(sent)

        future.add_done_callback(done)
        return sent

    def _take(self, sent: _Sent, out: Tensor) -> bool:
        """Put a reply in its place; whether it could be used."""
        begun, call, rows = time.perf_counter(), sent.call, sent.part.rows
        call.wait = sent.end - sent.start
        self.edge.calls.append(call)
        try:
            data = sent.future.result()
            call.bytes_down = len(data)
            reply = pb.ComputeReply.FromString(data)
            if reply.values.format != wire.FORMATS[self.edge.form]:
                raise wire.WireError("reply in another format than the request")
            array = wire.decode(reply.values, len(rows), out.shape[1])
        except grpc.RpcError as error:
            call.status = error.code().name
        except (DecodeError, wire.WireError):
            call.status = "INVALID_REPLY"
        else:
            out.numpy()[rows.numpy()] = array
            call.server_seconds, call.server_cpu = reply.seconds, reply.cpu_seconds
        call.deserialise = time.perf_counter() - begun
        if call.status != "OK":
            LOG.warning("image %d: %s failed: %s", call.image, call.server, call.status)
        return call.status == "OK"

    def _compute_here(
        self,
        number: int,
        part: Part,
        blocks: Sequence[int],
        pixels: bool,
        values: Tensor,
        out: Tensor,
    ) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        with torch.no_grad():
            out[part.rows] = self.edge.worker(values[part.rows], part.order, blocks, pixels)
        call = self._call(number, "edge", part)
        call.server_seconds, call.server_cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self.edge.calls.append(call)
