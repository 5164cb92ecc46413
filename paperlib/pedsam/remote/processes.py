"""Servers as processes of this machine, on loopback, that always end with whoever started them.

``with local_servers(4, ["--sam", "sam-small"]) as servers`` starts them, waits until each is
healthy, and stops them when the block is left, whatever the reason. If this process itself is
killed, its end of their standard input closes, and they stop by themselves. They share the memory
of torch and of the weights (see ``--copies`` of `paperlib.pedsam.remote.server`).
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from segment_anything.modeling import Sam

from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.sam import SMALL
from paperlib.runtime import LEAST

COMMAND = (sys.executable, "-m", "paperlib.pedsam.remote.server")
SECONDS_TO_END = 15.0  # after SIGTERM, before SIGKILL

# Of Linux's C library: as with `paperlib.runtime.giving_back`, and for smaller blocks, too.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(LEAST), "MALLOC_TRIM_THRESHOLD_": str(LEAST)}


class ServerError(RuntimeError):
    """A server process that does not come up."""


@dataclass(frozen=True)
class LocalServer:
    """A running server.

    Attributes:
        process: of the server.
        address: HOST:PORT.
        log: file with the standard error of all of them.
    """

    process: psutil.Process
    address: str
    log: Path

    def peak_memory(self) -> int:
        """Its largest resident memory so far, in bytes; on Linux, elsewhere that of now."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.is_file():
            return self.process.memory_info().rss
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        return sum(self.process.cpu_times()[:2])


@contextlib.contextmanager
def local_servers(
    servers: int,
    arguments: Sequence[str],
    threads: int = 1,
    seconds: float = 120,
    command: Sequence[str] = COMMAND,
) -> Iterator[list[LocalServer]]:
    """Run servers on free ports of loopback, without TLS.

    Args:
        servers: how many.
        arguments: of the server's command: which model, which limits.
        threads: of torch, in each server.
        seconds: that all of them have to come up.
        command: that starts servers.

    Raises:
        ServerError: one ended, or was not healthy in time; with the end of the log.
    """
    line = [*command, *arguments, "--insecure", "--until-stdin-closes"]
    line += ["--threads", str(threads), "--copies", str(servers)]
    threading = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = os.environ | threading | GIVE_BACK
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pedsam-"))
        log = Path(folder) / "servers.log"
        pipe = subprocess.PIPE
        with log.open("wb") as errors:
            process = subprocess.Popen(
                line, env=environment, stdin=pipe, stdout=pipe, stderr=errors
            )
        stack.callback(_end, process)
        ready = [_next(process, log, end) for _ in range(servers)]
        for server in ready:
            _check_health(server["address"], log, end)
        yield [LocalServer(psutil.Process(s["pid"]), s["address"], log) for s in ready]


@contextlib.contextmanager
def servers_of(sam: Sam, name: str, servers: int) -> Iterator[list[LocalServer]]:
    """`local_servers` with the weights that `sam`, of the size `name`, has now.

    They are rounded to half precision first, in `sam` too: a file keeps no more.
    """
    with tempfile.TemporaryDirectory(prefix="pedsam-") as folder:
        path = save_checkpoint(
            halve(sam), name, {"architecture": name, "command": "none"}, Path(folder)
        )
        weights = path.parent if name in SMALL else path
        with local_servers(servers, ["--sam", name, "--weights", str(weights)]) as started:
            yield started


def _next(process: subprocess.Popen, log: Path, end: float) -> dict[str, str | int]:
    """What the next server says once it serves."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            read = os.read(process.stdout.fileno(), 1) if selector.select(max(0, left)) else b""
            if not read:
                raise ServerError(f"a server did not start: {_last(log)}")
            line += read
    return json.loads(line)


def _check_health(address: str, log: Path, end: float) -> None:
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            left = max(0.1, end - time.monotonic())
            status = check(health_pb2.HealthCheckRequest(), timeout=left).status
        except grpc.RpcError as error:
            raise ServerError(f"{address} is not healthy ({error.code()}): {_last(log)}") from None
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise ServerError(f"{address} does not serve: {_last(log)}")


def _last(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-2000:] or "it wrote no log"


def _end(process: subprocess.Popen) -> None:
    """Stop all servers, gracefully where they follow."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    try:
        process.stdin.close()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
    finally:  # also if a second interrupt ends the waiting
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.kill()
        process.wait()
        process.stdout.close()
