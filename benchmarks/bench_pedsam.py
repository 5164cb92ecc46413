"""Speed of the split encoder, all in one process, against segment_anything's own.

    python benchmarks/bench_pedsam.py        a table of CPU times and ratios, timed in turns

Not part of the tests.
"""

import time
from collections.abc import Callable

import torch
from segment_anything import sam_model_registry
from torch import nn

from paperlib.models.sam import build_small_sam
from paperlib.pedsam.split.encoder import PartitionedEncoder


def cpu_seconds(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Least CPU time of each, taken in turns so that other load falls on all alike."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            taken.append(time.process_time() - start)
    return [min(taken) for taken in times]


@torch.inference_mode()
def main() -> None:
    """Print CPU times and ratios; the weights are random, the speed does not depend on them."""
    print(f"{torch.get_num_threads()} threads\n{'encoder':12}{'SAM':>10}{'split':>10}{'ratio':>8}")
    models: dict[str, tuple[Callable[[], nn.Module], int]] = {
        "sam-small": (build_small_sam, 20),
        "vit_b": (sam_model_registry["vit_b"], 3),
    }
    for name, (build, rounds) in models.items():
        encoder = build().image_encoder.eval()
        split = PartitionedEncoder(encoder)
        x = torch.randn(1, 3, encoder.img_size, encoder.img_size)
        own, ours = cpu_seconds([lambda: encoder(x), lambda: split(x)], rounds)  # noqa: B023
        print(f"{name:12}{own:8.3f} s{ours:8.3f} s{own / ours:7.2f}×", flush=True)


if __name__ == "__main__":
    main()
