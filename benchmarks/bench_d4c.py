"""Speed of the range search against the plain loop, and of the stages of a quantization.

    python benchmarks/bench_d4c.py             tables of ratios and of seconds a stage
    python benchmarks/bench_d4c.py decided     when the rounding decides: what a stop would save
    pytest benchmarks/bench_d4c.py             the range search under pytest-benchmark

Not part of the tests. Ratios are of processor time, which other load hardly changes; run with
OMP_NUM_THREADS=1.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from paperlib.d4c import reconstruction
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.learned import LEARNED
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantizers import soft_rounding
from paperlib.d4c.ranges import search_range, search_range_loop
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.sizes import SHORT_D4C
from paperlib.d4c.storage import float_bytes, load_quantized, save_quantized

ACTIVATION = torch.randn(32, 65, 192, generator=torch.Generator().manual_seed(0))
LAYOUTS = {
    "per tensor": ACTIVATION.reshape(1, -1),
    "per tensor, one-sided": ACTIVATION.relu().reshape(1, -1),
    "per channel": ACTIVATION.flatten(0, 1).T.contiguous(),
}
VISION = {
    "ResNet": {"layers": (1, 1, 2, 1), "width": 32, "image_size": 64},
    "ViT": {"layers": 4, "width": 192, "patch_size": 8, "image_size": 64},
}
TEXT = {"context_length": 16, "vocab_size": 1000, "width": 128, "heads": 4, "layers": 3}
SETTINGS = Settings(reconstruction_iterations=100)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_range_search(benchmark, layout, bits):
    benchmark.group = f"Range of a 32 × 65 × 192 activation, {layout}"
    benchmark.pedantic(search_range, (LAYOUTS[layout], bits), rounds=3, warmup_rounds=1)


def seconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    """How long a call takes by this clock."""
    start = clock()
    function()
    return clock() - start


def loop_seconds(x: Tensor, bits: int) -> float:
    """Of the plain loop over 100 fractions: timed over two of them, times fifty."""
    return 50 * seconds(lambda: search_range_loop(x, bits, fractions=2), time.process_time)


def stages(kind: str) -> None:
    """Print the seconds of every stage for a small untrained CLIP."""
    torch.manual_seed(0)
    clip = CLIP(embed_dim=128, vision_cfg=VISION[kind], text_cfg=TEXT).eval()
    images, tokens = torch.randn(128, 3, 64, 64), torch.randint(1, 1000, (512, 16))

    def row(what: str, function: Callable[[], object]) -> None:
        print(f"{kind + ', ' + what:60}{seconds(function, time.perf_counter):8.2f} s", flush=True)

    model = QuantizedClip(clip, SETTINGS)
    row("wrap", lambda: QuantizedClip(clip, SETTINGS))
    row("ranges of weights and activations", lambda: model.set_ranges(images, tokens))
    for tower in ("image", "text"):
        row(
            f"reconstruct, {tower} tower, 100 iterations a module",
            lambda tower=tower: reconstruct(model, images, tokens, [tower]),
        )
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        row("save", lambda: save_quantized(model, path))
        row("load", lambda: load_quantized(path, clip))
        size = path.stat().st_size
    print(
        f"{kind}: {size:,} bytes, float32 {float_bytes(model):,}, {float_bytes(model) / size:.1f}×"
    )


def decided() -> pd.DataFrame:
    """Roundings of OpenMoji's ResNet that are undecided, in %, by β of the penalty.

    The penalty's β falls evenly from the end of the warm-up to the last iteration. What has decided
    stays so: once none is undecided, the rest of the iterations would change the scales alone.
    """
    clip = load_encoders("openmoji", ["resnet"])["resnet"]
    settings = Settings(**SHORT_D4C | bit_widths("W4A3") | LEARNED)
    images = calibration_images("spectrum", *clip, settings)
    counts: dict[float, list[tuple[int, int]]] = defaultdict(list)
    penalty = reconstruction.rounding_penalty

    def counting(v: Tensor, beta: float) -> Tensor:
        shares = soft_rounding(v.detach())
        undecided = reconstruction.undecided_roundings(shares).sum().item()
        counts[round(beta)].append((undecided, v.numel()))
        return penalty(v, beta)

    reconstruction.rounding_penalty = counting
    text_done = quantize_text(*clip, settings, zero_shot_task("openmoji").templates)
    quantize_image(text_done, images)
    rows = {beta: [sum(part) for part in zip(*of, strict=True)] for beta, of in counts.items()}
    shares = {beta: 100 * undecided / count for beta, (undecided, count) in rows.items()}
    return pd.DataFrame({"undecided (%)": pd.Series(shares)}).rename_axis("β").round(1)


def main() -> None:
    """Print times and ratios."""
    if "decided" in sys.argv[1:]:
        print(decided().T.to_string())
        return
    print(f"{torch.get_num_threads()} threads\n{'':44}{'ours':>10}{'loop':>10}{'ratio':>8}")
    for layout, x in LAYOUTS.items():
        for bits in (3, 4, 8):
            ours = min(
                seconds(lambda x=x, b=bits: search_range(x, b), time.process_time) for _ in range(3)
            )
            loop = loop_seconds(x, bits)
            what = f"Range, {layout}, {bits} bits"
            print(f"{what:44}{ours:8.2f} s{loop:8.1f} s{loop / ours:7.0f}×", flush=True)
    for kind in VISION:
        stages(kind)


if __name__ == "__main__":
    main()
