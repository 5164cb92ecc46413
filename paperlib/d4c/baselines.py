r"""Other calibration images: noise, BNS, PSE and real ones.

- Gaussian: white noise of variance 1.
- BNS, for ResNets: match the statistics that every BatchNorm layer $l$ keeps,
  $L = \sum_l \mathrm{MSE}(\mu_l(x), \hat\mu_l) + \mathrm{MSE}(\sigma^2_l(x), \hat\sigma^2_l)$.
- PSE, for ViTs (PSAQ-ViT, Li et al., arXiv 2203.02250): maximise, for every attention layer $l$,
  the differential entropy of the density of the cosine similarities $s_m$ between patches,

$$L = -\sum_l \int -p_l(s) \log p_l(s)\, \mathrm ds, \qquad
p_l(s) = \frac{1}{M h} \sum_{m=1}^{M} \frac{1}{\sqrt{2\pi}} e^{-((s - s_m)/h)^2 / 2}.$$

- Real: images of a training split.

BNS and PSE add the total variation of the synthesis and use its optimiser. A patch's feature is
what the attention's heads give before they are projected, averaged over the heads; the class token
is left out; similarities are of pairs of different patches inside one image, and the integral is
the trapezoid rule over points between the least and the largest similarity.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.optimiser import Optimised, Part, optimise
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import total_variation
from paperlib.data import LabelledImages
from paperlib.files import fingerprint
from paperlib.models.clip import image_size, preprocess
from paperlib.models.frozen import frozen
from paperlib.seeds import generator

SMALLEST_DENSITY = 1e-6  # where the logarithm of a density stops


def gaussian_images(model: nn.Module, count: int, seed: int) -> Float[Tensor, "n 3 size size"]:
    """White noise in CLIP's normalised pixel space."""
    size = image_size(model)
    return torch.randn(count, 3, size, size, generator=generator(seed, "noise"))


def real_images(model: nn.Module, data: LabelledImages) -> Float[Tensor, "n 3 size size"]:
    """Real images as the model takes them."""
    return preprocess(data.images, image_size(model))


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers of the image tower."""
    return [module for module in model.visual.modules() if isinstance(module, nn.BatchNorm2d)]


def attentions(model: nn.Module) -> list[nn.MultiheadAttention]:
    """The attention layers of the image tower."""
    return [m for m in model.visual.modules() if isinstance(m, nn.MultiheadAttention)]


def baseline_parts(
    method: Literal["bns", "pse"],
    model: nn.Module,
    settings: Settings,
    parts: Sequence[Part],
    checkpoint: Path | None = None,
    snapshots: Sequence[int] = (),
    together: int = 1,
) -> Optimised:
    """The first images of several sets that differ in their seed, one after the other.

    Args:
        method: "bns" or "pse".
        model, settings, parts, checkpoint, snapshots, together: as for `synthesise_parts`.

    Raises:
        ValueError: an image tower that does not go with the method, or a checkpoint of another run.
    """
    if method == "bns" and not norms(model):
        raise ValueError("model: BNS needs an image tower with BatchNorm layers, a ResNet")
    if method == "pse" and not attentions(model):
        raise ValueError("model: PSE needs an image tower with attention layers, a ViT")
    numbers = {"bandwidth": settings.density_bandwidth, "points": settings.density_points}
    objective = bns_loss if method == "bns" else partial(pse_loss, **numbers)
    device = next(model.parameters()).device
    noise = [gaussian_images(model, settings.images, part.seed)[: part.images] for part in parts]
    start = torch.cat(noise).to(device)

    def loss(images: Tensor, chosen: Tensor, drawing: Sequence[torch.Generator]) -> Tensor:
        count = len(drawing)
        variation = settings.variation_weight * total_variation(images)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.synthesis_autocast):
            apart = objective(model, images, batches=count).float()
        return apart + variation.unflatten(0, (count, -1)).mean(1)

    run = {"weights": fingerprint(model), "method": method.upper()}
    given = start, loss, settings, run, parts, checkpoint, snapshots, method.upper(), together
    with frozen(model):
        return optimise(*given)


def bns_loss(
    model: nn.Module, images: Float[Tensor, "n 3 size size"], batches: int = 1
) -> Float[Tensor, " batches"]:
    """Distance of each mini-batch's statistics from the kept ones, summed over the layers."""
    terms = []

    def compare(norm: nn.Module, arguments: tuple[Tensor]) -> None:
        x = arguments[0].unflatten(0, (batches, -1))  # (batches, images, channels, height, width)
        variance, mean = torch.var_mean(x, dim=(1, 3, 4), correction=0)
        apart = (mean - norm.running_mean).square() + (variance - norm.running_var).square()
        terms.append(apart.mean(1))

    with _hooks(norms(model), compare):
        model.encode_image(images.contiguous(memory_format=torch.channels_last))
    return torch.stack(terms).sum(0)


def pse_loss(
    model: nn.Module,
    images: Float[Tensor, "n 3 size size"],
    bandwidth: float,
    points: int,
    batches: int = 1,
) -> Float[Tensor, " batches"]:
    """Minus the entropy of the patch similarities: mean over a mini-batch, sum over layers."""
    entropies = [
        similarity_entropy(pair_similarities(patches), bandwidth, points)
        for patches in attention_patches(model, images)
    ]
    return -torch.stack(entropies).sum(0).unflatten(0, (batches, -1)).mean(1)


def attention_patches(
    model: nn.Module, images: Float[Tensor, "n 3 size size"]
) -> list[Float[Tensor, "n patches channels"]]:
    """Every attention layer's output at the patches, averaged over the heads."""
    outputs = []

    def attend(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x = arguments[0]  # (n, tokens, width)
        projected = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
        q, k, v = projected.unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v)  # (n, heads, tokens, channels)
        outputs.append(heads.mean(1)[:, 1:])

    with _hooks(attentions(model), attend):
        model.encode_image(images)
    return outputs


def pair_similarities(
    patches: Float[Tensor, "n patches channels"],
) -> Float[Tensor, "n pairs"]:
    """Cosine similarities between different patches of an image, each pair once."""
    count = patches.shape[1]
    unit = F.normalize(patches, dim=-1)
    first, second = torch.triu_indices(count, count, 1, device=patches.device)
    return (unit @ unit.mT)[:, first, second]


def similarity_entropy(
    values: Float[Tensor, "n m"], bandwidth: float, points: int
) -> Float[Tensor, " n"]:
    """Differential entropy of the kernel density of every row, in nats."""
    share = torch.linspace(0, 1, points, dtype=values.dtype, device=values.device)
    least, most = values.detach().aminmax(dim=1, keepdim=True)
    x = least + share * (most - least)  # (n, points)
    density = kernel_density(values, x, bandwidth).clamp(min=SMALLEST_DENSITY)
    return torch.trapezoid(-density * density.log(), x)


def kernel_density(
    values: Float[Tensor, "n m"], x: Float[Tensor, "n points"], bandwidth: float
) -> Float[Tensor, "n points"]:
    """Gaussian kernel density of every row of `values`, at that row of `x`."""
    distance = (x[:, :, None] - values[:, None, :]) / bandwidth
    kernel = torch.exp(-distance.square() / 2) / math.sqrt(2 * math.pi)
    return kernel.mean(-1) / bandwidth


@contextlib.contextmanager
def _hooks(
    modules: Sequence[nn.Module], hook: Callable[[nn.Module, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
