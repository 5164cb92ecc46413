"""A server: runs windowed blocks of SAM's encoder on the windows it is sent, and keeps nothing.

Such as::

    python -m paperlib.pedsam.remote.server --sam sam-small --insecure
    python -m paperlib.pedsam.remote.server --sam vit_b --weights sam_vit_b_01ec64.pth \\
        --address 0.0.0.0:7443 --certificates certificates/servers/192.0.2.7

It prints a line of JSON to standard output once it serves: address, pid, fingerprint of the
weights. Logs are lines of JSON on standard error: sizes, times and outcomes, never a value of a
tensor. Where it cannot start, such a line says why, and the status is 2. Renewed certificates are
taken up at the next connection. SIGTERM and SIGINT stop it gracefully: the health service says
NOT_SERVING, new calls are refused, running ones are finished within the grace. How it listens:
`paperlib.pedsam.remote.listener`; what it answers: `paperlib.pedsam.remote.service`.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from paperlib.models.checkpoints import CheckpointError
from paperlib.models.sam import SAMS, load_sam
from paperlib.pedsam.remote.listener import Server
from paperlib.pedsam.remote.metrics import Metrics
from paperlib.pedsam.remote.service import LOG, Limits, WindowService
from paperlib.pedsam.split.worker import PRECISIONS, WindowBlocks, cast


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


class _Parser(argparse.ArgumentParser):
    """What is wrong with a command line is a line of JSON, too."""

    def error(self, message: str) -> NoReturn:
        """Say it and end."""
        _not_started(f"{message}; --help lists the options")
        self.exit(2)


def _not_started(why: str) -> None:
    LOG.error("not started", extra={"entry": {"detail": why}})


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
    parser = _Parser(
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
    _log_json()
    options = _parser().parse_args(arguments)
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
        _not_started(str(error))
        return 2
    return serve(server, watched, **also)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # a call that is still computing would keep the process
