"""What listens on an address: renewed certificates, and calls for every client.

Calls that compute and calls that ask (health, what is served) have threads of their own, so that a
busy server still says that it serves. A client may have so many calls open as `Limits.client` says.
What is answered: `paperlib.pedsam.remote.service`.
"""

import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import is_loopback, read_identity
from paperlib.pedsam.remote.service import LOG, WindowService

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
        except RuntimeError:  # which only says how to have gRPC say more
            raise OSError(f"address {address} cannot be bound: taken, or not of here") from None
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


@contextlib.contextmanager
def serving(services: Iterable[WindowService]) -> Iterator[list[str]]:
    """Addresses of a server for each service, on loopback in this process: the memory only once."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for service in services:
            server = Server(service, "127.0.0.1:0", None)
            server.start()
            stack.callback(server.stop)
            addresses.append(server.address)
        yield addresses
