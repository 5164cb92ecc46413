r"""Where a synthesis begins, and in which numbers it moves: choices beside the paper's (ours).

The paper begins with white noise and moves pixels. Natural-spectrum noise (`paperlib.d4c.natural`)
is another beginning. The other numbers are $h$, of which a channel of an image is

$$x = H(w \odot h), \qquad w_k \propto \frac{1}{\max(|k|, 1)}, \qquad \frac1n\sum_k w_k^2 = 1,$$

over its $n$ frequencies $k$, with the orthonormal Hartley transform
$H(x) = \mathrm{Re}\,F(x) - \mathrm{Im}\,F(x)$, which is real and its own inverse: Fourier
coefficients scaled by one over their frequency $|k|$ (cycles an image). A step of Adam, about equal
in every number, then moves low frequencies most, and an image as far as a step in pixels does.
After Olah, Mordvintsev and Schubert, Feature Visualization, Distill 2017.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.d4c.natural import frequencies, natural_spectrum_noise, published_spectrum
from paperlib.models.clip import normalise

Noise = Literal["white", "spectrum"]


@dataclass(frozen=True)
class Start:
    """How a synthesis begins; the defaults are the paper's.

    Attributes:
        noise: "white", or "spectrum" for natural-spectrum noise.
        fourier: move the scaled Fourier coefficients rather than the pixels.
    """

    noise: Noise = "white"
    fourier: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a noise that is not valid."""
        if self.noise not in get_args(Noise):
            raise ValueError(f"noise={self.noise!r}: valid are {', '.join(get_args(Noise))}")

    def images(
        self, white: Float[Tensor, "n 3 size size"], seed: int
    ) -> Float[Tensor, "n 3 size size"]:
        """The images to begin with, normalised as CLIP takes them.

        Args:
            white: what the paper begins with.
            seed: of the set.
        """
        if self.noise == "white":
            return white
        n, _, size, _ = white.shape
        return normalise(natural_spectrum_noise(published_spectrum(), n, size, seed))

    def numbers(self, images: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 3 size size"]:
        """What is moved, of images."""
        return hartley(images) / _weights(images) if self.fourier else images

    def shown(self, numbers: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 3 size size"]:
        """The images, of what is moved."""
        return hartley(numbers * _weights(numbers)) if self.fourier else numbers


WHITE = Start()  # the paper's


def hartley(x: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 3 size size"]:
    """The orthonormal Hartley transform of each channel: real, and its own inverse."""
    transformed = torch.fft.fft2(x, norm="ortho")
    return transformed.real - transformed.imag


def _weights(like: Tensor) -> Float[Tensor, "size size"]:
    radius, _ = frequencies(like.shape[-1])
    weights = 1 / radius.clamp(min=1)
    return (weights / weights.square().mean().sqrt()).to(like)
