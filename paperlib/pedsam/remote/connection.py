"""The edge's connection to one server, and whether that server is what the edge takes it for."""

import logging
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import is_loopback, read_identity
from paperlib.pedsam.split.worker import WindowBlocks

LOG = logging.getLogger("paperlib.pedsam.remote.edge")
REASONS = {  # what gRPC says of an attempt to connect, and what it means
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet: do the clocks agree?",
    "unable to get local issuer": "its certificate is not of the edge's authority",
    "certificate signature failure": "its certificate is not of the edge's authority",
    "Hostname Verification": "its certificate is for another name than this one",
    "WRONG_VERSION_NUMBER": "it speaks no TLS",
    "Socket closed": "it hangs up: it may not take the edge's certificate, or want one",
    "Connection refused": "nothing listens there",
    "DNS resolution failed": "its name is not known",
}
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # that one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# Where the system takes no bytes any more, as when a cable is cut, a call ends neither by its
# deadline nor by closing the channel until TCP gives up: by default after a quarter of an hour.
GIVE_UP = [
    ("grpc.keepalive_time_ms", 600_000),  # a ping, so seldom that no server objects
    ("grpc.keepalive_timeout_ms", 10_000),  # without an answer, to that or to any byte
]


class ServerMismatchError(ValueError):
    """A server of another version, model or weights than the edge's."""


class Connection:
    """A channel to one server.

    Attributes:
        address: HOST:PORT.
        limit_rows: most rows that the server takes in a request; known after `check`.
    """

    def __init__(self, address: str, certificates: Path | None, message_bytes: int) -> None:
        """Make the channel; nothing is sent.

        Args:
            address: HOST:PORT.
            certificates: folder with ca.pem, client.pem and client.key; None for no TLS, which
                is for loopback only.
            message_bytes: longest reply that is taken.

        Raises:
            ValueError: no certificates, and the address is not loopback.
            FileNotFoundError: a certificate is missing.
            ValueError: it is of no use (see `read_identity`).
        """
        options = [*RECONNECT, *GIVE_UP, ("grpc.max_receive_message_length", message_bytes)]
        options += [("grpc.max_send_message_length", message_bytes)]
        if certificates is not None:
            own = read_identity(certificates, "client")
            if own.warning():
                LOG.warning("%s: %s", certificates, own.warning())
            credentials = grpc.ssl_channel_credentials(own.authority, own.key, own.certificate)
            self.channel = grpc.secure_channel(address, credentials, options)
        elif is_loopback(address):
            self.channel = grpc.insecure_channel(address, options)
        else:
            raise ValueError(f"server {address} is not loopback: certificates are needed")
        self.address, self.limit_rows = address, 0
        # without serialisers, so that the length of every message is known
        self.compute = self.channel.unary_unary(f"/{wire.SERVICE}/Compute")
        self.describe = self.channel.unary_unary(f"/{wire.SERVICE}/Describe")

    def check(self, description: bytes, worker: WindowBlocks, weights: str) -> bytes:
        """Compare what the server says of itself with what the edge has.

        Returns:
            What tells this server from others, as long as it runs.

        Raises:
            ServerMismatchError: they differ.
        """
        try:
            found = pb.Description.FromString(description)
        except DecodeError:
            raise ServerMismatchError(f"server {self.address}: its description is none") from None
        for what, theirs, ours in [
            ("version", found.version, wire.VERSION),
            ("weights", found.weights, weights),
            ("tokens", found.tokens, worker.grid.tokens),
            ("window", found.window, worker.grid.window),
        ]:
            if theirs != ours:
                raise ServerMismatchError(
                    f"server {self.address}: its {what} is {theirs}, the edge's {ours}"
                )
        self.limit_rows = found.limit_rows
        return found.instance


def reason(error: grpc.RpcError) -> str:
    """Why a server could not be reached, in words where they are known."""
    status, details = error.code().name, error.details() or ""
    found = [words for part, words in REASONS.items() if part in details]
    return f"{status}: {found[0]}" if found else status
