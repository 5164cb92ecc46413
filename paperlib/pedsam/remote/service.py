"""What a server answers: the calls of ``pedsam.proto``, each checked before anything is computed.

| what is wrong with a call                                    | status              |
|--------------------------------------------------------------|---------------------|
| no certificate of the authority                              | UNAVAILABLE (TLS)   |
| other weights than the server's                              | FAILED_PRECONDITION |
| message, blocks, windows or tensor malformed; too many rows  | INVALID_ARGUMENT    |
| no deadline; no message                                      | INVALID_ARGUMENT    |
| message too long; queue full; too many open calls of a client | RESOURCE_EXHAUSTED |
| deadline passed (it is not computed then)                    | DEADLINE_EXCEEDED   |
| server shutting down; more streams than the transport takes   | UNAVAILABLE         |
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import torch
from google.protobuf.message import DecodeError

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.split.worker import WindowBlocks

LOG = logging.getLogger("paperlib.pedsam.remote.server")


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        rows: most rows of a request; None for all those of an image, or of several small ones.
        calls: computed at the same time.
        queue: further calls that wait; one beyond is refused.
        client: calls of one client that may be open, whether their message has come or not.
        grace: seconds that running calls have when the server shuts down.
    """

    rows: int | None = None
    calls: int = 1
    queue: int = 16
    client: int = 8
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("calls", 1), ("queue", 0), ("client", 1), ("grace", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: valid are numbers from {least}")


class RefusedError(Exception):
    """A call that is not answered; carries the status and what to tell the caller."""

    def __init__(self, status: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class WindowService:
    """The calls of ``pedsam.proto``; takes and gives bytes, so that it says what cannot be read."""

    def __init__(self, worker: WindowBlocks, limits: Limits) -> None:
        self.worker, self.limits = worker.eval(), limits
        self.weights = wire.worker_fingerprint(worker)
        self.instance = b""  # drawn when it is served
        self.rows = min(limits.rows or wire.request_rows(worker), wire.request_rows(worker))
        self.message_bytes = wire.request_bytes(worker, self.rows)
        self._places = threading.Semaphore(limits.calls + limits.queue)
        self._executor = ThreadPoolExecutor(limits.calls, "compute")
        self._stopping = False

    def describe(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Serialised `pb.Description`."""
        return pb.Description(
            version=wire.VERSION,
            weights=self.weights,
            tokens=self.worker.grid.tokens,
            window=self.worker.grid.window,
            channels=self.worker.channels,
            patch_values=wire.pixel_features(self.worker),
            limit_rows=self.rows,
            limit_bytes=self.message_bytes,
            instance=self.instance,
        ).SerializeToString()

    def compute(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Serialised `pb.ComputeReply` to a serialised `pb.ComputeRequest`."""
        start = time.monotonic()
        entry: dict[str, Any] = {"peer": context.peer(), "bytes_in": len(data)}
        try:
            reply = self._answer(data, context, entry)
        except RefusedError as refused:
            entry["detail"] = str(refused)
            self._log(entry, start, refused.status)
            context.abort(refused.status, str(refused))
        except Exception as error:  # its words might hold values
            entry["error"] = type(error).__name__
            self._log(entry, start, grpc.StatusCode.INTERNAL)
            context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says more")
        self._log(entry | {"bytes_out": len(reply)}, start, grpc.StatusCode.OK)
        return reply

    def drain(self, seconds: float) -> bool:
        """Refuse new calls and wait for the others; whether all ended in time."""
        self._stopping = True
        end = time.monotonic() + seconds
        places = self.limits.calls + self.limits.queue
        return all(
            self._places.acquire(timeout=max(0, end - time.monotonic())) for _ in range(places)
        )

    def run(
        self, values: torch.Tensor, windows: Sequence[int], blocks: Sequence[int], pixels: bool
    ) -> torch.Tensor:
        """What the worker makes of a request that is in order."""
        with torch.inference_mode():
            return self.worker.anywhere(values, windows, blocks, pixels)

    def _answer(self, data: bytes, context: grpc.ServicerContext, entry: dict[str, Any]) -> bytes:
        if self._stopping:
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if not self._places.acquire(blocking=False):
            taken = self.limits.calls + self.limits.queue
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{taken} calls are waiting already"
            )
        try:
            request = self._read(data)
            entry |= {"blocks": list(request.blocks), "windows": len(request.windows)}
            task = self._executor.submit(self._compute, request, context)
        except BaseException:
            self._places.release()
            raise
        task.add_done_callback(lambda _: self._places.release())
        return self._wait(task, context)

    def _wait(self, task: "Future[bytes]", context: grpc.ServicerContext) -> bytes:
        try:
            return task.result(context.time_remaining())
        except (TimeoutError, CancelledError):
            task.cancel()
            raise RefusedError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"
            ) from None

    def _read(self, data: bytes) -> pb.ComputeRequest:
        """A request that is in order but for its tensor's values."""
        try:
            request = pb.ComputeRequest.FromString(data)
        except DecodeError:
            raise _invalid("the message is no ComputeRequest") from None
        if request.weights != self.weights:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the server's weights are {self.weights}, not those of the request",
            )
        blocks, windows = request.blocks, request.windows
        windowed, count = self.worker.windowed, self.worker.grid.count
        if len(blocks) > len(windowed) or not set(blocks) <= set(windowed):
            raise _invalid(f"blocks: the windowed ones are {', '.join(map(str, windowed))}")
        if list(blocks) != sorted(set(blocks)):
            raise _invalid("blocks: they must ascend, each once")
        if not blocks and not request.pixels:
            raise _invalid("blocks: there are none, and no pixels to embed")
        if not 1 <= len(windows) <= self.rows or max(windows) >= count:
            raise _invalid(f"windows: valid are 1 to {self.rows} of them, from 0 to {count - 1}")
        rows = self._rows(request)
        if rows > self.rows:
            raise _invalid(f"windows with {rows} rows: at most {self.rows} are taken")
        return request

    def _rows(self, request: pb.ComputeRequest) -> int:
        shapes = [self.worker.grid.shape(window) for window in request.windows]
        return sum(height * width for height, width in shapes)

    def _compute(self, request: pb.ComputeRequest, context: grpc.ServicerContext) -> bytes:
        left = context.time_remaining()
        if not context.is_active() or (left is not None and left <= 0):
            raise RefusedError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed in the queue"
            )
        wall, cpu = time.perf_counter(), time.thread_time()
        features = wire.pixel_features(self.worker) if request.pixels else self.worker.channels
        try:
            array = wire.decode(request.values, self._rows(request), features)
        except wire.WireError as error:
            raise _invalid(str(error)) from None
        windows, blocks = list(request.windows), list(request.blocks)
        values = self.run(wire.tensor(array), windows, blocks, request.pixels)
        try:
            answer = wire.encode(values, wire.NAMES[request.values.format])
        except wire.WireError as error:
            raise RefusedError(grpc.StatusCode.OUT_OF_RANGE, str(error)) from None
        reply = pb.ComputeReply(values=answer)
        reply.seconds, reply.cpu_seconds = time.perf_counter() - wall, time.thread_time() - cpu
        return reply.SerializeToString()

    def _log(self, entry: dict[str, Any], start: float, status: grpc.StatusCode) -> None:
        seconds = round(time.monotonic() - start, 6)
        LOG.info("compute", extra={"entry": {"status": status.name, "seconds": seconds} | entry})


def _invalid(detail: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, detail)
