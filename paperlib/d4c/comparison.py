"""Calibration images compared by the accuracy of the CLIPs that are quantized with them.

A plan is one quantization: an encoder, bit-widths, a draw. Weights and text tower do not see the
calibration images, so they are quantized once a plan (`text_towers`), and every method's images
continue from there (`compare`). The ranges of the weights do not even depend on the draw, nor on
the bits of the activations: they are searched once for all plans that share them. So are the
ranges of the image tower's activations, which the bits of the weights do not change: they are those
of the model in floating point.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.cache import cached
from paperlib.d4c.pipeline import (
    image_steps,
    quantize_image,
    quantize_text,
    quantize_without_images,
)
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.quantized_clip import (
    ImageRanges,
    ModuleError,
    QuantizedClip,
    activation_search,
    weight_search,
)
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.sizes import DecisiveSizes, DeploymentSizes, QuantizationSizes
from paperlib.d4c.zero_shot import task_features, top1
from paperlib.data import LabelledImages
from paperlib.models.clip import Tokenizer
from paperlib.seeds import derive

Clips = Mapping[str, tuple[nn.Module, Tokenizer]]  # by encoder
CONTROLS = ("spectrum", "leaves")  # measured where calibration images decide
ALONE = {"dynamic": "dynamic activations", "float": "weights alone"}  # without calibration images


@dataclass(frozen=True)
class Plan:
    """One quantization.

    Attributes:
        encoder: the image tower of the CLIP.
        bits: such as "W4A3".
        draw: of test images, calibration images and prompts, from 0.
        settings: with these bits and the seed of the draw.
        decisive: whether calibration images decide at these bits.
        without: methods whose images it does not take.
    """

    encoder: str
    bits: str
    draw: int
    settings: Settings
    decisive: bool = False
    without: tuple[str, ...] = ()


def plans_at(
    encoder: str, bits: str, changes: Mapping[str, Any], draws: Iterable[int], seed: int, **of: Any
) -> list[Plan]:
    """A plan for each of the draws.

    Args:
        encoder, bits: as of `Plan`.
        changes: of the settings.
        draws: their numbers.
        seed: of the run, from which each draw's own is derived.
        of: further attributes of the plans.
    """
    own = {**changes, **bit_widths(bits)}
    seeds = {k: derive(seed, "draw", k) for k in draws}
    return [Plan(encoder, bits, k, Settings(**own, seed=each), **of) for k, each in seeds.items()]


def decisive_plans(sizes: DecisiveSizes, seed: int) -> list[Plan]:
    """Every draw at the bit-widths at which calibration images decide, encoder by encoder."""
    return [
        plan
        for name, changes in sizes.encoders.items()
        for plan in plans_at(
            *(name, sizes.decisive[name], {**changes, **sizes.rounding}, range(sizes.seeds), seed),
            decisive=True,
        )
    ]


def quantization_plans(sizes: QuantizationSizes, seed: int) -> list[Plan]:
    """Encoder by encoder the `decisive_plans`, then the paper's bit-widths with some of the draws.

    At the paper's, noise says what any images are worth; our other controls, where images decide.
    """
    plans, draws = [], range(sizes.seeds)
    for name, own in sizes.encoders.items():
        changes, decisive = {**own, **sizes.rounding}, sizes.decisive[name]
        plans += [plan for plan in decisive_plans(sizes, seed) if plan.encoder == name]
        for bits, few in sizes.bits.items():
            if bits != decisive:
                plans += plans_at(name, bits, changes, draws[:few], seed, without=CONTROLS)
    return plans


def first_plans(sizes: DeploymentSizes, seed: int) -> list[Plan]:
    """The first draw at each of the bit-widths, encoder by encoder."""
    return [
        plan
        for name, changes in sizes.encoders.items()
        for bits in sizes.bits
        for plan in plans_at(name, bits, changes, [0], seed)
    ]


def text_towers(
    clips: Clips, plans: Iterable[Plan], dataset: str
) -> Iterator[tuple[Plan, QuantizedClip]]:
    """Each plan with its CLIP whose weights and text tower are quantized.

    Args:
        clips: by encoder.
        plans: those of an encoder one after the other.
        dataset: whose templates the texts of the reconstruction have.
    """
    templates = zero_shot_task(dataset).templates
    for encoder, own in itertools.groupby(plans, key=lambda plan: plan.encoder):
        searched: dict[tuple[float, ...], QuantizedClip] = {}
        for plan in own:
            key = weight_search(plan.settings)
            given = *clips[encoder], plan.settings, templates
            text_done = quantize_text(*given, weights_of=searched.get(key))
            searched.setdefault(key, text_done)
            yield plan, text_done


@dataclass(frozen=True)
class Comparison:
    """What `compare` measures.

    Attributes:
        top1: a row a plan and method: encoder, bits, iterations (of the reconstruction), draw,
            method, top1 (zero-shot, %), and decisive, as of the plan.
        steps: of the activation quantizers in the image tower, by encoder, bits, draw and method.
        errors: of the image tower's modules, by encoder, draw and method, of plans that learned
            the rounding; of several, the last.
        alone: Top-1 (%) without calibration images, by encoder and draw, a column each of
            `ALONE`; None where it was not asked for.
    """

    top1: pd.DataFrame
    steps: dict[tuple[str, str, int, str], Tensor]
    errors: dict[tuple[str, int, str], list[ModuleError]]
    alone: pd.DataFrame | None


def compare(
    clips: Clips,
    plans: Sequence[Plan],
    images: Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]],
    tests: Sequence[LabelledImages],
    dataset: str,
    folder: Path | None = None,
    without_images: bool = False,
) -> Comparison:
    """Quantize as planned with each set of images, and classify the test images of the draw.

    Args:
        clips: by encoder.
        plans: what to quantize.
        images: for calibration, by encoder, draw and method.
        tests: test images of each draw.
        dataset: of the zero-shot task.
        folder: where quantized image towers are kept (see `quantize_image`), and their accuracies.
        without_images: whether plans that are decisive are also measured without calibration
            images.
    """
    rows, steps, errors, alone = [], {}, {}, {}
    ranges: dict[tuple[Any, ...], ImageRanges] = {}  # by what decides them
    for plan, text_done in text_towers(clips, plans, dataset):
        name, k, iterations = plan.encoder, plan.draw, plan.settings.reconstruction_iterations
        texts = task_features(text_done, clips[name][1], dataset)
        for kind in ALONE if without_images and plan.decisive else ():
            model = quantize_without_images(text_done, kind)
            alone[name, k, ALONE[kind]] = 100 * top1(model, texts, tests[k])
        own = [method for *of, method in images if of == [name, k]]
        for method in (method for method in own if method not in plan.without):
            key = name, k, method, activation_search(plan.settings)
            given = images[name, k, method], folder, ranges.get(key)
            quantized = quantize_image(text_done, *given)
            if iterations == 0:  # nothing learned has changed them
                ranges.setdefault(key, quantized.image_ranges())
            measured = 100 * _kept_top1(quantized, texts, tests[k], folder)
            rows.append([name, plan.bits, iterations, k, method, measured, plan.decisive])
            steps[name, plan.bits, k, method] = image_steps(quantized)
            if iterations:
                errors[name, k, method] = [e for e in quantized.errors if ".visual." in e.name]
    columns = ["encoder", "bits", "iterations", "draw", "method", "top1", "decisive"]
    found = pd.Series(alone).rename_axis(["encoder", "draw", "activations"]) if alone else None
    table = None if found is None else found.unstack()
    return Comparison(pd.DataFrame(rows, columns=columns), steps, errors, table)


def _kept_top1(
    quantized: QuantizedClip, texts: Tensor, test: LabelledImages, folder: Path | None
) -> float:
    """`top1`, kept as the image tower is: notebooks 12 and 13 share some of what they measure."""

    def make() -> dict[str, Tensor]:
        return {"top1": torch.tensor(top1(quantized, texts, test), dtype=torch.double)}

    decides = quantized, quantized.settings, texts, test, torch.__version__, texts.device.type
    return float(cached(folder, make, *decides, made_by=_kept_top1)["top1"])


def float_top1(clips: Clips, tests: Sequence[LabelledImages], dataset: str) -> pd.Series:
    """Zero-shot Top-1 (%) in floating point, by encoder and draw."""
    found = {}
    for name, (model, tokenizer) in clips.items():
        texts = task_features(model, tokenizer, dataset)
        found |= {(name, k): 100 * top1(model, texts, test) for k, test in enumerate(tests)}
    return pd.Series(found).rename_axis(["encoder", "draw"])
