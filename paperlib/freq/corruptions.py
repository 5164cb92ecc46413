"""Corruptions of CIFAR-10-C that need nothing but their formulas, in five severities.

The constants are those of Hendrycks and Dietterich, arXiv 1903.12261, for 32 × 32 images, from
``make_cifar_c.py`` of their repository; a result is rounded down to 8 bits as there. Left out are
those that take pictures (frost), other programs (motion blur, snow) or long code of their own
(defocus, glass and zoom blur, fog, spatter, elastic). Gaussian blur, speckle noise and the like are
among the four that they give for validation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.bands import band_energy
from paperlib.freq.cutoffs import jpeg
from paperlib.freq.dct import dct2
from paperlib.models.training import predict
from paperlib.seeds import derive

Pixels = np.ndarray  # (n, 3, height, width), 0 to 1


@dataclass(frozen=True)
class Corruption:
    """How a corruption is named, its constant for each severity, and what makes it.

    Attributes:
        title: for tables and figures.
        constants: of severities 1 to 5.
        call: from pixels in [0, 1], the constant and a generator to pixels.
    """

    title: str
    constants: tuple[float, ...]
    call: Callable[[Pixels, float, np.random.Generator], Pixels]


def corrupt(
    name: str, images: UInt8[Tensor, "n 3 height width"], severity: int, seed: int
) -> UInt8[Tensor, "n 3 height width"]:
    """Corrupted images, the same for the same seed.

    Args:
        name: a key of `CORRUPTIONS`.
        images: RGB, 0 to 255.
        severity: 1 to 5.
        seed: of the run; every corruption derives its own.

    Raises:
        ValueError: unknown name, or a severity out of range.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r} is unknown: valid are {', '.join(CORRUPTIONS)}")
    if severity not in range(1, 6):
        raise ValueError(f"severity={severity}: valid are 1 to 5")
    corruption = CORRUPTIONS[name]
    random = np.random.default_rng(derive(seed, name))
    constant = corruption.constants[severity - 1]
    pixels = corruption.call(images.cpu().numpy() / 255.0, constant, random)
    # A little is added before rounding down, so that 8-bit values stay as they are.
    return torch.from_numpy((255 * pixels.clip(0, 1) + 1e-6).astype(np.uint8)).to(images.device)


def outcomes(
    model: nn.Module, data: LabelledImages, severity: int, seed: int
) -> Bool[np.ndarray, "n columns"]:
    """Which images a model gets right, uncorrupted and under each of `CORRUPTIONS`, in order."""
    images = [data.images, *(corrupt(name, data.images, severity, seed) for name in CORRUPTIONS)]
    found = [predict(model, pixels.float() / 255) == data.labels for pixels in images]
    return torch.stack(found, 1).numpy()


def high_shares(data: LabelledImages, severity: int, seed: int) -> Float[np.ndarray, " columns"]:
    """Share of each corruption's change in high frequencies, of its energy over all images.

    High are components with max(u, v) of at least half of the shorter side.
    """
    shares = []
    for name in CORRUPTIONS:
        changed = corrupt(name, data.images, severity, seed).float() / 255
        energy = band_energy(dct2(changed - data.floats()), 2, "square").sum((0, 1))
        shares.append((energy[1] / energy.sum()).item())
    return np.array(shares)


def lost(right: Bool[np.ndarray, "n columns"]) -> Float[np.ndarray, " corruptions"]:
    """Accuracy lost to each corruption, 0 to 1; `right` as of `outcomes`."""
    shares = right.mean(0)
    return shares[0] - shares[1:]


