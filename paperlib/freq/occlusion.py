r"""Occluded Frequency (OF): how much a model's prediction rests on each frequency.

Remove the component $(u, v)$ from every channel of an image $x$ with true class $y$ and see by how
much the score $s_y$ of that class changes, as a share of the changes by all components:

$$\mathrm{OF}_{uv} = \frac{|\delta_{uv}|}{\sum_{u'v'} |\delta_{u'v'}|}, \qquad
\delta_{uv} = s_y(x) - s_y\bigl(x - X_{uv}\, c_u c_v^\top\bigr).$$

$c_k$ is row $k$ of the DCT basis, so that zeroing a coefficient is a rank-one subtraction and needs
no transform. The same with a band of components in place of one. Source: Wang et al., arXiv
2005.03141; the paper's normalisation could not be read, so this one is ours: absolute, because a
component whose removal raises the score is used as well, and over each image to a sum of 1, so
that images with large scores do not outweigh the others. The signed changes $\delta$ are
`component_changes` and `band_changes`.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperlib.freq.bands import Shape, low_mask
from paperlib.freq.dct import dct2, dct_matrix, idct2
from paperlib.models.classifier import Images, as_classifier, at_once, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.runtime import progress

Score = Literal["logit", "probability"]
Without = Callable[[Int[Tensor, " pairs"], Int[Tensor, " pairs"]], Tensor]
"""From numbers of images and of parts to those images without those parts."""
LONG = 1800  # seconds: a measurement that takes longer is announced


def occluded_frequency(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    score: Score = "logit",
    batch: int = 64,
) -> Float[Tensor, "n height width"]:
    """OF of every component, one map an image, each summing to 1 (0 where nothing changes).

    Args:
        model: takes images in [0, 1], returns logits (n, classes); measured in eval mode.
        images: floats in [0, 1] or uint8; what is left after removal is not clipped.
        labels: true classes.
        score: of the true class: its logit, or its probability after softmax.
        batch: most images in one forward pass, which bounds the memory.

    Raises:
        ValueError: unknown `score`, `batch` below 1, or images, labels or logits that
            `paperlib.models.classifier` does not take.
    """
    return normalise(component_changes(model, images, labels, score, batch))


def occluded_bands(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    masks: Bool[Tensor, "bands height width"],
    score: Score = "logit",
    batch: int = 64,
) -> Float[Tensor, "n bands"]:
    """OF of every band in `masks` (as of `band_masks`), removed as a whole; rows sum to 1.

    Other arguments and errors as for `occluded_frequency`.
    """
    return normalise(band_changes(model, images, labels, masks, score, batch))


def component_changes(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    score: Score = "logit",
    batch: int = 64,
) -> Float[Tensor, "n height width"]:
    """Fall δ of the true class's score when each component is removed; arguments as above."""
    return component_changes_by_score(model, images, labels, (score,), batch)[score]


def component_changes_by_score(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    scores: Sequence[Score] = ("logit", "probability"),
    batch: int = 64,
) -> dict[Score, Float[Tensor, "n height width"]]:
    """`component_changes` of several scores, from the same forward passes."""
    images = floats(images)
    size = images.shape[-2:]
    pairs = _all_pairs(images, size.numel())
    changes = changes_of_pairs(
        model, images, labels, without_component(images), *pairs, scores, batch
    )
    return {score: change.view(len(images), *size) for score, change in changes.items()}


def without_component(images: Float[Tensor, "n channels height width"]) -> Without:
    """A function from numbers of images and of components (row by row) to those images without."""
    height, width = images.shape[-2:]
    coefficients = dct2(images).flatten(2)  # (n, channels, height · width)
    rows = dct_matrix(height, images.dtype, images.device)
    columns = dct_matrix(width, images.dtype, images.device)

    def without(image: Tensor, component: Tensor) -> Tensor:
        u, v = component // width, component % width
        wave = rows[u][:, :, None] * columns[v][:, None, :]  # (pairs, height, width)
        size = coefficients[image, :, component][:, :, None, None]
        return torch.addcmul(images[image], size, wave[:, None], value=-1)

    return without


def changes_loop(
    model: nn.Module,
    image: Float[Tensor, "channels height width"],
    label: int,
    masks: Bool[Tensor, "parts height width"],
) -> Float[Tensor, " parts"]:
    """What `band_changes` computes on the logit, as the definition says it: one by one.

    Transform, set the components of a mask to zero, transform back, predict. For checks and
    benchmarks; with `single_masks` it is what `component_changes` computes.
    """
    X = dct2(image)
    changes = image.new_empty(len(masks))
    with frozen(model), torch.inference_mode():
        whole = model(image[None])[0, label]
        for k, mask in enumerate(masks):
            changes[k] = whole - model(idct2(X.masked_fill(mask, 0))[None])[0, label]
    return changes


