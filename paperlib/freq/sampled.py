r"""Occluded Frequency from a sample of the components, for a seventh of the forward passes.

All of its time is the network's forward pass, one a component. Of the few low components every one
is removed; of the many high ones a random sample, stratified by ring of radius, another one for
each image. A component drawn stands for its ring, and all drawn ones are scaled by one factor, so
that the sample's sum of first-order changes is that of all high components, which one backward
pass gives (a control variate):

$$w_{uv} = \frac{N_r}{n_r} \cdot
\frac{\sum_{\text{high}} |f|}{\sum_{\text{drawn}} \frac{N_r}{n_r} |f|}, \qquad
f_{uv} = \sum_{\text{channels}} X_{uv} \frac{\partial s_y}{\partial X_{uv}}.$$

$N_r$ is the number of high components in ring $r$, $n_r$ of those drawn, $s_y$ the true class's
score. Normalised, $w_{uv} |\delta_{uv}|$ estimates OF. A normalised share is a ratio of two
estimates and so a little biased, by about $s (1 - s)^2$ times the relative variance of the high
sum: below 0.01 in what notebook 3 measures. The rest of `paperlib.freq.occlusion` is exact.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperlib.freq.bands import band_index, low_mask
from paperlib.freq.dct import dct2
from paperlib.freq.occlusion import (
    Score,
    changes_of_pairs,
    component_changes,
    low_share,
    normalise,
    occluded_frequency,
    without_component,
)
from paperlib.freq.variants import load_variant
from paperlib.models.classifier import Images, as_classifier, at_once, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.models.training import predict
from paperlib.seeds import derive, generator


@dataclass(frozen=True)
class Sample:
    """Which components are removed.

    Attributes:
        cutoff: all with max(u, v) below it.
        share: of the others, 0 to 1.
        rings: strata, equal steps of radius; of each one component at least.
    """

    cutoff: int = 8
    share: float = 0.08
    rings: int = 16


def sampled_frequency(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    score: Score = "logit",
    sample: Sample = Sample(),
    seed: int = 0,
    batch: int = 64,
) -> Float[Tensor, "n height width"]:
    """OF of the components drawn, weighted for those that were not; maps sum to 1, 0 elsewhere.

    The mean map over many images is that of `occluded_frequency` but for noise.

    Args:
        sample: which components.
        seed: of the draw.
        model, images, labels, score, batch: as for `occluded_frequency`, and errors.
    """
    images = floats(images)
    weights = _weights(first_order_changes(model, images, labels, score, batch), sample, seed)
    image, part = (weights.flatten(1) > 0).nonzero().unbind(1)
    without = without_component(images)
    found = changes_of_pairs(model, images, labels, without, image, part, (score,), batch)[score]
    changes = found.new_zeros(weights.shape)
    changes.flatten(1)[image, part] = found
    return normalise(changes * weights)


def _weights(
    linear: Float[Tensor, "n height width"], sample: Sample, seed: int
) -> Float[Tensor, "n height width"]:
    """w of the components drawn, from the first-order changes of all; 0 of the others."""
    size = tuple(linear.shape[1:])
    high = ~low_mask(size, sample.cutoff).to(linear.device)
    weights = drawn(len(linear), size, sample, seed).to(linear)
    linear = linear.abs() * high
    factor = linear.sum((1, 2)) / (linear * weights).sum((1, 2))
    return torch.where(high, weights * factor.nan_to_num(1, 1)[:, None, None], weights)


def mean_maps(
    dataset: str, networks: Sequence[tuple[str, str]], images: Images, labels: Int[Tensor, " n"]
) -> dict[tuple[str, str], Float[Tensor, "height width"]]:
    """Exact `occluded_frequency` of networks, the mean over the images.

    Args:
        dataset: that they were trained on.
        networks: their architectures and variants, by which the results are kept.
        images, labels: as for `occluded_frequency`.

    Raises:
        CheckpointError: weights that are missing or damaged.
    """
    return {
        key: occluded_frequency(load_variant(dataset, *key), images, labels).mean(0)
        for key in networks
    }


def sampled_networks(
    dataset: str,
    networks: Sequence[tuple[str, str]],
    images: Images,
    labels: Int[Tensor, " n"],
    seed: int = 0,
) -> tuple[
    dict[tuple[str, str], Float[Tensor, "n height width"]],
    dict[tuple[str, str], Bool[Tensor, " n"]],
]:
    """`sampled_frequency` of networks, and which images each gets right; both on the CPU.

    Args:
        dataset: that they were trained on.
        networks: their architectures and variants, by which the results are kept.
        images, labels, seed: as for `sampled_frequency`.

    Raises:
        CheckpointError: weights that are missing or damaged.
    """
    occluded, right = {}, {}
    for key in networks:
        net = load_variant(dataset, *key).to(labels.device)
        occluded[key] = sampled_frequency(net, images, labels, seed=seed).cpu()
        right[key] = (predict(net, images) == labels).cpu()
    return occluded, right


def mean_map(
    maps: Float[Tensor, "n height width"],
    sample: Sample = Sample(),
    seed: int = 0,
) -> Float[Tensor, "height width"]:
    """Mean OF of `sampled_frequency` over images, each component over those that drew it.

    0 where none did. Only over many images the plain mean is the same; with few, it shows how often
    a component was drawn.
    """
    size = maps.shape[-2:]
    stood_for = drawn(len(maps), tuple(size), sample, seed).to(maps).mean(0)  # 1 on the average
    return torch.where(stood_for > 0, maps.mean(0) / stood_for, 0)


def first_order_changes(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    score: Score = "logit",
    batch: int = 64,
) -> Float[Tensor, "n height width"]:
    """What `component_changes` would be if the score were linear: Σ X · ∂s/∂X over the channels.

    One forward and one backward pass for all components together; gradients flow, whatever the
    caller has switched off.

    Raises:
        ValueError: as for `occluded_frequency`, or the network gives no gradient.
    """
    classifier, changes = as_classifier(model), []
    images = floats(images)
    batch = at_once(images, batch)
    check_labels(labels, len(images), classifier.classes(images))
    with frozen(classifier), torch.inference_mode(False), torch.enable_grad():
        for x, y in zip(images.split(batch), labels.split(batch), strict=True):
            x, y = x.detach().clone().requires_grad_(), y.clone()
            found = classifier(x)
            if not found.requires_grad:
                raise ValueError(
                    f"{type(classifier.network).__name__} gives no gradient of its logits: "
                    "it computes them where gradients are switched off, or detaches them"
                )
            found = found.softmax(-1) if score == "probability" else found
            (gradient,) = torch.autograd.grad(found.gather(1, y[:, None]).sum(), x)
            changes.append((dct2(x.detach()) * dct2(gradient)).sum(1))
    return torch.cat(changes)


def drawn(
    count: int, size: tuple[int, int], sample: Sample, seed: int
) -> Float[Tensor, "count height width"]:
    """How many components each one drawn stands for; 1 for low ones, 0 for those not drawn."""
    low = low_mask(size, sample.cutoff).flatten()
    keys = torch.rand(count, low.numel(), generator=generator(seed, "components"))
    weights = low.float().repeat(count, 1)
    for ring in strata(size, sample):
        members = ring.flatten().nonzero().squeeze(1)
        some = max(1, round(sample.share * len(members)))
        chosen = members[keys[:, members].argsort(1)[:, :some]]
        weights.scatter_(1, chosen, len(members) / some)
    return weights.view(count, *size)


def strata(size: tuple[int, int], sample: Sample) -> list[Bool[Tensor, "height width"]]:
    """The high components of each ring that has some."""
    rings, low = band_index(size, sample.rings), low_mask(size, sample.cutoff)
    masks = [(rings == ring) & ~low for ring in range(sample.rings)]
    return [mask for mask in masks if mask.any()]


def beside_exact(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    repeats: int = 40,
    sample: Sample = Sample(),
    seed: int = 0,
) -> pd.Series:
    """What the sample costs and saves in the mean low-frequency share, beside the exact one.

    The exact changes and those of one draw are run in turn on the same images. Further draws pick
    among the exact changes, as a component's change is the same in every draw.

    Returns:
        The exact and the first-order share; the bias of the sampled one and the bias's standard
        error; deviation of a share over images, and over draws of components for one image;
        forward passes and seconds, each as a share of the exact one's; and the standard error of
        the mean over images at equal numbers of passes, likewise.
    """
    began = time.perf_counter()
    changes = component_changes(model, images, labels)
    exact_seconds = time.perf_counter() - began
    exact = low_share(normalise(changes), sample.cutoff)
    began = time.perf_counter()
    maps = sampled_frequency(model, images, labels, "logit", sample, derive(seed, "beside", 0))
    seconds = time.perf_counter() - began
    found, first_order = (
        [low_share(maps, sample.cutoff)],
        first_order_changes(model, images, labels),
    )
    for repeat in range(1, repeats):
        weights = _weights(first_order, sample, derive(seed, "beside", repeat))
        found.append(low_share(normalise(changes * weights), sample.cutoff))
    shares = torch.stack(found)  # (repeats, n)
    linear = low_share(normalise(first_order), sample.cutoff)
    size = images.shape[-2:]
    passes = (drawn(1, tuple(size), sample, seed) > 0).sum().item() / size.numel()
    noise, spread = shares.std(0).square().mean().sqrt().item(), exact.std().item()
    return pd.Series(
        {
            "exact": exact.mean().item(),
            "first order": linear.mean().item(),
            "bias": (shares - exact).mean().item(),
            "± of the bias": noise / shares.numel() ** 0.5,
            "deviation, images": spread,
            "deviation, draws": noise,
            "passes": passes,
            "seconds": seconds / exact_seconds,
            "standard error": (passes * (1 + noise**2 / spread**2)) ** 0.5,
        }
    )
