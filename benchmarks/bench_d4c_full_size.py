"""Seconds of D4C at OpenAI's sizes on one GPU, beside those that its README reports.

    python benchmarks/bench_d4c_full_size.py --out seconds.csv        on a GPU
    python benchmarks/bench_d4c_full_size.py --device cpu --warmup 0 --iterations 1

RN50 and ViT-B/32 have random weights, on which the speed does not depend. Settings are the paper's;
float32 is without TF32. Nothing runs to its end: of a synthesis some of the 3,000 iterations are
timed, of a reconstruction some of the 20,000 steps of every module of one block of each tower (a
fifth of them without the rounding's penalty, as in the whole run), and the search of ranges there.
Seconds extrapolated are those for one step, times how many there are: an iteration of a synthesis
has a step for each of the eight mini-batches, a tower twelve equal blocks. The ratio is that to the
seconds reported for one RTX A6000, below 1 where ours are fewer. Peaks of memory on the GPU are
those of a row; of a reconstruction, with one block a tower.

At the end the device's results are compared with the CPU's: PASS or FAIL, a line each.
Not part of the tests.
"""

import argparse
import copy
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import open_clip
import pandas as pd
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from paperlib.d4c.baselines import baseline_parts
from paperlib.d4c.optimiser import Part
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import GENERIC_NAMES, calibration_texts, photo, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.reported import reported
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import synthesise
from paperlib.freq.occlusion import component_changes
from paperlib.freq.rct import rct_map
from paperlib.models.checkpoints import load_checkpoint
from paperlib.models.clip import (
    class_features,
    encode_images,
    image_size,
    load_clip,
    published_clips,
)
from paperlib.models.sam import load_sam
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.seeds import generator

ROWS = (  # method, encoder, bfloat16; the most telling first
    ("d4c", "RN50", False),
    ("d4c", "ViT-B/32", False),
    ("reconstruction", "ViT-B/32", False),
    ("d4c", "RN50", True),
    ("d4c", "ViT-B/32", True),
    ("bns", "RN50", False),
    ("pse", "ViT-B/32", False),
)
SMALL = Settings(
    images=16,
    prompts=64,
    synthesis_iterations=20,
    reconstruction_iterations=0,
    range_fractions=20,
    range_images=16,
    range_prompts=16,
)


@dataclass(frozen=True)
class Measured:
    """What was timed.

    Attributes:
        encoder, stage: RN50 or ViT-B/32, and what it did.
        precision: float32 or bfloat16.
        seconds, steps: what was timed, without the warm-up.
        whole: steps of the paper's run.
        peak: largest memory of the GPU meanwhile in bytes; None without one.
    """

    encoder: str
    stage: str
    precision: str
    seconds: float
    steps: int
    whole: int
    peak: int | None = None

    @property
    def extrapolated(self) -> float:
        """Seconds of the paper's run, at the pace that was timed."""
        return self.seconds / self.steps * self.whole


class Enough(Exception):  # noqa: N818 - no error: the rest of the run is not needed
    """A pace has been taken."""


