"""Accuracy when frequencies are cut off: low-pass and high-pass sweeps, and JPEG.

Low-pass keeps the DCT components with max(u, v) < c, high-pass those with max(u, v) >= c on
mid-grey; the result is clipped to [0, 1], as an image is. JPEG (quality 1 to 100) is a filter of
the same kind, by blocks of 8 × 8. Extends Wang et al., arXiv 2005.03141.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.bands import high_pass, low_pass
from paperlib.models.training import accuracy

CHANCE = 0.1  # accuracy of a guess among ten classes
Outcomes = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]
Models = Mapping[tuple[str, str], nn.Module]  # by architecture and variant


def low_passed(
    images: Float[Tensor, "n channels height width"], cutoff: int
) -> Float[Tensor, "n channels height width"]:
    """Images in [0, 1] with max(u, v) < cutoff only, clipped to [0, 1]."""
    return low_pass(images, cutoff).clamp(0, 1)


def high_passed(
    images: Float[Tensor, "n channels height width"], cutoff: int
) -> Float[Tensor, "n channels height width"]:
    """Images in [0, 1] with max(u, v) >= cutoff only, on mid-grey, clipped to [0, 1].

    With cutoff 0 nothing is cut and nothing added.
    """
    grey = 0.5 if cutoff > 0 else 0.0
    return (high_pass(images, cutoff) + grey).clamp(0, 1)


PASSED = {"low-pass": low_passed, "high-pass": high_passed}


def grid(step: int, size: int = 32) -> list[int]:
    """Cut-offs every `step` indices up to half of the size, then every second one; the last is it.

    Half of the components of a side are three quarters of all, and networks fall below half of
    their accuracy before it.
    """
    return [*range(step, size // 2 + 1, step), *range(size // 2 + 2 * step, size + 1, 2 * step)]


def sweep(
    model: nn.Module,
    data: LabelledImages,
    kind: Literal["low-pass", "high-pass"],
    cutoffs: Sequence[int],
) -> list[float]:
    """Accuracy (0 to 1) on the filtered images, one for every cut-off."""
    images = data.floats()
    return [accuracy(model, PASSED[kind](images, cutoff), data.labels) for cutoff in cutoffs]


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


def cutoff_table(
    models: Models, draws: Sequence[LabelledImages], cutoffs: Sequence[int]
) -> pd.DataFrame:
    """`sweep` of every model on every draw, high-pass on the first alone: no claim asks for it.

    Columns filter, architecture, variant, seed, cutoff and accuracy, one row a point.
    """
    return pd.DataFrame(
        [
            {"filter": kind, "architecture": architecture, "variant": variant, "seed": k}
            | {"cutoff": cutoff, "accuracy": value}
            for kind in ("low-pass", "high-pass")
            for (architecture, variant), model in models.items()
            for k, data in enumerate(draws if kind == "low-pass" else draws[:1])
            for cutoff, value in zip(cutoffs, sweep(model, data, kind, cutoffs), strict=True)
        ]
    )


def jpeg_table(
    models: Models, draws: Sequence[LabelledImages], qualities: Sequence[int]
) -> pd.DataFrame:
    """Accuracy (0 to 1) by JPEG quality, "none" without compression; columns architecture,
    variant, seed, quality and accuracy, one row a point."""
    rows = []
    for k, data in enumerate(draws):
        images = {"none": data.images} | {q: jpeg(data.images, q) for q in qualities}
        for (architecture, variant), model in models.items():
            row = {"architecture": architecture, "variant": variant, "seed": k}
            for quality, pixels in images.items():
                value = accuracy(model, pixels.float() / 255, data.labels)
                rows.append(row | {"quality": quality, "accuracy": value})
    return pd.DataFrame(rows)


def lost_share(clean: Any, left: Any) -> Any:
    """Share of the accuracy above chance that is lost: (clean - left) / (clean - `CHANCE`).

    Points lost cannot fall below chance, so that a network that only guesses would lose least.

    Args:
        clean, left: accuracies, 0 to 1, before and after; numbers, arrays or series.

    Returns:
        The share, of the kind of `clean`; NaN where there is nothing to lose, `clean` being under
        twice `CHANCE`.
    """
    above = clean - CHANCE
    return (clean - left) / np.where(above >= CHANCE, above, np.nan)


def control_table(
    models: Mapping[str, nn.Module], data: LabelledImages, quality: int, cutoff: int
) -> pd.DataFrame:
    """A row a network: its accuracy, and `lost_share` under JPEG and under a low-pass filter.

    Args:
        models: by name.
        quality: of JPEG.
        cutoff: of the filter.
    """
    images = {
        f"JPEG at {quality}": jpeg(data.images, quality).float() / 255,
        f"low-pass at {cutoff}": low_passed(data.floats(), cutoff),
    }
    rows = {}
    for name, model in models.items():
        clean = accuracy(model, data.floats(), data.labels)
        left = {what: accuracy(model, x, data.labels) for what, x in images.items()}
        shares = {what: float(lost_share(clean, value)) for what, value in left.items()}
        rows[name] = {"accuracy": clean} | shares
    return pd.DataFrame(rows).T


def more_lost(natural: Outcomes, robust: Outcomes, images: Int[np.ndarray, " chosen"]) -> float:
    """`lost_share` of one network minus that of another.

    Args:
        natural, robust: of each image how often a network gets it right, 0 to 1, before and after.
        images: numbers of those that count, as often as they stand there.
    """
    shares = [
        lost_share(clean[images].mean(), left[images].mean()) for clean, left in (natural, robust)
    ]
    return float(shares[0] - shares[1])


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
