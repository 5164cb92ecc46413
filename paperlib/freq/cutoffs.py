"""Accuracy when frequencies are cut off: low-pass and high-pass sweeps, and JPEG.

Low-pass keeps the DCT components with max(u, v) < c, high-pass those with max(u, v) >= c on
mid-grey; the result is clipped to [0, 1], as an image is. JPEG (quality 1 to 100) is a filter of
the same kind, by blocks of 8 × 8. Extends Wang et al., arXiv 2005.03141.
"""

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.bands import high_pass, low_pass
from paperlib.models.training import accuracy

CHANCE = 0.1  # accuracy of a guess among ten classes


def low_passed(
    images: Float[Tensor, "n 3 size size"], cutoff: int
) -> Float[Tensor, "n 3 size size"]:
    """Images in [0, 1] with max(u, v) < cutoff only, clipped to [0, 1]."""
    return low_pass(images, cutoff).clamp(0, 1)


def high_passed(
    images: Float[Tensor, "n 3 size size"], cutoff: int
) -> Float[Tensor, "n 3 size size"]:
    """Images in [0, 1] with max(u, v) >= cutoff only, on mid-grey, clipped to [0, 1].

    With cutoff 0 nothing is cut and nothing added.
    """
    grey = 0.5 if cutoff > 0 else 0.0
    return (high_pass(images, cutoff) + grey).clamp(0, 1)


def sweep(
    model: nn.Module,
    data: LabelledImages,
    kind: Literal["low-pass", "high-pass"],
    cutoffs: Sequence[int],
) -> list[float]:
    """Accuracy (0 to 1) on the filtered images, one for every cut-off."""
    through = {"low-pass": low_passed, "high-pass": high_passed}[kind]
    images = data.floats()
    return [accuracy(model, through(images, cutoff), data.labels) for cutoff in cutoffs]


def jpeg(
    images: UInt8[Tensor, "n 3 height width"], quality: int
) -> UInt8[Tensor, "n 3 height width"]:
    """Images after JPEG compression at `quality`, 1 (coarse) to 100, with 4:2:0 colour."""
    decoded = []
    for pixels in images.permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
        decoded.append(np.array(Image.open(stream)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)


def jpeg_sweep(
    model: nn.Module, data: LabelledImages, qualities: Sequence[int]
) -> dict[int | str, float]:
    """Accuracy (0 to 1) by JPEG quality; "none" is without compression."""
    compressed = {quality: jpeg(data.images, quality) for quality in qualities}
    return {
        quality: accuracy(model, images.float() / 255, data.labels)
        for quality, images in ({"none": data.images} | compressed).items()
    }


def kept_at_half(sweep: pd.DataFrame, base: str, other: str) -> tuple[list[float], list[int]]:
    """How much more of its accuracy above chance `other` keeps where `base` has lost half of its.

    Args:
        sweep: low-pass accuracies with columns variant, seed, cutoff and accuracy; the largest
            cut-off stands for the whole image.
        base, other: variants.

    Returns:
        For every seed the difference of the shares kept, other minus base, and the largest
        cut-off at which `base` keeps at most half (the smallest in the sweep, if it never does).
    """
    differences, chosen = [], []
    for _, rows in sweep.groupby("seed"):
        table = (
            rows.pivot(index="cutoff", columns="variant", values="accuracy").sort_index() - CHANCE
        )
        kept = table / table.iloc[-1]
        halved = kept.index[kept[base] <= 0.5]
        cutoff = int(halved.max()) if len(halved) else int(kept.index.min())
        differences.append(float(kept.loc[cutoff, other] - kept.loc[cutoff, base]))
        chosen.append(cutoff)
    return differences, chosen
