"""What is left of a simulated quantization: files, integer products, time. For notebook 14.

Models are given by the names of encoder and bit-widths, CLIPs in floating point by that of the
encoder.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from paperlib.d4c import integer
from paperlib.d4c.comparison import Plan, text_towers
from paperlib.d4c.folding import quantize_folded
from paperlib.d4c.pipeline import quantize_image
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import ReconstructionWarning
from paperlib.d4c.sensitivity import unit_features
from paperlib.d4c.storage import float_bytes, load_quantized, save_quantized
from paperlib.d4c.zero_shot import task_features
from paperlib.data import LabelledImages
from paperlib.intervals import student
from paperlib.models.clip import Tokenizer, image_size, preprocess, recognised
from paperlib.runtime import seconds_a_call

Key = tuple[str, str]  # encoder and bit-widths
Clips = Mapping[str, tuple[nn.Module, Tokenizer]]
NO_BITS = "–"  # of a CLIP in floating point
FOLDED = " folded"  # behind the bits of a ViT


def quantize_towers(
    clips: Clips,
    plans: Sequence[Plan],
    images: Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]],
    dataset: str,
    folder: Path | None = None,
) -> tuple[dict[Key, QuantizedClip], dict[str, QuantizedClip]]:
    """Each plan's CLIP quantized with D4C's images, and a ViT folded too.

    Args:
        clips: in floating point.
        plans: of one draw, those of an encoder one after the other.
        images: for calibration, by encoder, draw and method.
        dataset: of the zero-shot task.
        folder: where quantized image towers are kept (see `quantize_image`).

    Returns:
        The CLIPs, `FOLDED` behind the bits where they are folded; and of each encoder's first plan
        the one with the nearest rounding in the image tower, of which nothing is learned.
    """
    found, nearest = {}, {}
    for plan, text_done in text_towers(clips, plans, dataset):
        given = text_done, images[plan.encoder, plan.draw, "d4c"]
        found[plan.encoder, plan.bits] = quantize_image(*given, folder)
        if plan.encoder == "vit":
            with warnings.catch_warnings(action="ignore", category=ReconstructionWarning):
                found[plan.encoder, plan.bits + FOLDED] = quantize_folded(*given)
        if plan.encoder not in nearest:
            nearest[plan.encoder] = copy.deepcopy(text_done)
            nearest[plan.encoder].set_image_ranges(given[1])
    return found, nearest


def through_files(
    models: Mapping[Key, QuantizedClip], clips: Clips
) -> tuple[dict[Key, QuantizedClip], pd.DataFrame]:
    """Models saved and read back; and a row each with the sizes in MB: float32 and saved."""
    loaded, rows = {}, []
    for (name, bits), model in models.items():
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            save_quantized(model, path)
            loaded[name, bits] = load_quantized(path, clips[name][0])
            rows.append([name, bits, float_bytes(model) / 1e6, path.stat().st_size / 1e6])
    files = pd.DataFrame(rows, columns=["encoder", "bits", "float32 (MB)", "saved (MB)"])
    files["times smaller"] = files["float32 (MB)"] / files["saved (MB)"]
    return loaded, files


@torch.no_grad()
def same_features(
    first: Mapping[Key, QuantizedClip],
    second: Mapping[Key, QuantizedClip],
    images: UInt8[Tensor, "n 3 height width"],
) -> bool:
    """Whether models give equal features of the images, bit for bit."""
    return all(
        torch.equal(model.encode_image(x), second[key].encode_image(x))
        for key, model in first.items()
        for x in [preprocess(images, image_size(model))]
    )


def on_integers(
    models: Mapping[Key, QuantizedClip], images: UInt8[Tensor, "n 3 height width"]
) -> tuple[dict[Key, nn.Module], pd.DataFrame]:
    """Image towers with integer products; and a row each, beside the simulation.

    The table has the share of the weights that are computed on integers, in %, and the largest
    difference of the features of the images.
    """
    towers, rows = {}, []
    for key, model in models.items():
        towers[key], layers = integer.integer_tower(model)
        share = 100 * integer.share_of_weights(model, layers)
        x = preprocess(images, image_size(model))
        rows.append([*key, share, integer.largest_difference(towers[key], model, x)])
    columns = ["encoder", "bits", "weights on integers (%)", "largest difference of features"]
    return towers, pd.DataFrame(rows, columns=columns)


def side_by_side(
    clips: Clips,
    simulated: Mapping[Key, QuantizedClip],
    towers: Mapping[Key, nn.Module],
    test: LabelledImages,
    dataset: str,
    timed_images: int,
    seconds: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy and time of each CLIP in floating point, simulated and with integers.

    Args:
        clips, simulated: CLIPs, and their quantized ones.
        towers: of `on_integers`; the text towers are those of `simulated`.
        test: images to classify.
        dataset: of the zero-shot task.
        timed_images: of them, in one forward pass whose time is measured.
        seconds: that the measurement of one tower takes.

    Returns:
        A row each: encoder, bits, what it computes with, Top-1 (%), ms an image, and how many times
        as fast as float32 it is; and a column each: whether an image is recognised.
    """
    given = {}  # model and texts of each row
    for (name, bits), model in simulated.items():
        clip, tokenizer = clips[name]
        if (name, NO_BITS, "float32") not in given:
            given[name, NO_BITS, "float32"] = clip, task_features(clip, tokenizer, dataset)
        texts = task_features(model, tokenizer, dataset)
        given[name, bits, "simulated"] = model, texts
        given[name, bits, "integers"] = towers[name, bits], texts
    rows, right = [], {}
    for key, (model, texts) in given.items():
        batch = preprocess(test.images[:timed_images], image_size(model))
        batch = batch.contiguous(memory_format=torch.channels_last)
        right[key] = recognised(unit_features(model, test), texts, test.labels).numpy()
        with torch.inference_mode():
            taken = seconds_a_call(partial(model.encode_image, batch), seconds)
        rows.append([*key, 100 * right[key].mean(), 1e3 * taken / len(batch)])
    columns = ["encoder", "bits", "computes with", "Top-1 (%)", "ms an image"]
    table = pd.DataFrame(rows, columns=columns)
    floats = table[table.bits == NO_BITS].set_index("encoder")["ms an image"]
    table["times float32's speed"] = table.encoder.map(floats) / table["ms an image"]
    return table, pd.DataFrame(right)


def folding_gains(right: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the folded CLIPs beside the same unfolded, both simulated.

    A row each: encoder, bits, Top-1 (%) folded and unfolded, the difference in points, and the ends
    of its 95 % interval over the images.

    Args:
        right: of `side_by_side`.
    """
    rows = []
    for name, bits, kind in right:
        if bits.endswith(FOLDED) and kind == "simulated":
            before = bits.removesuffix(FOLDED)
            each = [100.0 * right[name, of, kind] for of in (bits, before)]
            gain = each[0] - each[1]
            means = each[0].mean(), each[1].mean(), gain.mean()
            rows.append([name, before, *means, *student(gain)])
    columns = ["encoder", "bits", "folded (%)", "unfolded (%)", "gain", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def deployment_table(files: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Rows of files, a CLIP in floating point among them, then those of times, for the figure.

    Args:
        files: of `through_files`.
        measured: of `side_by_side`.
    """
    whole = files.drop_duplicates("encoder").assign(bits="float32")
    whole["saved (MB)"] = whole["float32 (MB)"]
    disk = pd.concat([whole, files]).sort_values("encoder", kind="stable")
    towers = measured.replace({"bits": {NO_BITS: "float32"}})
    return pd.concat([disk, towers.assign(threads=torch.get_num_threads())])
