"""What D4C costs on this machine: seconds of the synthesis, and of every stage of a quantization.

An iteration of the synthesis does the same work whatever its number, so a few of them, timed on one
mini-batch, tell the seconds of an image at the paper's number of iterations.
"""

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.encoders import ENCODERS
from paperlib.d4c.methods import ABLATION, calibration_images, data_free_baseline
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.settings import Settings
from paperlib.d4c.zero_shot import task_features, top1
from paperlib.data import LabelledImages
from paperlib.models.clip import Tokenizer

Clip = tuple[nn.Module, Tokenizer]


def synthesis_cost(
    clips: Mapping[str, Clip], changes: Mapping[str, Mapping[str, Any]], iterations: int
) -> pd.DataFrame:
    """Time of the data-free baseline and of each row of the ablation.

    Args:
        clips: by name of the encoder.
        changes: of the settings, by name of the encoder.
        iterations: so many are timed, of one mini-batch of the paper's size.

    Returns:
        A row an encoder and method, with "ms an iteration", for an image, and "s an image" at the
        paper's number of iterations.
    """
    rows = []
    for name, own in changes.items():
        few = {"synthesis_iterations": iterations, "images": Settings.synthesis_batch}
        timed = replace(Settings(**own), synthesis_batch=Settings.synthesis_batch, **few)
        for method in (data_free_baseline(clips[name][0]), *ABLATION):
            began = time.perf_counter()
            calibration_images(method, *clips[name], timed)
            each = (time.perf_counter() - began) / timed.images / iterations
            rows.append([name, method, 1_000 * each, each * Settings.synthesis_iterations])
    return pd.DataFrame(rows, columns=["encoder", "method", "ms an iteration", "s an image"])


def stage_seconds(
    clip: Clip,
    settings: Settings,
    images: Float[Tensor, "n 3 size size"],
    test: LabelledImages,
    dataset: str,
) -> dict[str, float]:
    """Seconds of one quantization, by stage: weights and text tower, image tower, test images."""
    times = [time.perf_counter()]
    text_done = quantize_text(*clip, settings, zero_shot_task(dataset).templates)
    times.append(time.perf_counter())
    quantized = quantize_image(text_done, images)
    times.append(time.perf_counter())
    top1(quantized, task_features(text_done, clip[1], dataset), test)
    times.append(time.perf_counter())
    stages = ("weights, text tower", "image tower", f"{len(test)} test images")
    return dict(zip(stages, (b - a for a, b in itertools.pairwise(times)), strict=True))


def stage_table(
    clips: Mapping[str, Clip],
    settings: Mapping[str, Settings],
    images: Mapping[str, Float[Tensor, "n 3 size size"]],
    test: LabelledImages,
    dataset: str,
) -> pd.DataFrame:
    """The `stage_seconds` of each encoder, a row each by its title, a column a stage.

    Args:
        clips, settings, images: by encoder.
        test, dataset: as for `stage_seconds`.
    """
    stages = {
        ENCODERS[name]: stage_seconds(clips[name], own, images[name], test, dataset)
        for name, own in settings.items()
    }
    return pd.DataFrame(stages).T
