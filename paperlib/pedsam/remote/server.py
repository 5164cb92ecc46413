"""A server: runs windowed blocks of SAM's encoder on the windows it is sent, and keeps nothing.

    python -m paperlib.pedsam.remote.server --sam sam-small --insecure
    python -m paperlib.pedsam.remote.server --sam vit_b --weights sam_vit_b_01ec64.pth \\
        --address 0.0.0.0:7443 --certificates certificates/servers/192.0.2.7

It prints a line of JSON to standard output once it serves: address, pid, fingerprint of the
weights. Logs are lines of JSON on standard error: sizes, times and outcomes, never a value of a
tensor. Where it cannot start, such a line says why, and the status is 2. Renewed certificates are
taken up at the next connection. SIGTERM and SIGINT stop it gracefully: the health service says
NOT_SERVING, new calls are refused, running ones are finished within the grace. What it answers:
`paperlib.pedsam.remote.service`.
"""

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import torch
from grpc_health.v1 import health, health_pb2

from paperlib.models.checkpoints import CheckpointError
from paperlib.models.sam import SAMS, load_sam
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import is_loopback, read_identity
from paperlib.pedsam.remote.metrics import Metrics
from paperlib.pedsam.remote.service import LOG, Limits, WindowService
from paperlib.pedsam.split.worker import PRECISIONS, WindowBlocks, cast

SPARE_THREADS = 4  # for others, while one client has as many calls open as it may
NO_DEADLINE = 1e8  # seconds: so much is left where a caller gives none
SERVING = health_pb2.HealthCheckResponse.SERVING


class OwnCertificates:
    """A server's certificates, read again when their files have changed.

    Attributes:
        now: as gRPC takes them.
    """

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            FileNotFoundError, ValueError: see `read_identity`.
        """
        self.folder = folder
        self._stamp, self.now = self._changed(), self._read()

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Those of the folder if they are others than before; gRPC asks at every connection."""
        stamp = self._changed()
        if stamp == self._stamp:
            return None
        try:
            self.now = self._read()
        except (ValueError, OSError) as error:  # perhaps half of the files are there yet
            LOG.warning("certificate not renewed", extra={"entry": {"detail": str(error)}})
            return None
        self._stamp = stamp
        return self.now

    def _changed(self) -> list[int]:
        """When each file was last changed."""
        return [path.stat().st_mtime_ns for path in sorted(self.folder.glob("*"))]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        own = read_identity(self.folder, "server")
        expires = {"expires": round(own.until.timestamp())}
        LOG.info(own.warning() or "certificate read", extra={"entry": expires})
        pair = (own.key, own.certificate)
        return grpc.ssl_server_certificate_configuration([pair], own.authority)