class Pace:
    """Times the forward passes of a module that have gradients, the first ones left out.

    Attributes:
        seconds, passes: what was timed, once it is.
    """

    def __init__(self, module: nn.Module, skip: int, count: int, limit: float, stop: bool) -> None:
        """Args:
        module: what runs once a step.
        skip: so many passes are not timed.
        count: so many are, at most.
        limit: no further one after so many seconds.
        stop: end the run with `Enough`.
        """
        self.skip, self.count, self.limit, self.stop = skip, count, limit, stop
        self.calls, self.began, self.seconds, self.passes = 0, 0.0, 0.0, 0
        module.register_forward_pre_hook(self._before)

    def _before(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if self.passes or not torch.is_grad_enabled():
            return
        done = self.calls - self.skip
        self.calls += 1
        if done == 0:
            self.began = now()
        elif done >= self.count or (done > 0 and time.perf_counter() - self.began > self.limit):
            self.seconds, self.passes = now() - self.began, done
            if self.stop:
                raise Enough


def now() -> float:
    """The clock in seconds, after all that the GPU was given is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak() -> int | None:
    """Largest memory of the GPU in bytes since the last call; None without one."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return found


def full_size(encoder: str, blocks: int | None = None) -> CLIP:
    """OpenAI's architecture with random weights; ViTs with fewer blocks a tower if asked for."""
    config = open_clip.get_model_config(published_clips()[encoder][0])
    if blocks:
        config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = blocks
    torch.manual_seed(0)
    return CLIP(**config).eval()


def time_synthesis(method: str, encoder: str, bfloat16: bool, how: argparse.Namespace) -> Measured:
    """Some iterations of the paper's run of a method."""
    clip = full_size(encoder).to(how.device)
    settings = Settings(synthesis_autocast=bfloat16)
    batches = -(-settings.images // settings.synthesis_batch)
    skip, count = how.warmup * batches, how.iterations * batches
    pace = Pace(clip.visual, skip, count, how.row_seconds, stop=True)
    with suppress(Enough):
        if method == "d4c":
            synthesise(clip, open_clip.get_tokenizer(published_clips()[encoder][0]), settings)
        else:
            baseline_parts(method, clip, settings, [Part.whole(settings)])
    precision = "bfloat16" if bfloat16 else "float32"
    whole = settings.synthesis_iterations * batches
    stage = f"synthesis, {method}"
    return Measured(encoder, stage, precision, pace.seconds, pace.passes, whole, peak())


def time_reconstruction(encoder: str, how: argparse.Namespace) -> list[Measured]:
    """Ranges, every module of a block of both towers, and all modules together."""
    config = open_clip.get_model_config(published_clips()[encoder][0])
    blocks = {"image": config["vision_cfg"]["layers"], "text": config["text_cfg"]["layers"]}
    whole, steps = Settings(), how.warmup + how.steps + 1
    free = (how.warmup + whole.rounding_warmup * how.steps) / steps + 1e-9  # without the penalty
    settings = replace(whole, reconstruction_iterations=steps, rounding_warmup=free)
    clip = full_size(encoder, blocks=1).to(how.device)
    size = image_size(clip)
    images = torch.randn(whole.images, 3, size, size, generator=generator(0, "images"))
    texts = calibration_texts(zero_shot_task("imagenet").templates, whole.prompts, 0)
    tokens = open_clip.get_tokenizer(published_clips()[encoder][0])(texts).to(how.device)
    model, images = QuantizedClip(clip, settings).to(how.device), images.to(how.device)
    began = now()
    model.set_ranges(images, tokens)
    row = Measured(encoder, "ranges", "float32", now() - began, 1, blocks["image"], peak())
    rows, paces = [row], {}
    for tower in blocks:
        for name, part in model.stages(tower)[0].parts():
            short = name.split("resblocks.0.")[-1]
            paces[tower, short] = Pace(part, how.warmup, how.steps, how.row_seconds, stop=False)
    reconstruct(model, images, tokens)
    for (tower, name), pace in paces.items():
        count = blocks[tower] * whole.reconstruction_iterations
        stage = f"reconstruction, {tower} tower, {blocks[tower]} × {name}"
        rows.append(Measured(encoder, stage, "float32", pace.seconds, pace.passes, count))
    return [*rows, all_modules(encoder, rows[1:], peak())]


def all_modules(encoder: str, rows: list[Measured], most: int | None) -> Measured:
    """The sum of kinds of modules, so that its extrapolation is the sum of theirs."""
    steps, whole = sum(row.steps for row in rows), sum(row.whole for row in rows)
    seconds = sum(row.extrapolated for row in rows) * steps / whole
    return Measured(encoder, "reconstruction, all", "float32", seconds, steps, whole, most)


def table(measured: list[Measured], device: str) -> pd.DataFrame:
    """A row each, with the paper's seconds where there are some.

    Args:
        measured: in the order of the rows.
        device: what computed.
    """
    known = {
        (f"synthesis, {row.method}", row.encoder): row.value
        for row in reported("synthesis_seconds").itertuples()
    }
    for row in reported("reconstruction_seconds").itertuples():
        known["reconstruction, all", row.encoder] = row.value
    rows = []
    for each in measured:
        theirs = known.get((each.stage, each.encoder))
        rows.append(
            {
                "encoder": each.encoder,
                "stage": each.stage,
                "precision": each.precision,
                "device": device,
                "seconds_measured": round(each.seconds, 4),
                "steps_measured": each.steps,
                "steps_in_all": each.whole,
                "seconds_extrapolated": round(each.extrapolated, 1),
                "seconds_reported": theirs,
                "ratio": theirs and round(each.extrapolated / theirs, 4),
                "peak_gpu_gb": each.peak and round(each.peak / 1e9, 2),
            }
        )
    return pd.DataFrame(rows)


def synthesis_differs(device: str) -> Iterator[tuple[str, float, float]]:
    """D4C's images of 20 iterations; Adam turns a gradient's rounding near 0 into a whole step."""
    clip, tokenizer = load_clip("openmoji-clip-vit")
    due = synthesise(clip, tokenizer, SMALL)
    there = synthesise(clip.to(device), tokenizer, SMALL)
    off = (there.images.cpu() - due.images).abs()
    yield "D4C's images, largest difference", off.max().item(), 0.02
    yield "D4C's images, mean difference", off.mean().item(), 1e-4
    loss = (there.losses - due.losses).abs().max().item()
    yield "D4C's losses, largest difference", loss, 1e-4


def quantized_differs(device: str) -> Iterator[tuple[str, float, float]]:
    """W4A8 with nearest rounding, calibrated on the same images."""
    clip, tokenizer = load_clip("openmoji-clip-vit")
    images = torch.randn(64, 3, 64, 64, generator=generator(0, "images"))
    images = F.avg_pool2d(images, 5, 1, 2) * 5  # smooth as pictures are
    found = []
    for place in ("cpu", device):
        text_done = quantize_text(clip.to(place), tokenizer, SMALL, [photo])
        model = quantize_image(text_done, images[:32])
        texts = class_features(model, tokenizer, GENERIC_NAMES, [photo]).cpu()
        found.append((encode_images(model, images).cpu(), texts))
    (due, due_texts), (there, texts) = found
    yield "W4A8, images, 1 - least cosine", 1 - (due * there).sum(1).min().item(), 1e-3
    yield "W4A8, texts, 1 - least cosine", 1 - (due_texts * texts).sum(1).min().item(), 1e-3


@torch.inference_mode()
def split_differs(device: str) -> Iterator[tuple[str, float, float]]:
    """PED-SAM's split encoder against segment_anything's own on the CPU in float32."""
    encoder = load_sam("sam-small").image_encoder
    x = torch.randn(2, 3, 320, 320, generator=generator(0, "images"))
    due = encoder(x)
    limits = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
    for precision, most in limits.items():
        there = PartitionedEncoder(copy.deepcopy(encoder).to(device, precision))(x)
        off = (there - due).abs().max() / (due.max() - due.min())
        yield f"split SAM, {precision}, largest difference a range", off.item(), most


def frequency_differs(device: str) -> Iterator[tuple[str, float, float]]:
    """Occluded Frequency of every component, and RCT of a signed gradient."""
    model = load_checkpoint("cifar10-resnet20-natural")
    images = torch.rand(4, 3, 32, 32, generator=generator(0, "images")).requires_grad_()
    labels = torch.arange(4)
    (slope,) = torch.autograd.grad(F.cross_entropy(model(images), labels), images)
    images = images.detach()
    attacked = (images + 8 / 255 * slope.sign()).clamp(0, 1)
    due, rct = component_changes(model, images, labels), rct_map(images, attacked)
    images, attacked = images.to(device), attacked.to(device)
    there = component_changes(model.to(device), images, labels.to(device)).cpu()
    off = (there - due).abs().max() / due.abs().max()
    yield "Occluded Frequency, difference a largest change", off.item(), 1e-3
    off = (rct_map(images, attacked).cpu() - rct).abs().max() / rct.max()
    yield "RCT, difference a largest value", off.item(), 1e-4


CHECKS: dict[str, Callable[[str], Iterator[tuple[str, float, float]]]] = {
    "synthesis": synthesis_differs,
    "quantization": quantized_differs,
    "split": split_differs,
    "frequency": frequency_differs,
}


def check(device: str) -> bool:
    """Print a line for each comparison of the device with the CPU; whether all passed."""
    passed = True
    for name, differs in CHECKS.items():
        began = time.perf_counter()
        try:
            for what, value, most in differs(device):
                good = value <= most
                passed &= good
                print(
                    f"{'PASS' if good else 'FAIL'}  {what:52}{value:10.2e} ≤ {most:g}", flush=True
                )
        except Exception as error:  # the others are still to be seen
            passed = False
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
        print(f"      {name}: {time.perf_counter() - began:.1f} s", flush=True)
    return passed


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = made.add_argument
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--warmup", type=int, default=5, help="iterations before those that are timed")
    add("--iterations", type=int, default=40, help="of a synthesis that are timed")
    add("--steps", type=int, default=200, help="of a module's reconstruction that are timed")
    add("--row-seconds", type=float, default=10, help="time no row longer than this")
    add("--seconds", type=float, default=float("inf"), help="begin nothing after this")
    add(
        "--rows",
        type=int,
        nargs="*",
        default=[*range(len(ROWS))],
        help="numbers in ROWS (default: all)",
    )
    add("--out", type=Path, help="CSV file, written after every row")
    add("--no-checks", action="store_true", help="compare nothing with the CPU")
    return made


def main() -> None:
    """Print table and checks."""
    how, began = parser().parse_args(), time.perf_counter()
    on_gpu = torch.device(how.device).type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}, torch {torch.__version__}", flush=True)
    measured: list[Measured] = []
    failed = False

    def late(what: str) -> bool:
        passed = time.perf_counter() - began
        if passed > how.seconds:
            print(f"{what}: not begun, {passed:.0f} s have passed", flush=True)
        return passed > how.seconds

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for number in how.rows:
        method, encoder, bfloat16 = ROWS[number]
        if late(f"{method}, {encoder}"):
            break
        gc.collect()  # what earlier rows left on the GPU
        peak()
        try:
            found = (
                time_reconstruction(encoder, how)
                if method == "reconstruction"
                else [time_synthesis(method, encoder, bfloat16, how)]
            )
        except Exception as error:  # the other rows are still to be measured
            failed = True
            print(f"FAIL  {method}, {encoder}: {type(error).__name__}: {error}", flush=True)
            continue
        measured += found
        rows = table(measured, device)
        if how.out:
            rows.to_csv(how.out, index=False)
        print(rows.tail(len(found)).drop(columns="device").to_string(index=False), flush=True)
        print(f"      {time.perf_counter() - began:.0f} s have passed", flush=True)
    if not how.no_checks and not late("checks"):
        failed |= not check(how.device)
    sys.exit(failed)


if __name__ == "__main__":
    main()