def single_masks(height: int, width: int) -> Bool[Tensor, "parts height width"]:
    """One mask for each of the height · width components, row by row."""
    return torch.eye(height * width, dtype=torch.bool).view(-1, height, width)


def band_changes(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    masks: Bool[Tensor, "bands height width"],
    score: Score = "logit",
    batch: int = 64,
) -> Float[Tensor, "n bands"]:
    """Fall δ of the true class's score when each band is removed; arguments as above."""
    return band_changes_by_score(model, images, labels, masks, (score,), batch)[score]


def band_changes_by_score(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    masks: Bool[Tensor, "bands height width"],
    scores: Sequence[Score] = ("logit", "probability"),
    batch: int = 64,
) -> dict[Score, Float[Tensor, "n bands"]]:
    """`band_changes` of several scores, from the same forward passes."""
    images = floats(images)
    coefficients, kept = dct2(images), ~masks

    def without(image: Tensor, band: Tensor) -> Tensor:
        return idct2(coefficients[image] * kept[band][:, None])

    pairs = _all_pairs(images, len(masks))
    changes = changes_of_pairs(model, images, labels, without, *pairs, scores, batch)
    return {score: change.view(len(images), -1) for score, change in changes.items()}


def normalise(changes: Float[Tensor, "n *components"]) -> Float[Tensor, "n *components"]:
    """Absolute changes as shares of their sum over each image; zeros where nothing changes."""
    size = changes.abs()
    total = size.flatten(1).sum(1).clamp(min=torch.finfo(size.dtype).tiny)
    return size / total.view(-1, *[1] * (size.ndim - 1))


def without_constant(occluded: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
    """OF of all components but the constant one, again summing to 1."""
    left = occluded.clone()
    left[:, 0, 0] = 0
    return normalise(left)


def low_share(
    occluded: Float[Tensor, "n height width"], cutoff: float, shape: Shape = "square"
) -> Float[Tensor, " n"]:
    """Share of OF in components with radius < `cutoff`, the constant among them; 0 to 1."""
    low = low_mask(tuple(occluded.shape[-2:]), cutoff, shape).to(occluded)
    return (occluded * low).sum((-2, -1))


def changes_of_pairs(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    without: Without,
    image_of: Int[Tensor, " pairs"],
    part_of: Int[Tensor, " pairs"],
    scores: Sequence[Score],
    batch: int = 64,
) -> dict[Score, Float[Tensor, " pairs"]]:
    """Fall of each score when an image loses a part, at most `batch` pairs in one forward pass.

    Warns before what would take longer than `LONG`. Errors as for `occluded_frequency`.
    """
    for score in scores:
        if score not in ("logit", "probability"):
            raise ValueError(f"score={score!r}: valid are 'logit' and 'probability'")
    if batch < 1:
        raise ValueError(f"batch={batch}: whole numbers from 1 are valid")
    batch = at_once(images, batch)
    classifier = as_classifier(model)
    check_labels(labels, len(images), classifier.classes(images))

    def of_class(x: Tensor, y: Tensor) -> Tensor:  # (scores, pairs)
        if not x.is_cuda:
            x = x.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        found = classifier(x)
        outputs = [found.softmax(-1) if score == "probability" else found for score in scores]
        return torch.stack(outputs).gather(2, y.expand(len(scores), -1)[..., None]).squeeze(2)

    pairs = list(zip(image_of.split(batch), part_of.split(batch), strict=True))
    with frozen(classifier), torch.inference_mode():
        parts_of = zip(images.split(batch), labels.split(batch), strict=True)
        began = time.perf_counter()
        whole = torch.cat([of_class(x, y) for x, y in parts_of], 1)
        _say_if_long((time.perf_counter() - began) / len(images) * len(image_of), len(image_of))
        changes = [
            whole[:, image] - of_class(without(image, part), labels[image])
            for image, part in progress(pairs, "Occluded Frequency")
        ]
        return dict(zip(scores, torch.cat(changes, 1).clone(), strict=True))


def _all_pairs(images: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Numbers of the images and of the parts of every pair of them."""
    pairs = torch.arange(len(images) * parts, device=images.device)
    return pairs // parts, pairs % parts


def _say_if_long(seconds: float, passes: int) -> None:
    if seconds > LONG:
        warnings.warn(
            f"Occluded Frequency needs {passes:,} forward passes, about {seconds / 3600:.1f} h: "
            "fewer images, a sample of the components (paperlib.freq.sampled) or bands "
            "(occluded_bands) take less",
            stacklevel=2,
        )
