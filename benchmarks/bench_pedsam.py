"""Speed of the split encoder, all in one process, against segment_anything's own.

    python benchmarks/bench_pedsam.py        a table of CPU times and ratios, timed in turns

Not part of the tests. The weights are random, the speed does not depend on them.
"""

import torch

from paperlib.models.sam import build_sam
from paperlib.pedsam.remote.latency import encoder_seconds
from paperlib.pedsam.split.encoder import PartitionedEncoder

IMAGES = {"sam-small": 20, "vit_b": 3}

if __name__ == "__main__":
    torch.set_num_threads(1)  # CPU seconds are those of one thread
    print(f"{'encoder':12}{'SAM':>10}{'split':>10}{'ratio':>8}")
    for name, count in IMAGES.items():
        encoder = build_sam(name).image_encoder.eval()
        x = torch.randn(count, 3, encoder.img_size, encoder.img_size)
        taken = encoder_seconds({"SAM": encoder, "split": PartitionedEncoder(encoder)}, x)
        own, ours = taken.min()
        print(f"{name:12}{own:8.3f} s{ours:8.3f} s{own / ours:7.2f}×", flush=True)
