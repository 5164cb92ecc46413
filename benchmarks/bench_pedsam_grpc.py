"""CPU time and memory of SAM's encoder on real servers, edge included, against SAM's own encoder.

    python benchmarks/bench_pedsam_grpc.py sam-small vit_b

All processes run on this machine with one thread each, so the sum of their CPU times is what
splitting costs. Not part of the tests. The weights are random; the speed does not depend on them.
"""

import sys
import time

import torch

from paperlib.models.sam import build_sam
from paperlib.pedsam.edge import EdgeCompute
from paperlib.pedsam.encoder import PartitionedEncoder
from paperlib.pedsam.processes import servers_of
from paperlib.pedsam.worker import WindowBlocks
from paperlib.runtime import peak_memory

IMAGES = {"sam-small": 100, "vit_b": 3}
SERVERS = (1, 4)


@torch.inference_mode()
def compare(name: str) -> None:
    """Print a row for each number of servers."""
    torch.manual_seed(0)
    sam = build_sam(name)
    encoder = sam.image_encoder.eval()
    x = torch.randn(1, 3, encoder.img_size, encoder.img_size)
    with servers_of(sam, name, max(SERVERS)) as servers:
        for k in SERVERS:
            addresses = [server.address for server in servers[:k]]
            with EdgeCompute(WindowBlocks(encoder), addresses, deadline=600) as compute:
                split = PartitionedEncoder(encoder, compute)
                difference = (split(x) - encoder(x)).abs().max()
                own = ours = on_servers = 0.0
                for _ in range(IMAGES[name]):  # in turns, so that other load falls on both
                    start = time.process_time()
                    encoder(x)
                    middle, before = (
                        time.process_time(),
                        sum(server.cpu_seconds() for server in servers),
                    )
                    split(x)
                    own += middle - start
                    ours += time.process_time() - middle
                    on_servers += sum(server.cpu_seconds() for server in servers) - before
            edge, server = peak_memory(), max(server.peak_memory() for server in servers[:k])
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
        compare(name)


if __name__ == "__main__":
    main()
