"""CPU time and memory of SAM's encoder on real servers, edge included, against SAM's own encoder.

    python benchmarks/bench_pedsam_grpc.py sam-small vit_b

All processes run on this machine with one thread each, so the sum of their CPU times is what
splitting costs. Images are encoded one by one, and together where the edge takes several at once.
Not part of the tests. The weights are random; the speed does not depend on them.
"""

import sys

import torch

from paperlib.models.sam import build_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.latency import cpu_of_all
from paperlib.pedsam.remote.processes import servers_of
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runtime import peak_memory

IMAGES = {"sam-small": 100, "vit_b": 3}  # in all
SERVERS = (1, 4)


@torch.inference_mode()
def compare(name: str) -> None:
    """Print a row for each number of servers and of images together."""
    torch.manual_seed(0)
    sam = build_sam(name)
    encoder = sam.image_encoder.eval()
    with servers_of(sam, name, max(SERVERS)) as servers:
        for k in SERVERS:
            addresses = [server.address for server in servers[:k]]
            with EdgeCompute(WindowBlocks(encoder), addresses, deadline=600) as edge:
                for n in sorted({1, min(4, edge.batch)}):
                    x = torch.randn(n, 3, encoder.img_size, encoder.img_size)
                    difference = (PartitionedEncoder(encoder, edge)(x) - encoder(x)).abs().max()
                    spent = cpu_of_all(encoder, edge, servers[:k], x, IMAGES[name] // n)
                    ours = spent["edge"] + spent["servers"]
                    peaks = peak_memory(), max(server.peak_memory() for server in servers[:k])
                    print(
                        f"{name:10}{k:4}{n:8}"
                        + "".join(f"{1e3 * seconds:10.1f}" for seconds in spent.values())
                        + f"{ours / spent['own']:10.2f}{difference:10.1e}"
                        + "".join(f"{peak / 2**20:11.0f}" for peak in peaks),
                        flush=True,
                    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("CPU time in ms for each image, peak memory in MB")
    heads = ("SAM's own", "edge", "servers", "ratio", "off by")
    print(f"{'encoder':10}{'k':>4}{'images':>8}" + "".join(f"{head:>10}" for head in heads), end="")
    print(f"{'edge MB':>11}{'server MB':>11}")
    for name in sys.argv[1:] or ["sam-small"]:
        compare(name)


if __name__ == "__main__":
    main()
