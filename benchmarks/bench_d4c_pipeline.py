"""D4C's whole pipeline as its release runs it, beside ours: seconds and accuracy on a small CLIP.

    python benchmarks/bench_d4c_pipeline.py --out stages.csv

OpenMoji's ResNet at W4A3, where calibration images decide. *Release*: 128 images after 3,000
iterations in mini-batches of 16 in float32, the plain loop over scales and zero points, 512
prompts, 20,000 iterations a module. *Ours*: as many images after 500 iterations in bfloat16, four
mini-batches a pass, our search, 64 prompts and 1,000 iterations a module at higher rates. What ours
takes was settled on another seed and other scenes. Top-1 is of 5,000 scenes that no notebook tests;
white noise in place of images says what is at stake.

Seconds are of the processor, which other load hardly changes; run with OMP_NUM_THREADS=1. Of the
release's way two stages are timed in part: the synthesis for three iterations (its images are the
published set, of ImageNet's names and in bfloat16), the search for two of the 100 scales (its
ranges are ours, the minimum is the same). Two and a half hours of a core; not part of the tests.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pandas as pd
from torch import Tensor, nn

from paperlib.d4c import quantized_clip
from paperlib.d4c.baselines import gaussian_images
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.optimiser import Part
from paperlib.d4c.pilot import RANGES
from paperlib.d4c.prompts import calibration_texts, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.ranges import Range, search_range, search_range_loop
from paperlib.d4c.reconstruction import ReconstructionWarning, reconstruct
from paperlib.d4c.set_store import load_set
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.synthesis import synthesise_parts
from paperlib.d4c.zero_shot import SCENES_A_CLASS, task_features, top1
from paperlib.data import LabelledImages
from paperlib.data.openmoji import draw_scenes, load_classes
from paperlib.models.clip import Tokenizer
from paperlib.runtime import set_threads
from paperlib.seeds import derive

DATASET, ENCODER, BITS = "openmoji", "resnet", "W4A3"
SEED = derive(0, "draw", 0)
RELEASE = Settings(**bit_widths(BITS), seed=SEED)
SHORT = RANGES | {  # ours
    "synthesis_iterations": 500,
    "synthesis_autocast": True,
    "prompts": 64,
    "reconstruction_iterations": 1_000,
    "rounding_rate": 0.01,
    "image_scale_rate": 8e-4,  # rate times iterations as the release's
    "text_scale_rate": 8e-5,
}
OURS = Settings(**SHORT | bit_widths(BITS), seed=SEED)
PART = Part(SEED, OURS.images)
TOGETHER = 4  # mini-batches a pass of our synthesis
TIMED_ITERATIONS, TIMED_FRACTIONS = 3, 2  # of the release's
SCENES = 5_000

Clip = tuple[nn.Module, Tokenizer]


class Stages:
    """Processor seconds of the stages of one way, and Top-1 at its end."""

    def __init__(self, way: str) -> None:
        self.way, self.rows = way, []

    def add(self, stage: str, value: float) -> None:
        """One more, printed."""
        self.rows.append({"way": self.way, "stage": stage, "value": value})
        print(f"{self.way}: {stage} {value:,.2f}", flush=True)

    def time(self, stage: str, function: Callable[[], object], factor: float = 1) -> None:
        """Add the seconds of a call, times a factor."""
        start = time.process_time()
        function()
        self.add(stage, factor * (time.process_time() - start))


def scenes() -> LabelledImages:
    """Of the test split, after those that notebooks draw from."""
    classes = load_classes()
    first = SCENES_A_CLASS * len(classes)
    drawn = draw_scenes(
        "test", range(first, first + SCENES), size=64, classes=classes, balanced=True
    )
    names = tuple(entry.name for entry in classes)
    return LabelledImages(drawn.images, drawn.labels[:, 0], names, "OpenMoji (drawn)")


def synthesise(clip: Clip, settings: Settings, together: int = 1, **changes: object) -> Tensor:
    """Images of the seed, `together` mini-batches a pass."""
    settings = Settings(**vars(settings) | changes)
    return synthesise_parts(*clip, settings, [PART], together=together)[0].images


def loop_timed(found: list[float]) -> Callable[..., Range]:
    """Our search, which notes how long the plain loop over all scales would have taken."""

    def search(x: Tensor, bits: int, exponent: float, fractions: int) -> Range:
        start = time.process_time()
        search_range_loop(x, bits, exponent, TIMED_FRACTIONS)
        found.append(fractions / TIMED_FRACTIONS * (time.process_time() - start))
        return search_range(x, bits, exponent, fractions)

    return search


def learn(
    clip: Clip,
    images: Tensor,
    settings: Settings,
    data: LabelledImages,
    stages: Stages,
    loop: bool,
) -> None:
    """Ranges and rounding, then Top-1 with the nearest rounding and with the learned one."""
    templates = zero_shot_task(DATASET).templates
    tokens = clip[1](calibration_texts(templates, settings.prompts, settings.seed))
    model = QuantizedClip(clip[0], settings)
    if loop:
        found: list[float] = []
        with patch.object(quantized_clip, "search_range", loop_timed(found)):
            model.set_ranges(images, tokens)
        stages.add("ranges", sum(found))
    else:
        stages.time("ranges", lambda: model.set_ranges(images, tokens))

    def measure(rounding: str) -> None:
        texts = task_features(model, clip[1], DATASET)
        stages.add(f"Top-1 (%), {rounding} rounding", 100 * top1(model, texts, data))

    measure("nearest")
    with warnings.catch_warnings(action="ignore", category=ReconstructionWarning):
        for tower in ("text", "image"):
            stages.time(
                f"reconstruction, {tower} tower",
                lambda tower=tower: reconstruct(model, images, tokens, [tower]),
            )
    measure("learned")


def ours(clip: Clip, data: LabelledImages) -> pd.DataFrame:
    """The short way, and white noise in it."""
    stages, made = Stages("ours"), []
    stages.time("synthesis", lambda: made.append(synthesise(clip, OURS, TOGETHER)))
    learn(clip, made[0], OURS, data, stages, loop=False)
    noise = Stages("ours, with white noise")
    learn(clip, gaussian_images(clip[0], OURS.images, SEED), OURS, data, noise, loop=False)
    return pd.DataFrame(stages.rows + noise.rows)


def release(clip: Clip, data: LabelledImages) -> pd.DataFrame:
    """The release's way."""
    stages = Stages("release")
    factor = RELEASE.synthesis_iterations / TIMED_ITERATIONS
    synthesise(clip, RELEASE, synthesis_iterations=1)  # what is computed once, and the first pass
    few = {"synthesis_iterations": TIMED_ITERATIONS}
    stages.time("synthesis", lambda: synthesise(clip, RELEASE, **few), factor)
    images = load_set(DATASET, ENCODER, "d4c", clip[0]).images
    learn(clip, images, RELEASE, data, stages, loop=True)
    return pd.DataFrame(stages.rows)


WAYS = {"ours": ours, "release": release}


def main() -> None:
    """Print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="CSV of the rows")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    set_threads()
    clip = load_encoders(DATASET, [ENCODER])[ENCODER]
    texts, data = task_features(*clip, DATASET), scenes()
    print(f"float: Top-1 (%) {100 * top1(clip[0], texts, data):.2f}", flush=True)
    measured = []
    for way in options.ways:
        measured.append(WAYS[way](clip, data))
        rows = pd.concat(measured)
        rows.to_csv(options.out, index=False)
    table = rows.pivot_table("value", "stage", "way", sort=False)
    if set(WAYS) <= {*options.ways}:
        table["ratio"] = table.release / table.ours
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
