"""Image after image over four servers, of which one is killed and started again every minute.

    python benchmarks/bench_pedsam_load.py --images 1000 --every 60

The small SAM as committed, random pictures of random shapes, a random assignment; what the edge
computes must equal what the encoder computes in this process. Every so many images a line tells how
many are wrong (an embedding that differs by more than 10⁻⁴) or lost (none came), what became of the
calls so far, and the memory that the edge has for itself and shares (PSS). The exit status is 1 if
one was wrong or lost, if a server was sent a whole picture, or if the memory has grown by more than
`GROWTH` since the first line. Not part of the tests.
"""

import argparse
import contextlib
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import torch

from paperlib.models.sam import IMAGE, load_sam
from paperlib.pedsam.remote.edge import LOG, EdgeCompute
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runs.memory import in_use

SERVERS, NAME, APART, GROWTH, LINES = 4, "sam-small", 1e-4, 64 * 2**20, 20


class Servers:
    """Servers at fixed addresses, each a process; one after the other is killed.

    Attributes:
        addresses: HOST:PORT of each.
        kills: how many were killed so far.
    """

    def __init__(self, count: int) -> None:
        with contextlib.ExitStack() as stack:
            taken = [stack.enter_context(socket.socket()) for _ in range(count)]
            for each in taken:
                each.bind(("127.0.0.1", 0))
            self.addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in taken]
        self.kills, self._over = 0, threading.Event()
        self._running = [self._start(address) for address in self.addresses]
        for server in self._running:
            server.stdout.readline()  # that it serves

    def _start(self, address: str) -> subprocess.Popen:
        line = [*COMMAND, "--sam", NAME, "--address", address, "--insecure", "--until-stdin-closes"]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def _kill(self, every: float) -> None:
        while not self._over.wait(every):
            place = self.kills % len(self._running)
            self._end(place)
            self._running[place] = self._start(self.addresses[place])
            self.kills += 1

    def _end(self, place: int) -> None:
        server = self._running[place]
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()

    @contextlib.contextmanager
    def killed(self, every: float) -> Iterator[None]:
        """One is killed, and started again, every so many seconds; all end with this context."""
        killer = threading.Thread(target=self._kill, args=(every,))
        killer.start()
        try:
            yield
        finally:
            self._over.set()
            killer.join()
            for place in range(len(self._running)):
                self._end(place)


def main() -> int:
    """Print a line now and then; returns the exit status."""
    command = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command.add_argument("--images", type=int, default=1000)
    command.add_argument("--every", type=float, default=60.0, help="seconds between two kills")
    command.add_argument("--seed", type=int, default=0, help="of the pictures")
    options = command.parse_args()
    torch.set_num_threads(1)
    LOG.disabled = True  # it warns of every failure
    sam, draw = load_sam(NAME), np.random.default_rng(options.seed)
    local, worker = PartitionedEncoder(sam.image_encoder), WindowBlocks(sam.image_encoder)
    wrong = lost = 0
    memory: list[int] = []
    begun, servers = time.monotonic(), Servers(SERVERS)
    how = {"assignment": "random", "secret": secrets.token_bytes(16)}
    print("seconds  images  kills  wrong  lost  edge MB  calls", flush=True)
    with servers.killed(options.every), EdgeCompute(worker, servers.addresses, **how) as edge:
        split = PartitionedEncoder(sam.image_encoder, edge)
        for number in range(1, options.images + 1):
            height, width = draw.integers(IMAGE // 4, IMAGE, 2, endpoint=True).tolist()
            picture = draw.integers(0, 256, (1, 3, height, width), np.uint8)
            x = sam.preprocess(torch.from_numpy(picture).float())
            with torch.inference_mode():
                try:
                    wrong += not (split(x) - local(x)).abs().max() <= APART
                except Exception as error:  # whatever it is, the image is lost
                    lost += 1
                    print(f"image {number}: {error!r}", flush=True)
            if number % max(1, options.images // LINES) == 0:
                memory.append(in_use([psutil.Process()]))
                seen = edge.table().status.value_counts().to_dict()
                passed = time.monotonic() - begun
                print(
                    f"{passed:7.0f}{number:8}{servers.kills:7}{wrong:7}{lost:6}"
                    f"{memory[-1] / 2**20:9.0f}  {seen}",
                    flush=True,
                )
        shares = edge.ledger.exposure().share
    print(f"largest share of a picture that a server was sent: {shares.max():.3f}")
    failed = wrong or lost or shares.max() >= 1 or memory[-1] - memory[0] > GROWTH
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
