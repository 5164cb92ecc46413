r"""Masks: their IoU, and the prompts that are made of them.

$$\mathrm{IoU}(m, t) = |m \cap t| \,/\, |m \cup t|.$$
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def iou(
    masks: Bool[Tensor, "*n height width"], truth: Bool[Tensor, "*n height width"]
) -> Float[Tensor, "*n"]:
    """Intersection over union of every pair of masks, 0 to 1; two empty masks agree."""
    union = (masks | truth).sum((-2, -1))
    return torch.where(union > 0, (masks & truth).sum((-2, -1)) / union.clamp(min=1), 1.0)


def ious(
    masks: Sequence[Bool[np.ndarray, "_ _"]],
    truth: Sequence[Bool[np.ndarray, "_ _"]],
) -> Float[np.ndarray, " pairs"]:
    """IoU of pairs of masks, of which every pair may be of another size."""
    pairs = zip(masks, truth, strict=True)
    values = [iou(torch.from_numpy(mask), torch.from_numpy(true)) for mask, true in pairs]
    return torch.stack(values).numpy()


def mean_iou(
    masks: Sequence[Bool[np.ndarray, "_ _"]],
    truth: Sequence[Bool[np.ndarray, "_ _"]],
) -> float:
    """The mean of `ious`."""
    return ious(masks, truth).mean().item()


def box_prompt(mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "4"]:
    """Smallest box around a mask: x0, y0, x1, y1 in pixels, all inside.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("mask is empty: a prompt needs at least one pixel")
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=float)


def point_prompts(
    mask: Bool[np.ndarray, "height width"], count: int
) -> Float[np.ndarray, "points 2"]:
    """Points (x, y) inside a mask, each the pixel farthest from its edge and those before.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("mask is empty: a prompt needs at least one pixel")
    free, points = np.pad(mask, 1), []  # beyond the image there is no object either
    for _ in range(count):
        inside = free if free.any() else np.pad(mask, 1)
        y, x = np.unravel_index(distance_transform_edt(inside).argmax(), free.shape)
        points.append((x - 1, y - 1))
        free[y, x] = False
    return np.array(points, dtype=float)
