"""CPU time and memory of SAM's encoder on real servers, edge included, against SAM's own encoder.

    python benchmarks/bench_pedsam_grpc.py sam-small vit_b

All processes run on this machine with one thread each, so the sum of their CPU times is what
splitting costs. Not part of the tests. The weights are random; the speed does not depend on them.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.sam import SMALL, build_sam
from paperlib.pedsam.edge import EdgeCompute
from paperlib.pedsam.encoder import PartitionedEncoder
from paperlib.pedsam.processes import LocalServer, local_servers
from paperlib.pedsam.worker import WindowBlocks
from paperlib.runtime import peak_memory

IMAGES = {"sam-small": 100, "vit_b": 3}
SERVERS = (1, 4)


def cpu_of(servers: list[LocalServer]) -> float:
    """Seconds of CPU time that these servers have used."""
    return sum(sum(server.process.cpu_times()[:2]) for server in servers)


def peak_of(server: LocalServer) -> int:
    """Largest resident memory of a server so far, in bytes (Linux)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


@torch.inference_mode()
def compare(name: str, folder: Path) -> None:
    """Print a row for each number of servers."""
    torch.manual_seed(0)
    sam = halve(build_sam(name))
    save_checkpoint(sam, name, {"architecture": name, "command": "none"}, folder)
    source = folder if name in SMALL else folder / f"{name}.safetensors"
    encoder = sam.image_encoder.eval()
    x = torch.randn(1, 3, encoder.img_size, encoder.img_size)
    with local_servers(max(SERVERS), ["--sam", name, "--weights", str(source)]) as servers:
        for k in SERVERS:
            addresses = [server.address for server in servers[:k]]
            with EdgeCompute(WindowBlocks(encoder), addresses, deadline=600) as compute:
                split = PartitionedEncoder(encoder, compute)
                difference = (split(x) - encoder(x)).abs().max()
                own = ours = on_servers = 0.0
                for _ in range(IMAGES[name]):  # in turns, so that other load falls on both
                    start = time.process_time()
                    encoder(x)
                    middle, before = time.process_time(), cpu_of(servers)
                    split(x)
                    own += middle - start
                    ours += time.process_time() - middle
                    on_servers += cpu_of(servers) - before
            edge, server = peak_memory(), max(map(peak_of, servers[:k]))
            own, ours, on_servers = (1e3 * s / IMAGES[name] for s in (own, ours, on_servers))
            print(
                f"{name:10}{k:3}{own:9.1f}{ours:9.1f}{on_servers:9.1f}"
                f"{(ours + on_servers) / own:8.2f}{difference:10.1e}"
                f"{edge / 2**20:9.0f}{server / 2**20:9.0f}",
                flush=True,
            )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("CPU time in ms for each image, peak memory in MB")
    heads = ("SAM's own", "edge", "servers", "ratio", "off by", "edge MB", "server MB")
    print(f"{'encoder':10}{'k':>3}" + "".join(f"{head:>10}" for head in heads))
    for name in sys.argv[1:] or ["sam-small"]:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, Path(folder))


if __name__ == "__main__":
    main()