class Gate:
    """Calls of one kind, with threads of their own, of which no client can take all.

    A thread is taken as soon as a call begins, since its client and its deadline are known only
    then; it waits for the message there, at most until the deadline.
    """

    def __init__(self, name: str, others: int, client: int, deadline: bool) -> None:
        """For `client` open calls of one client and `others` of others.

        Args:
            name: of the threads.
            others, client: calls.
            deadline: refuse a call that has none.
        """
        self.client, self.deadline = client, deadline
        self.threads = ThreadPoolExecutor(client + others, name)
        self._open: Counter[str | tuple[bytes, ...]] = Counter()
        self._lock = threading.Lock()

    def handler(
        self, answer: Callable[[Any, grpc.ServicerContext], Any], **serialisers: Any
    ) -> grpc.RpcMethodHandler:
        """Of a call with one message in each direction, that `answer` is asked for."""

        def behave(messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
            client = context.peer_identities() or context.peer()  # by name, else by connection
            client = client if isinstance(client, str) else tuple(client)
            with self._lock:
                self._open[client] += 1
                many = self._open[client] > self.client
            try:
                if many:
                    detail = f"{self.client} calls of this client are open already"
                    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
                if self.deadline and context.time_remaining() > NO_DEADLINE:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a deadline is needed")
                for message in messages:
                    return answer(message, context)
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a message is needed")
            finally:
                with self._lock:
                    self._open[client] -= 1
                    if not self._open[client]:
                        del self._open[client]

        behave.experimental_thread_pool = self.threads
        return grpc.stream_unary_rpc_method_handler(behave, **serialisers)


class Server:
    """A service on an address, with the standard health service beside it."""

    def __init__(self, service: WindowService, address: str, certificates: Path | None) -> None:
        """Bind the address; nothing is served before `start`.

        Args:
            service: what to serve.
            address: HOST:PORT; port 0 takes a free one.
            certificates: folder with ca.pem, server.pem and server.key; None for no TLS, which
                is for loopback only.

        Raises:
            ValueError: no certificates, and the address is not loopback.
            FileNotFoundError: a certificate is missing.
            ValueError: it is of no use (see `read_identity`).
            OSError: the address cannot be bound.
        """
        if certificates is None and not is_loopback(address):
            raise ValueError(
                f"address {address} is not loopback: certificates are needed (see python -m "
                "paperlib.pedsam.remote.certificates --help)"
            )
        self.service = service
        service.instance = secrets.token_bytes(16)  # of each copy another
        limits = service.limits
        waiting = limits.calls + limits.queue + SPARE_THREADS
        calls = Gate("call", waiting, limits.client, deadline=True)
        asks = Gate("ask", SPARE_THREADS, limits.client, deadline=False)
        self._server = grpc.server(
            calls.threads,
            options=[
                ("grpc.max_receive_message_length", service.message_bytes),
                ("grpc.max_send_message_length", service.message_bytes),
                ("grpc.max_concurrent_streams", 2 * limits.client + SPARE_THREADS),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.HealthServicer()
        check = asks.handler(
            self._health.Check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        describe, compute = asks.handler(service.describe), calls.handler(service.compute)
        for name, methods in (
            (health.SERVICE_NAME, {"Check": check}),
            (wire.SERVICE, {"Describe": describe, "Compute": compute}),  # bytes in and out
        ):
            handler = grpc.method_handlers_generic_handler(name, methods)
            self._server.add_generic_rpc_handlers((handler,))
        self._asks = asks.threads
        try:
            if certificates is None:
                port = self._server.add_insecure_port(address)
            else:
                own = OwnCertificates(certificates)
                credentials = grpc.dynamic_ssl_server_credentials(own.now, own.renewed, True)
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"address {address} cannot be bound: {error}") from None
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def start(self) -> None:
        """Serve, in other threads."""
        self._server.start()
        for name in ("", wire.SERVICE):
            self._health.set(name, SERVING)
        LOG.info("serving", extra={"entry": {"address": self.address}})

    def stop(self) -> bool:
        """Say NOT_SERVING, refuse new calls, let running ones end, close.

        Returns:
            Whether all running calls ended within the grace.
        """
        self._health.enter_graceful_shutdown()
        done = self.service.drain(self.service.limits.grace)
        self._server.stop(0.2).wait()
        self._asks.shutdown(wait=False)
        LOG.info("stopped", extra={"entry": {"all_calls_ended": done}})
        return done


class JsonLines(logging.Formatter):
    """A log record as one line of JSON; of an exception, only its kind."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"time": round(record.created, 3), "pid": record.process}
        if record.name == LOG.name:
            line |= {"event": record.getMessage(), **getattr(record, "entry", {})}
        else:  # of a library: its words might hold values
            line |= {"event": "library", "logger": record.name, "level": record.levelname}
            line |= {"error": record.exc_info[0].__name__} if record.exc_info else {}
        return json.dumps(line)


def _log_json() -> None:
    """From now on, nothing but lines of JSON goes to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)

    def failed(kind: type[BaseException], *_: object) -> None:
        LOG.critical("failed", extra={"entry": {"error": kind.__name__}})

    sys.excepthook = failed
    threading.excepthook = lambda found: failed(found.exc_type)


def _serve_metrics(port: int) -> str:
    """Count from now on; the address."""
    metrics = Metrics()
    LOG.addHandler(metrics)
    return f"127.0.0.1:{metrics.serve(port)}"


def load_worker(name: str, weights: Path | None) -> WindowBlocks:
    """The windowed blocks of a SAM by name (see `load_sam`); the rest of it is let go."""
    return WindowBlocks(load_sam(name, weights).image_encoder)


def serve(server: Server, watched: int | None, **also: Any) -> int:
    """Serve until SIGTERM or SIGINT, then stop gracefully. Call it in the main thread.

    Args:
        server: bound, not started.
        watched: descriptor of a pipe; when its other end is closed, the server stops too.
        also: what the line on standard output says beside the rest.

    Returns:
        The exit status: 1 if a call did not end within the grace.
    """
    ended = _end_signal(watched)
    server.start()
    ready = {"address": server.address, "pid": os.getpid(), "weights": server.service.weights}
    ready |= also
    sys.stdout.write(f"{json.dumps(ready)}\n")  # whole: copies write to the same pipe
    sys.stdout.flush()
    ended.wait()
    return 0 if server.stop() else 1


def supervise(children: Sequence[int], watched: int | None) -> int:
    """Wait for server processes, and pass on to them that they should end.

    Args:
        children: their ids.
        watched: as for `serve`.

    Returns:
        The exit status: 0 if all of them ended well.
    """
    ended = _end_signal(watched)

    def pass_on() -> None:
        ended.wait()
        for child in children:
            if child in running:
                os.kill(child, signal.SIGTERM)

    running = set(children)
    threading.Thread(target=pass_on, daemon=True).start()
    failed = 0
    while running:
        child, status = os.wait()
        running.discard(child)
        failed |= status != 0
    return int(failed)


def _end_signal(watched: int | None) -> threading.Event:
    """Set when this process should end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def watch() -> None:
        while os.read(watched, 4096):
            pass
        ended.set()

    if watched is not None:
        threading.Thread(target=watch, daemon=True).start()
    return ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.pedsam.remote.server",
        description="Serve the windowed blocks of a SAM encoder over gRPC.",
    )

    def option(name: str, words: str, **settings: object) -> None:
        parser.add_argument(name, help=words, **settings)

    option("--sam", ", ".join(SAMS), required=True, choices=SAMS, metavar="NAME")
    option("--weights", "file or folder (default: see load_sam)", type=Path, metavar="PATH")
    option("--address", "HOST:PORT; port 0 takes a free one", default="127.0.0.1:0")
    security = parser.add_mutually_exclusive_group(required=True)
    security.add_argument("--certificates", type=Path, metavar="DIR", help="for mutual TLS")
    security.add_argument("--insecure", action="store_true", help="no TLS; on loopback only")
    option("--device", "to compute on: cpu, cuda, ... (default: cpu)", default="cpu")
    option("--precision", "to compute in", default="float32", choices=PRECISIONS)
    option("--threads", "of torch for a call (default: 1)", type=int, default=1)
    option("--rows", "most tokens of a request (default: of an image, or of small ones)", type=int)
    option("--calls", "computed at the same time (default: 1)", type=int, default=Limits.calls)
    option("--queue", "calls that may wait (default: 16)", type=int, default=Limits.queue)
    option("--client", "open calls of one (default: 8)", type=int, default=Limits.client)
    option("--grace", "seconds to shut down (default: 10)", type=float, default=Limits.grace)
    option("--copies", "servers, on a free port each (default: 1)", type=int, default=1)
    option(
        "--metrics", "port of 127.0.0.1 for Prometheus (default: none)", type=int, metavar="PORT"
    )
    option("--until-stdin-closes", "end when standard input closes", action="store_true")
    return parser


def main(
    arguments: Sequence[str] | None = None,
    service: Callable[[WindowBlocks, Limits], WindowService] = WindowService,
) -> int:
    """Serve what the command line says; returns the exit status.

    Copies are forked once the weights are loaded, so that they share the memory; each is a server
    of its own. They end with the process that forked them, however that ends.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _log_json()
    torch.set_num_threads(1)  # until after the fork, which threads do not survive
    watched = sys.stdin.fileno() if options.until_stdin_closes else None
    try:
        if options.threads < 1 or options.copies < 1:
            raise ValueError("threads and copies: whole numbers from 1 are valid")
        if options.copies > 1 and options.metrics is not None:
            raise ValueError(f"{options.copies} copies: metrics are of one server")
        if options.copies > 1 and not options.address.endswith(":0"):
            raise ValueError(f"address {options.address}: copies need port 0")
        limits = Limits(
            *(options.rows, options.calls, options.queue, options.client, options.grace)
        )
        ready = service(load_worker(options.sam, options.weights), limits)
        children = []
        if options.copies > 1:
            read_end, write_end = os.pipe()  # nothing is written: its end says that we ended
            while len(children) < options.copies:
                child = os.fork()
                if child == 0:
                    os.close(write_end)
                    children, watched = [], read_end
                    break
                children.append(child)
        if children:
            return supervise(children, watched)
        torch.set_num_threads(options.threads)
        cast(ready.worker, options.device, options.precision)  # after the fork, as CUDA wants
        also = {} if options.metrics is None else {"metrics": _serve_metrics(options.metrics)}
        server = Server(ready, options.address, options.certificates)
    except (CheckpointError, ValueError, OSError) as error:
        LOG.error("not started", extra={"entry": {"detail": str(error)}})
        return 2
    return serve(server, watched, **also)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # a call that is still computing would keep the process
