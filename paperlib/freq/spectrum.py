r"""The spectrum of a data set and of a linear model.

$|X_{uv}|$ is the magnitude of a DCT coefficient of an image in [0, 1]; means are over images and
RGB. What tells classes apart is not in magnitudes but in the class means $\bar X^{(k)}$:

$$B_{uv} = \sqrt{\textstyle\frac1K \sum_k (\bar X^{(k)}_{uv} - \bar X_{uv})^2},$$

with $\bar X$ the mean of the $K$ class means. A linear classifier sees each class through one
template, whose spectrum can be laid beside $B$. Source: Wang et al., arXiv 2005.03141, on how the
distribution of frequencies in the data decides which the model uses; $B$ is our choice of
statistic. Radial profiles: `paperlib.freq.bands.radial_mean`.

Few images have class means that differ by chance, as their spectrum has it. So $B$ of shuffled
labels (`beyond_shuffled`) is the null control of whatever follows $B$; classes whose
difference was put into known components (`planted`) are the positive one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.bands import filter_components, radial_mean
from paperlib.freq.dct import dct2
from paperlib.models.frozen import frozen
from paperlib.seeds import generator


def mean_spectrum(
    images: Float[Tensor, "n channels height width"],
) -> Float[Tensor, "height width"]:
    """Mean |X| over images and RGB, of images in [0, 1]."""
    return dct2(images).abs().mean((0, 1))


def class_spectra(
    images: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"], classes: int
) -> Float[Tensor, "classes height width"]:
    """Mean |X| of every class.

    Raises:
        ValueError: a class without an image.
    """
    return _class_means(dct2(images).abs(), labels, classes).mean(1)


def profiles(
    images: Float[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
    bands: int,
) -> pd.DataFrame:
    """Radial profile of every class's spectrum, and their mean as class "all".

    Columns class, radius (component indices, mid-ring) and value, one row a point.

    Raises:
        ValueError: a class without an image.
    """
    rings = radial_mean(class_spectra(images, labels, len(classes)), bands)  # (classes, bands)
    radius = (np.arange(bands) + 0.5) * min(images.shape[-2:]) / bands
    table = pd.DataFrame(rings.numpy().T, columns=list(classes)).assign(all=rings.mean(0).numpy())
    return table.assign(radius=radius).melt("radius", var_name="class")


def between_class_spectrum(
    images: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"], classes: int
) -> Float[Tensor, "height width"]:
    """Spread B of the class means around their mean, averaged over RGB.

    Raises:
        ValueError: a class without an image.
    """
    means = dct2(_class_means(images, labels, classes))
    return means.std(0, correction=0).mean(0)


def beyond_shuffled(
    weights: Float[Tensor, "height width"],
    draws: Sequence[LabelledImages],
    shuffles: int,
    seed: int,
) -> Float[np.ndarray, "draws shuffles"]:
    """Rank correlation of weights with B of each draw, minus that with B of shuffled labels.

    Args:
        weights: spectrum of a linear model.
        draws: images with their labels.
        shuffles: of the labels, for each draw.
        seed: of the shuffles.
    """

    def correlation(images: Tensor, labels: Tensor, classes: int) -> float:
        between = between_class_spectrum(images, labels, classes)
        return spearmanr(weights.flatten(), between.flatten()).statistic

    gaps = np.empty((len(draws), shuffles))
    for d, data in enumerate(draws):
        images, classes = data.floats(), len(data.classes)
        gaps[d] = correlation(images, data.labels, classes)
        for s in range(shuffles):
            order = torch.randperm(
                len(data), generator=generator(seed, "labels", d * shuffles + s + 1)
            )
            gaps[d, s] -= correlation(images, data.labels[order], classes)
    return gaps


def planted(
    data: LabelledImages, mask: Bool[Tensor, "height width"], norm: float, seed: int
) -> LabelledImages:
    """Images whose labels are shuffled, so that they tell nothing, plus a pattern for each class.

    Args:
        data: whose pixels and numbers of images a class are kept.
        mask: components that the patterns have.
        norm: L2 norm of a pattern, of images in [0, 1]; 0 plants nothing, as the null control.
        seed: of the shuffle and of the patterns.
    """
    labels = data.labels[torch.randperm(len(data), generator=generator(seed, "labels"))]
    shape = len(data.classes), *data.images.shape[1:]
    patterns = filter_components(torch.randn(shape, generator=generator(seed, "patterns")), mask)
    patterns *= norm / patterns.flatten(1).norm(dim=1)[:, None, None, None]
    images = (data.floats() + patterns[labels]).clamp(0, 1)
    return replace(data, images=(255 * images).round().to(torch.uint8), labels=labels)


def templates(
    model: nn.Module, height: int = 32, width: int = 32
) -> Float[Tensor, "classes 3 height width"]:
    """What an affine classifier multiplies an image in [0, 1] with, one template a class.

    The model's normalisation is part of it (it is the Jacobian), and the mean over classes is
    taken off, as softmax ignores it.

    Raises:
        ValueError: the model is not affine.
    """
    flat = torch.zeros(3 * height * width, device=next(model.parameters()).device)

    def logits(x: Tensor) -> Tensor:
        return model(x.view(1, 3, height, width)).squeeze(0)

    with frozen(model):
        weights = torch.autograd.functional.jacobian(logits, flat)  # (classes, pixels)
        probe = torch.linspace(0, 1, len(flat), device=flat.device)
        difference = logits(probe) - logits(flat)
    if not torch.allclose(weights @ probe, difference, rtol=1e-3, atol=1e-3):
        raise ValueError("templates need an affine model, such as 'linear'")
    return (weights - weights.mean(0)).unflatten(1, (3, height, width))


def weight_spectrum(
    model: nn.Module, height: int = 32, width: int = 32
) -> Float[Tensor, "height width"]:
    """Mean |W| over classes and RGB of the DCT of an affine model's `templates`."""
    return dct2(templates(model, height, width)).abs().mean((0, 1))


def _class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise ValueError(
            f"images of each of {classes} classes are needed: counts {counts.tolist()}"
        )
    one_hot = nn.functional.one_hot(labels, classes).to(values)
    return torch.einsum("nk,n...->k...", one_hot, values) / counts.view(-1, 1, 1, 1)
