r"""Null controls: what changes an image without regard to any model.

What is said of an attack has a stake only beside these, on the same images. With $n$ Gaussian,
$r$ the radius of a component and $\lVert\Delta\rVert$ the norm that the change shall have:

- white noise, $\Delta = \lVert\Delta\rVert\, n / \lVert n \rVert$, the same in all components;
- $1/f$ noise, the same with DCT coefficients $N_{uv} / \max(r_{uv}, 1)$, about as a photograph's;
- the image moved by one pixel, whatever the norm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.freq.bands import radius
from paperlib.freq.dct import idct2
from paperlib.seeds import generator

Images = Float[Tensor, "n channels height width"]


@dataclass(frozen=True)
class Control:
    """How a control is named, and what makes it.

    Attributes:
        title: for tables and figures.
        call: from images in [0, 1], the L2 norms of the changes and a seed to changed images.
    """

    title: str
    call: Callable[[Images, Float[Tensor, " n"], int], Images]


def white_noise(images: Images, norms: Float[Tensor, " n"], seed: int) -> Images:
    """Images in [0, 1] plus Gaussian noise of these L2 norms, clipped (which takes a little)."""
    return _plus(images, _gaussian(images, seed, "white noise"), norms)


def pink_noise(images: Images, norms: Float[Tensor, " n"], seed: int) -> Images:
    """Images in [0, 1] plus 1/f noise of these L2 norms, clipped (which takes a little)."""
    fall = radius(*images.shape[-2:]).clamp(min=1).to(images)
    return _plus(images, idct2(_gaussian(images, seed, "1/f noise") / fall), norms)


def moved(images: Images, norms: Float[Tensor, " n"], seed: int) -> Images:
    """Images one pixel to the right, the first column twice; nothing is drawn."""
    return torch.cat([images[..., :1], images[..., :-1]], -1)


CONTROLS = {
    "white_noise": Control("white noise", white_noise),
    "pink_noise": Control("1/f noise", pink_noise),
    "moved": Control("moved by a pixel", moved),
}


def _gaussian(images: Images, seed: int, what: str) -> Images:
    return torch.randn(images.shape, generator=generator(seed, what)).to(images)


def _plus(images: Images, noise: Images, norms: Float[Tensor, " n"]) -> Images:
    size = (norms / noise.flatten(1).norm(dim=1))[:, None, None, None]
    return (images + size * noise).clamp(0, 1)
