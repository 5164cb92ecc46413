"""What folding and exporting a quantized image tower cost and give, on the CLIPs of OpenMoji.

    python benchmarks/bench_d4c_export.py fold      a ViT folded beside unfolded: accuracy
    python benchmarks/bench_d4c_export.py files     exported files: size, accuracy, time an image

Not part of the tests. Calibrated with the first of D4C's published sets, rounded to the nearest
codes. Times are of the processor, which other load changes less; run with OMP_NUM_THREADS=1.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import nn

from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.export import ONNX, TORCH, ExportedTower, export, load_exported, to_onnx
from paperlib.d4c.folding import quantize_folded
from paperlib.d4c.integer import integer_tower, share_of_weights
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.published import calibration_set
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.sizes import NEAREST, SHORT_D4C
from paperlib.d4c.storage import float_bytes
from paperlib.d4c.zero_shot import load_images, task_features, top1
from paperlib.data import LabelledImages
from paperlib.models.clip import Tokenizer, encode_images, image_size, preprocess

DATA = "openmoji"
Clip = tuple[nn.Module, Tokenizer]


def quantized(
    encoder: str, clip: Clip, bits: str, draw: int
) -> tuple[QuantizedClip, dict[str, QuantizedClip]]:
    """A CLIP whose text tower is quantized, and from it the whole, unfolded and of a ViT folded."""
    settings = Settings(**SHORT_D4C | NEAREST | bit_widths(bits))
    text_done = quantize_text(*clip, settings, zero_shot_task(DATA).templates)
    images = calibration_set(DATA, encoder, "d4c", clip, settings, draw, published=True)
    found = {"unfolded": quantize_image(text_done, images)}
    if encoder == "vit":
        found["folded"] = quantize_folded(text_done, images)
    return text_done, found


def processor_seconds(function: Callable[[], object], at_least: float) -> float:
    """Median time of the processor for a call, measured for so long, five times at least."""
    function()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < at_least:
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def fold_table(bits: list[str], draws: int, test: LabelledImages) -> pd.DataFrame:
    """A ViT folded beside unfolded, a row for each set of calibration images and kind.

    Top-1 in %, mean cosine to the features in floating point, share of the image tower's weights
    that are computed on integers in %, and Top-1 on integers.
    """
    clip = load_encoders(DATA, ["vit"], torch.device("cpu"))["vit"]
    images = preprocess(test.images, image_size(clip[0]))
    exact, rows = encode_images(clip[0], images), []
    floats = 100 * top1(clip[0], task_features(*clip, DATA), test)
    for each in bits:
        for draw in range(draws):
            text_done, models = quantized("vit", clip, each, draw)
            texts = task_features(text_done, clip[1], DATA)
            for kind, model in models.items():
                tower, names = integer_tower(model)
                cosine = (encode_images(model, images) * exact).sum(1).mean().item()
                accuracy = [100 * top1(m, texts, test) for m in (model, tower)]
                share = 100 * share_of_weights(model, names)
                rows.append([each, draw, kind, floats, accuracy[0], cosine, share, accuracy[1]])
    columns = ["bits", "set", "ranges", "Top-1, float", "Top-1", "cosine", "on integers (%)"]
    return pd.DataFrame(rows, columns=[*columns, "Top-1, integers"])


def files_table(bits: list[str], test: LabelledImages, timed: int, seconds: float) -> pd.DataFrame:
    """Each image tower in floating point and quantized, as it is run and as a file.

    A row each: MB of the file, Top-1 in % and ms of the processor an image in a batch of `timed`;
    and how many test images get another class than from the simulation.
    """
    rows = []
    for encoder, clip in load_encoders(DATA, ["resnet", "vit"], torch.device("cpu")).items():
        size = image_size(clip[0])
        batch = preprocess(test.images[:timed], size)
        batch = batch.contiguous(memory_format=torch.channels_last)
        images = preprocess(test.images, size)

        def row(kind, each, model, texts, due, file=None, encoder=encoder, batch=batch, x=images):
            classes = (encode_images(model, x) @ texts.T).argmax(1)
            with torch.inference_mode():
                taken = processor_seconds(partial(model.encode_image, batch), seconds)
            megabytes = file.stat().st_size / 1e6 if file else None
            others = int((classes != due).sum()) if due is not None else 0
            accuracy = 100 * (classes == test.labels).float().mean().item()
            what = [encoder, each, kind, megabytes, accuracy, others, 1e3 * taken / len(batch)]
            print(*what, sep="  ", flush=True)
            rows.append(what)
            return classes

        with TemporaryDirectory() as folder:
            whole = Path(folder, "float" + ONNX)
            whole.write_bytes(to_onnx(clip[0].visual, size))
            texts = task_features(*clip, DATA)
            due = row("float32, torch", "–", clip[0], texts, None)
            row("float32, onnxruntime", "–", load_exported(whole), texts, due, whole)
            for each in bits:
                text_done, models = quantized(encoder, clip, each, 0)
                texts = task_features(text_done, clip[1], DATA)
                for ranges, model in models.items():
                    name = f"{each} {ranges}"
                    due = row("simulated, torch", name, model, texts, None)
                    row("integers, torch", name, integer_tower(model)[0], texts, due)
                    for ending in (TORCH, ONNX):
                        file = Path(folder, f"{name}{ending}")
                        export(model, file)
                        tower: ExportedTower = load_exported(file)
                        row(f"exported, {ending}", name, tower, texts, due, file)
                    print(f"   in float32 {float_bytes(model, 'clip.visual.') / 1e6:.2f} MB")
    columns = ["encoder", "bits", "computes", "MB", "Top-1 (%)", "other classes", "ms an image"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fold", "files"])
    parser.add_argument("--bits", nargs="+", default=["W4A8", "W8A8"])
    parser.add_argument("--draws", type=int, default=1, help="sets of calibration images, to 5")
    parser.add_argument("--test-images", type=int, default=300)
    parser.add_argument("--timed-images", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a time is measured for")
    how = parser.parse_args()
    test = load_images(DATA, "test", how.test_images, 0)
    print(f"{torch.get_num_threads()} threads, {how.test_images} test images", flush=True)
    if how.what == "fold":
        table = fold_table(how.bits, how.draws, test)
    else:
        table = files_table(how.bits, test, how.timed_images, how.seconds)
    with pd.option_context("display.width", 160, "display.max_columns", None):
        print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
