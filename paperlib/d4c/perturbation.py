r"""PAE, perturbation-aware enhancement: random views of the images that are being synthesised.

One affine map an image (mirror, turn, scale, shift), then in pixel space brightness, contrast and
saturation, then a 3 × 3 binomial blur and the erasing of a square, each with its probability. All
of it is differentiable and batched: every image has draws of its own. Source: the settings of
D4C, arXiv 2511.15411. Erased and uncovered pixels become 0, the mean colour of CLIP's images;
colours are not clipped, so that no gradient is lost.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from paperlib.d4c.settings import PerturbationSettings
from paperlib.models.clip import denormalise, normalise


@dataclass(frozen=True)
class Perturbation:
    """What is done to each of n images.

    Attributes:
        affine: from the view's coordinates to the image's, as affine_grid takes it.
        colours: factors of brightness, contrast and saturation.
        blurred: whether it is blurred.
        erased: the pixels that are erased.
    """

    affine: Float[Tensor, "n 2 3"]
    colours: Float[Tensor, "n 3"]
    blurred: Bool[Tensor, " n"]
    erased: Bool[Tensor, "n 1 size size"]


def draw_perturbation(
    n: int, size: int, settings: PerturbationSettings, generator: torch.Generator
) -> Perturbation:
    """Perturbations of `n` images of `size` pixels, drawn from a generator on the CPU."""

    def uniform(reach: float, *shape: int) -> Tensor:
        return (2 * torch.rand(n, *shape, generator=generator) - 1) * reach

    def chosen(probability: float) -> Tensor:
        return torch.rand(n, generator=generator) < probability

    angle, scale = uniform(math.radians(settings.turn)), 1 + uniform(settings.scale)
    shift = uniform(2 * settings.shift, 2)  # the grid is 2 wide
    mirror = torch.where(chosen(settings.flip), -1.0, 1.0)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [cos * mirror, sin * mirror, shift[:, 0], -sin, cos, shift[:, 1]]
    side = max(1, round(settings.square * size))
    corner = torch.randint(size - side + 1, (n, 2, 1), generator=generator)
    offset = torch.arange(size) - corner  # (n, 2, size)
    inside = (offset >= 0) & (offset < side)
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    return Perturbation(
        affine=torch.stack(rows, dim=1).view(n, 2, 3),
        colours=1 + uniform(settings.colour, 3),
        blurred=chosen(settings.blur),
        erased=(square & chosen(settings.erase)[:, None, None])[:, None],
    )


def perturb(
    images: Float[Tensor, "n 3 size size"], drawn: Perturbation
) -> Float[Tensor, "n 3 size size"]:
    """Views of images in CLIP's normalised pixel space."""
    grid = F.affine_grid(drawn.affine.to(images), list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, align_corners=False)
    views = normalise(recolour(denormalise(views), drawn.colours.to(images)))
    blurred = drawn.blurred.to(images.device)[:, None, None, None]
    views = torch.where(blurred, blur(views), views)
    return views.masked_fill(drawn.erased.to(images.device), 0)


def recolour(
    pixels: Float[Tensor, "n 3 height width"], factors: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 height width"]:
    """Brightness scales; contrast and saturation move from the mean grey and from grey."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    pixels = pixels * brightness
    mean = grey(pixels).mean((-2, -1), keepdim=True)
    pixels = mean + contrast * (pixels - mean)
    luma = grey(pixels)
    return luma + saturation * (pixels - luma)


def grey(pixels: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 1 height width"]:
    """Luma of ITU-R BT.601."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def blur(images: Float[Tensor, "n c height width"]) -> Float[Tensor, "n c height width"]:
    """Weights 1 2 1 over 4 along both axes; edges are mirrored."""
    x = F.pad(images, (1, 1, 1, 1), mode="reflect")
    x = (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
