r"""Fourier heat maps: how often a network errs under noise of one frequency, for every frequency.

To each image a wave is added in every channel, of one norm and with a sign drawn for each,

$$x' = x + r\,v\,U_{ij}, \qquad U_{ij} \propto \cos\bigl(2\pi(iy/H + jx/W)\bigr), \quad
\lVert U_{ij} \rVert_2 = 1,\ r = \pm 1,$$

and clipped to [0, 1]. $U_{ij}$ is the real matrix whose two-dimensional Fourier transform is zero
but at $(i, j)$ and $(-i, -j)$, so half of the map says all. Source: Yin et al., arXiv 1906.08988,
section 4.1, with $v = 4$ on CIFAR-10. Unlike a DCT component it has both phases of a direction, and
it is added whatever the image holds of it.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperlib.models.classifier import Images, as_classifier, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.runtime import progress
from paperlib.seeds import generator

NORM = 4.0  # of the wave in each channel


def wave(height: int, width: int, i: int, j: int) -> Float[Tensor, "height width"]:
    """U: i periods down and j periods across an image, of norm 1."""
    y = torch.arange(height, dtype=torch.float64)[:, None] * i / height
    x = torch.arange(width, dtype=torch.float64)[None, :] * j / width
    values = torch.cos(2 * torch.pi * (y + x))
    return (values / values.norm()).float()


def frequencies(side: int, step: int = 1) -> list[int]:
    """Periods along a side of so many pixels, from minus to plus half of it, 0 in the middle."""
    half = side // 2 // step * step
    return list(range(-half, half + 1, step))


def with_wave(
    images: Float[Tensor, "n channels height width"], i: int, j: int, norm: float, seed: int
) -> Float[Tensor, "n channels height width"]:
    """Images in [0, 1] plus the wave, each channel of each with a sign of its own; clipped."""
    drawn = torch.rand(images.shape[:2], generator=generator(seed, f"signs {i} {j}"))
    signs = torch.where(drawn < 0.5, -1.0, 1.0).to(images)
    noise = wave(*images.shape[-2:], i, j).to(images)
    return (images + norm * signs[..., None, None] * noise).clamp(0, 1)


def errors(
    model: torch.nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    step: int = 1,
    norm: float = NORM,
    seed: int = 0,
) -> Bool[Tensor, "n rows columns"]:
    """Which images are classified wrong under each wave; (0, 0), a change of brightness, amid.

    Args:
        model: takes images in [0, 1], returns logits.
        images: floats in [0, 1] or uint8, all in one forward pass.
        labels: true classes.
        step: from one frequency to the next, in periods an image.
        norm: of the wave in each channel, in units of the [0, 1] image.
        seed: of the signs.
    """
    images, model = floats(images), as_classifier(model)
    check_labels(labels, len(images), model.classes(images))
    rows, columns = (frequencies(side, step) for side in images.shape[-2:])
    wrong = torch.zeros(len(images), len(rows), len(columns), dtype=torch.bool)
    half = [(i, j) for i in rows for j in columns if (i, j) <= (0, 0)]
    with frozen(model), torch.inference_mode():
        for i, j in progress(half, "Fourier heat map"):
            found = model(with_wave(images, i, j, norm, seed)).argmax(-1) != labels
            wrong[:, rows.index(i), columns.index(j)] = found.cpu()
            wrong[:, rows.index(-i), columns.index(-j)] = found.cpu()
    return wrong


def high(height: int, width: int, step: int = 1) -> Bool[Tensor, "rows columns"]:
    """Which frequencies of the map have at least half of the highest along a side, of both sides.

    A wave's frequency is max(|i| / height, |j| / width), at most one half; high is a quarter.
    """
    i, j = (torch.tensor(frequencies(side, step)) / side for side in (height, width))
    return torch.maximum(i.abs()[:, None], j.abs()[None, :]) >= 0.25
