"""Speed of the split encoder against segment_anything's own, and what spot checks cost.

    python benchmarks/bench_pedsam.py sam-small vit_b --images 1 10

First all in one process; then over an edge and four servers, processes of this machine with one
thread each, without checks, with 1, 2 and 4 windows of each round computed again on the edge, and
with all (strict). A ratio is CPU time of all processes together over that of segment_anything's
encoder, in turns with it. Not part of the tests. The weights are random, the speed does not depend
on them.
"""

import argparse
from collections.abc import Sequence

import torch

from paperlib.models.sam import SAMS, build_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.latency import cpu_of_all, encoder_seconds
from paperlib.pedsam.remote.processes import servers_of
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks

TURNS = {"sam-small": 20, "vit_b": 2}  # of one image; of several fewer
SERVERS, CHECKS = 4, (0, 1, 2, 4, "strict")


def in_one_process(name: str) -> None:
    """Print CPU seconds of an image and their ratio."""
    encoder = build_sam(name).image_encoder.eval()
    x = torch.randn(TURNS.get(name, 1), 3, encoder.img_size, encoder.img_size)
    taken = encoder_seconds({"SAM": encoder, "split": PartitionedEncoder(encoder)}, x)
    own, ours = taken.min()
    print(f"{name:12}{own:8.3f} s{ours:8.3f} s{ours / own:7.2f}", flush=True)


@torch.inference_mode()
def over_servers(name: str, images: Sequence[int]) -> None:
    """Print a row for each number of images together and of windows that are checked."""
    sam = build_sam(name)
    encoder = sam.image_encoder.eval()
    with servers_of(sam, name, SERVERS) as servers:
        addresses = [server.address for server in servers]
        for n in images:
            x = torch.randn(n, 3, encoder.img_size, encoder.img_size)
            for checks in CHECKS:
                how = {"checks": checks, "deadline": 600}
                with EdgeCompute(WindowBlocks(encoder), addresses, **how) as edge:
                    turns = max(1, TURNS.get(name, 1) // n)
                    spent = cpu_of_all(encoder, edge, servers, x, turns)
                ratio = (spent["edge"] + spent["servers"]) / spent["own"]
                seconds = "".join(f"{each:8.3f} s" for each in spent.values())
                print(f"{name:12}{n:6}{checks!s:>8}{seconds}{ratio:7.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    command = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command.add_argument("sams", nargs="*", default=["sam-small", "vit_b"], metavar="SAM")
    command.add_argument("--images", nargs="+", type=int, default=[1, 10], help="together")
    options = command.parse_args()
    if unknown := set(options.sams) - set(SAMS):
        command.error(f"SAM {', '.join(unknown)}: valid are {', '.join(SAMS)}")
    torch.set_num_threads(1)  # CPU seconds are those of one thread
    print("in one process, CPU time of an image")
    print(f"{'encoder':12}{'SAM':>10}{'split':>10}{'ratio':>7}")
    for name in options.sams:
        in_one_process(name)
    print(f"\nan edge and {SERVERS} servers, CPU time of an image")
    heads = "".join(f"{head:>10}" for head in ("SAM", "edge", "servers"))
    print(f"{'encoder':12}{'images':>6}{'checks':>8}{heads}{'ratio':>7}")
    for name in options.sams:
        over_servers(name, options.images)


if __name__ == "__main__":
    main()
