"""A server's figures for Prometheus, on a port of loopback, made from what it logs.

| name                                 | kind      | labels |
|--------------------------------------|-----------|--------|
| pedsam_calls_total                   | counter   | status |
| pedsam_call_seconds                  | histogram |        |
| pedsam_windows_total                 | counter   |        |
| pedsam_bytes_total                   | counter   | way    |
| pedsam_certificate_expires_timestamp | gauge     |        |

As the log, they say nothing of the content of a picture, and nothing of who asks.
"""

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class Metrics(logging.Handler):
    """Counts the entries of the log of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self._calls = Counter("pedsam_calls", "Calls answered or refused", ["status"], **own)
        self._seconds = Histogram("pedsam_call_seconds", "From a call to its answer", **own)
        self._windows = Counter("pedsam_windows", "Windows computed", **own)
        self._bytes = Counter("pedsam_bytes", "Bytes of messages", ["way"], **own)
        self._expires = Gauge(
            "pedsam_certificate_expires_timestamp", "When the certificate expires", **own
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Count one entry."""
        entry = getattr(record, "entry", {})
        if "expires" in entry:
            self._expires.set(entry["expires"])
        if record.getMessage() != "compute":
            return
        self._calls.labels(entry["status"]).inc()
        self._seconds.observe(entry["seconds"])
        self._bytes.labels("in").inc(entry["bytes_in"])
        self._bytes.labels("out").inc(entry.get("bytes_out", 0))
        if entry["status"] == "OK":
            self._windows.inc(entry["windows"])

    def serve(self, port: int) -> int:
        """Answer ``GET /metrics`` on 127.0.0.1 in another thread; the port, also if 0 was given.

        Raises:
            OSError: the port is taken, or there is none of this number.
        """
        try:
            server, _ = start_http_server(port, "127.0.0.1", self.registry)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise OSError(f"metrics on port {port} of 127.0.0.1: {why}") from None
        return server.server_port