def loss_table(shares: np.ndarray, losses: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A row a corruption and network: high share of the change, and the share of accuracy lost.

    Args:
        shares: of the change of each of `CORRUPTIONS` in high frequencies.
        losses: what `lost` gives, by variant.
    """
    titles = [corruption.title for corruption in CORRUPTIONS.values()]
    rows = [
        {"variant": variant, "corruption": title, "high share": share, "lost": value}
        for variant, values in losses.items()
        for title, share, value in zip(titles, shares, values, strict=True)
    ]
    return pd.DataFrame(rows)


def ahead(
    shares: Float[np.ndarray, " corruptions"],
    natural: Bool[np.ndarray, "n columns"],
    robust: Bool[np.ndarray, "n columns"],
    resamples: int,
    seed: int,
) -> tuple[float, float, float]:
    """Rank correlation of a corruption's frequencies and what the natural network loses more.

    Args:
        shares: of the changes in high frequencies (see `high_shares`).
        natural, robust: what each network gets right, as of `outcomes`.
        resamples, seed: of the bootstrap.

    Returns:
        The correlation and the ends of its 95 % interval over corruptions, images inside: both are
        resampled, all corruptions with the same images, as they were measured. A resample in which
        the correlation is not defined does not count.
    """
    draw, found = np.random.default_rng(derive(seed, "corruptions and images")), []
    for _ in range(resamples):
        which, images = (draw.integers(size, size=size) for size in (len(shares), len(natural)))
        gap = lost(natural[images]) - lost(robust[images])
        found.append(_correlation(shares[which], gap[which]))
    value = _correlation(shares, lost(natural) - lost(robust))
    return value, *map(float, np.nanpercentile(found, [2.5, 97.5]))


def ahead_by_chance(
    shares: Float[np.ndarray, " corruptions"],
    natural: Bool[np.ndarray, "n columns"],
    robust: Bool[np.ndarray, "n columns"],
    shuffles: int,
    seed: int,
) -> Float[np.ndarray, " shuffles"]:
    """The null of `ahead`: its correlation with frequencies dealt anew among the corruptions."""
    draw = np.random.default_rng(derive(seed, "frequencies dealt anew"))
    gap = lost(natural) - lost(robust)
    return np.array([_correlation(draw.permutation(shares), gap) for _ in range(shuffles)])


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN where one of both is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(spearmanr(x, y).statistic)


def _gaussian_noise(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    return x + random.normal(scale=c, size=x.shape)


def _shot_noise(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    return random.poisson(x * c) / c


def _impulse_noise(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    hit, salt = random.random(x.shape) < c, random.random(x.shape) < 0.5
    return np.where(hit, salt, x)


def _speckle_noise(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    return x + x * random.normal(scale=c, size=x.shape)


def _gaussian_blur(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    return gaussian_filter(x, (0, 0, c, c), mode="nearest")


def _contrast(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    mean = x.mean((2, 3), keepdims=True)
    return (x - mean) * c + mean


def _brightness(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    """Adds to the value of HSV, the largest channel; hue and saturation stay."""
    value = x.max(1, keepdims=True)
    brighter = (value + c).clip(0, 1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def _pixelate(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    height, width = x.shape[-2:]
    small = int(width * c), int(height * c)
    out = []
    for pixels in np.round(255 * x).astype(np.uint8).transpose(0, 2, 3, 1):
        image = Image.fromarray(pixels).resize(small, Image.Resampling.BOX)
        out.append(np.asarray(image.resize((width, height), Image.Resampling.BOX)))
    return np.stack(out).transpose(0, 3, 1, 2) / 255.0


def _jpeg(x: Pixels, c: float, random: np.random.Generator) -> Pixels:
    pixels = torch.from_numpy(np.round(255 * x).astype(np.uint8))
    return jpeg(pixels, int(c)).numpy() / 255.0


CORRUPTIONS = {
    "gaussian_noise": Corruption("Gaussian noise", (0.04, 0.06, 0.08, 0.09, 0.10), _gaussian_noise),
    "shot_noise": Corruption("shot noise", (500, 250, 100, 75, 50), _shot_noise),
    "impulse_noise": Corruption("impulse noise", (0.01, 0.02, 0.03, 0.05, 0.07), _impulse_noise),
    "speckle_noise": Corruption("speckle noise", (0.06, 0.1, 0.12, 0.16, 0.2), _speckle_noise),
    "gaussian_blur": Corruption("Gaussian blur", (0.4, 0.6, 0.7, 0.8, 1), _gaussian_blur),
    "contrast": Corruption("contrast", (0.75, 0.5, 0.4, 0.3, 0.15), _contrast),
    "brightness": Corruption("brightness", (0.05, 0.1, 0.15, 0.2, 0.3), _brightness),
    "pixelate": Corruption("pixelate", (0.95, 0.9, 0.85, 0.75, 0.65), _pixelate),
    "jpeg": Corruption("JPEG", (80, 65, 58, 50, 40), _jpeg),
}
