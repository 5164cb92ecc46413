"""One request to one server, and its reply, of which nothing is believed.

What comes back must be a message of the asked number format and shape with finite values that an
honest server could have computed; anything else, and a server that cannot be reached, misses the
deadline or refuses, is a failure.
"""

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from jaxtyping import Float
from torch import Tensor

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.connection import Connection
from paperlib.pedsam.split.schedule import Round

LOG = logging.getLogger("paperlib.pedsam.remote.edge")


@dataclass
class Call:
    """One request to one server, or what the edge computed instead (server "edge").

    Attributes:
        image, round: numbers from 0; of several images the first.
        images: how many.
        server: its address.
        windows: how many, of all images.
        status: OK, a gRPC status, INVALID_REPLY (not what was asked for) or FALSE_REPLY (it cannot
            be an honest server's, see `paperlib.pedsam.remote.honesty`).
        bytes_up, bytes_down: of the serialised messages.
        serialise, deserialise: seconds on the edge.
        wait: seconds from sending until the reply, or the failure, was taken up.
        server_seconds, server_cpu: of reading, computing and writing, as the server says.
        checked: windows that were computed again here.
        check: CPU seconds of that, and of comparing with the range.
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
    checked: int = 0
    check: float = 0.0


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


class Request:
    """Made, sent and taken once.

    Attributes:
        call: the record of it.
        part: whose windows it carries.
    """

    def __init__(
        self,
        call: Call,
        part: Part,
        turn: Round,
        values: Float[Tensor, "tokens features"],
        weights: str,
        form: str,
    ) -> None:
        """Serialise it.

        Args:
            call: image, round, server and windows; the rest is filled in here.
            part: windows to send.
            turn: what the server is to compute.
            values: all tokens of the images; those of `part` travel.
            weights: fingerprint that the server's must have.
            form: of numbers on the wire.

        Raises:
            WireError: values are not finite in that format.
        """
        begun = time.perf_counter()
        self.call, self.part, self.form = call, part, form
        self._data = pb.ComputeRequest(
            weights=weights,
            blocks=turn.server_blocks,
            windows=part.order,
            pixels=turn.pixels,
            values=wire.encode(values[part.rows], form),
        ).SerializeToString()
        call.bytes_up, call.serialise = len(self._data), time.perf_counter() - begun

    def send(
        self, connection: Connection, deadline: float, finished: "queue.SimpleQueue[Request]"
    ) -> None:
        """Send it; once it has ended, it is put into `finished`."""
        start = time.perf_counter()
        self._future = connection.compute.future(self._data, timeout=deadline)

        def done(_: grpc.Future) -> None:
            self.call.wait = time.perf_counter() - start
            finished.put(self)

        self._future.add_done_callback(done)

    def cancel(self) -> None:
        """Wait for it no longer; nothing happens if it has ended."""
        self._future.cancel()

    def take(
        self, out: Float[Tensor, "tokens channels"], believe: "Callable[[Request, Tensor], bool]"
    ) -> bool:
        """Put the reply in its place in `out` if `believe` says so; whether it could be used."""
        begun, call, rows = time.perf_counter(), self.call, self.part.rows
        try:
            data = self._future.result()
            call.bytes_down = len(data)
            reply = pb.ComputeReply.FromString(data)
            if reply.values.format != wire.FORMATS[self.form]:
                raise wire.WireError("reply in another format than the request")
            array = wire.decode(reply.values, len(rows), out.shape[1])
        except grpc.RpcError as error:
            call.status = error.code().name
        except (DecodeError, wire.WireError):
            call.status = "INVALID_REPLY"
        call.deserialise = time.perf_counter() - begun
        if call.status == "OK" and not believe(self, wire.tensor(array)):
            call.status = "FALSE_REPLY"
        if call.status == "OK":
            out.numpy()[rows.numpy()] = array
            call.server_seconds, call.server_cpu = reply.seconds, reply.cpu_seconds
        if call.status != "OK":
            LOG.warning("image %d: %s failed: %s", call.image, call.server, call.status)
        return call.status == "OK"
