r"""Images that know neither the model nor the target data: controls of a data-free method.

- **Natural-spectrum noise** is random but for what photographs have in common before one looks at
  what they show. An image's amplitude at the spatial frequency $k$ (cycles an image) falls as

  $$\log A(k) = \text{const} - \alpha \log |k| + a \cos 2\theta_k + b \sin 2\theta_k,$$

  with a slope $\alpha$ and a direction $(a, b)$ of its own; phases are random; each channel has a
  mean and a contrast of its own, and channels correlate as those of photographs do. The nine
  numbers are drawn for each image from a normal distribution, which `fit` finds from photographs
  and ``data/natural_spectrum.json`` holds: once, for all models.
- **Dead leaves** are discs that occlude one another, radii by a power law (Lee, Mumford and Huang
  2001): edges and occlusion, but no objects.
- **Scrambled** are real images with random phases, the same for the channels: their spectra and
  colours alone. Not data-free.

The first is our extension: what must be known of images to calibrate a CLIP is asked by leaving
out what they show. Sources: van der Schaaf and van Hateren 1996 on the spectra of photographs;
Zhang et al., arXiv 2511.15411, on what the controls stand beside.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.data.tiny_imagenet import load_tiny_imagenet
from paperlib.files import write_files
from paperlib.paths import DATA
from paperlib.seeds import generator

FILE = DATA / "natural_spectrum.json"
NUMBERS = (  # of an image, in this order
    *("slope", "cosine", "sine"),
    *("red mean", "green mean", "blue mean"),
    *("log red contrast", "log green contrast", "log blue contrast"),
)
LUMINANCE = (0.299, 0.587, 0.114)
SMALLEST_CONTRAST = 1 / 255
SMALLEST_LEAF, LARGEST_LEAF = 0.03, 0.5  # radii, as shares of the image's side


@dataclass(frozen=True)
class NaturalSpectrum:
    """What `fit` finds, in pixels from 0 to 1.

    Attributes:
        mean: of the `NUMBERS` over photographs.
        covariance: of the same.
        channels: mean correlation of the colour channels.
        source: photographs that they were found from, in words.
    """

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    channels: tuple[tuple[float, ...], ...]
    source: str


def fit(images: Float[Tensor, "n 3 size size"], source: str) -> NaturalSpectrum:
    """The distribution of slopes, directions, colours and contrasts of photographs.

    Args:
        images: pixels from 0 to 1; two or more. Those of a single grey are left out.
        source: what they are, in words.

    Raises:
        ValueError: fewer than two images with contrast.
    """
    contrast = images.std((2, 3))  # (n, 3)
    images = images[(contrast > SMALLEST_CONTRAST).all(1)].double()
    if len(images) < 2:
        raise ValueError(f"{len(images)} photographs with contrast: valid are two and more")
    size = images.shape[-1]
    means, contrast = images.mean((2, 3)), images.std((2, 3))
    centred = (images - means[..., None, None]) / contrast[..., None, None]
    luminance = (images * images.new_tensor(LUMINANCE).view(3, 1, 1)).sum(1)
    window = torch.hann_window(size, periodic=False, dtype=torch.double)
    flat = (luminance - luminance.mean((1, 2), keepdim=True)) * window * window[:, None]
    amplitude = torch.fft.fft2(flat).abs()  # (n, size, size)
    radius, angle = frequencies(size)
    inside = (radius >= 2) & (radius < size / 2)  # below, the window's own spectrum shows
    ones = torch.ones(int(inside.sum()), dtype=torch.double)
    terms = [ones, -radius[inside].log(), (2 * angle[inside]).cos(), (2 * angle[inside]).sin()]
    design = torch.stack(terms, dim=1)  # (components, 4)
    logs = amplitude[:, inside].clamp(min=1e-12).log()
    found = torch.linalg.lstsq(design, logs.T).solution[1:]  # (3, n)
    numbers = torch.cat([found.T, means, contrast.log()], dim=1)  # (n, 9)
    pixels = centred.flatten(2)
    correlation = (pixels @ pixels.transpose(1, 2) / (size * size - 1)).mean(0)
    return NaturalSpectrum(
        mean=tuple(numbers.mean(0).tolist()),
        covariance=tuple(map(tuple, numbers.T.cov().tolist())),
        channels=tuple(map(tuple, correlation.tolist())),
        source=source,
    )


def natural_spectrum_noise(
    spectrum: NaturalSpectrum, count: int, size: int, seed: int
) -> Float[Tensor, "{count} 3 {size} {size}"]:
    """Random images with the spectra of photographs; pixels from 0 to 1, others are clipped."""
    draw = generator(seed, "natural spectrum")
    covariance = torch.tensor(spectrum.covariance, dtype=torch.double)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    numbers = torch.randn(count, len(NUMBERS), generator=draw, dtype=torch.double) @ root.T
    numbers = numbers + torch.tensor(spectrum.mean, dtype=torch.double)
    slope, cosine, sine = (column.view(-1, 1, 1, 1) for column in numbers[:, :3].T)
    means, contrast = numbers[:, 3:6, None, None], numbers[:, 6:, None, None].exp()
    radius, angle = frequencies(size)
    log_amplitude = cosine * (2 * angle).cos() + sine * (2 * angle).sin()
    log_amplitude = log_amplitude - slope * radius.clamp(min=1).log()  # (count, 1, size, size)
    noise = torch.randn(count, 3, size, size, generator=draw, dtype=torch.double)
    channels = torch.linalg.cholesky(torch.tensor(spectrum.channels, dtype=torch.double))
    noise = torch.einsum("cd,ndhw->nchw", channels, noise)
    images = torch.fft.ifft2(torch.fft.fft2(noise) * log_amplitude.exp()).real
    images = images - images.mean((2, 3), keepdim=True)
    images = images / images.std((2, 3), keepdim=True).clamp(min=1e-12)
    return (images * contrast + means).clamp(0, 1).float()


def dead_leaves(count: int, size: int, seed: int) -> Float[Tensor, "{count} 3 {size} {size}"]:
    """Discs of random colours that occlude one another; the density of radii falls as r^-3.

    Drawn from the front backwards, until nothing is left to cover.
    """
    draw = generator(seed, "dead leaves")
    place = (torch.arange(size) + 0.5) / size
    images = torch.zeros(count, 3, size, size)
    for image in images:
        free = torch.ones(size, size, dtype=torch.bool)
        while free.any():
            share, top, left, *colour = torch.rand(6, generator=draw)
            low, high = SMALLEST_LEAF**-2, LARGEST_LEAF**-2
            radius = (low + (high - low) * share).rsqrt()
            leaf = free & ((place[:, None] - top) ** 2 + (place - left) ** 2 < radius**2)
            image[:, leaf] = torch.stack(colour)[:, None]
            free &= ~leaf
    return images


def scrambled(images: Float[Tensor, "n 3 size size"], seed: int) -> Float[Tensor, "n 3 size size"]:
    """Images with their amplitudes and random phases; mean colours stay, pixels are clipped."""
    draw = generator(seed, "phases")
    n, _, size, _ = images.shape
    noise = torch.fft.fft2(torch.randn(n, 1, size, size, generator=draw, dtype=torch.double))
    turn = noise / noise.abs()  # of real noise, so that the result is real
    turn[..., 0, 0] = 1
    return torch.fft.ifft2(torch.fft.fft2(images.double()) * turn).real.clamp(0, 1).float()


@cache
def published_spectrum(path: Path = FILE) -> NaturalSpectrum:
    """What ``data/natural_spectrum.json`` holds."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return NaturalSpectrum(
        mean=tuple(values["mean"]),
        covariance=tuple(map(tuple, values["covariance"])),
        channels=tuple(map(tuple, values["channels"])),
        source=values["source"],
    )


def frequencies(
    size: int,
) -> tuple[Float[Tensor, "{size} {size}"], Float[Tensor, "{size} {size}"]]:
    """Radius in cycles an image, and angle, of every component of a two-dimensional FFT."""
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.double)
    return (k[:, None] ** 2 + k**2).sqrt(), torch.atan2(k[:, None], k[None].expand(size, -1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit to photographs of Tiny ImageNet's training split and write `FILE`."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--images", type=int, default=5_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--file", type=Path, default=FILE)
    given = options.parse_args(arguments)
    data = load_tiny_imagenet("train").sample(given.images, given.seed)
    source = f"{given.images:,} photographs of {data.source}'s training split, 64 px"
    found = asdict(fit(data.floats(), source))
    about = {
        "numbers": NUMBERS,
        "altered": data.altered,
        "command": f"python -m paperlib.d4c.natural --images {given.images} --seed {given.seed}",
    }
    write_files({given.file: (json.dumps(found | about, indent=1) + "\n").encode()})
    slope, spread = found["mean"][0], math.sqrt(np.array(found["covariance"])[0, 0])
    print(f"{given.file}: slope {slope:.2f} ± {spread:.2f}, channels {found['channels']}")


if __name__ == "__main__":
    main()
