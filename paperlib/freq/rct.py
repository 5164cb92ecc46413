r"""RCT: the relative change in the DCT that an attack makes, and where its energy goes.

With $X$ the DCT of a clean image and $\Delta X$ that of the perturbation (the DCT is linear), and
$|\cdot|$ the mean over channels (RGB) of absolute coefficients,

$$\mathrm{RCT}_{uv} = \frac{\sum_i |\Delta X^{(i)}_{uv}|}{\sum_i (|X^{(i)}_{uv}| + \varepsilon)},
\qquad
\mathrm{RCT}^{(i)}_{uv} = \frac{|\Delta X^{(i)}_{uv}|}{|X^{(i)}_{uv}| + \varepsilon}.$$

The first is one map for a data set (`rct_map`), the second one for every image (`rct_images`).
Source: Wang et al., arXiv 2005.03141, the RCT maps of 200 CIFAR-10 images.

Deviations: magnitudes and $\varepsilon$ in the denominator. An unofficial implementation divides by
the signed coefficient, which explodes where that is near zero and lets images cancel.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from paperlib.freq.bands import Shape, band_energy, radial_mean
from paperlib.freq.dct import dct2
from paperlib.freq.tables import bootstrap

FLOOR = 1 / (255 * 12**0.5)
"""Default of ε: the standard deviation that rounding to 8 bits gives every coefficient."""


def rct_map(
    clean: Float[Tensor, "n channels height width"],
    adversarial: Float[Tensor, "n channels height width"],
    floor: float = FLOOR,
) -> Float[Tensor, "height width"]:
    """Change relative to the data set: mean |ΔX| / (mean |X| + ε), means over images and channels.

    Args:
        clean: in [0, 1], RGB or any other channels.
        adversarial: the same images attacked, in the same order.
        floor: ε, in units of a coefficient of an image in [0, 1].
    """
    change = dct2(adversarial - clean).abs().mean((0, 1))
    return change / (dct2(clean).abs().mean((0, 1)) + floor)


def rct_images(
    clean: Float[Tensor, "n channels height width"],
    adversarial: Float[Tensor, "n channels height width"],
    floor: float = FLOOR,
) -> Float[Tensor, "n height width"]:
    """Change relative to each image: |ΔX| / (|X| + ε), magnitudes averaged over channels first.

    Its mean over images weighs those most that lack a component; arguments as for `rct_map`.
    """
    change = dct2(adversarial - clean).abs().mean(1)
    return change / (dct2(clean).abs().mean(1) + floor)


def energy_shares(
    clean: Float[Tensor, "n channels height width"],
    adversarial: Float[Tensor, "n channels height width"],
    bands: int,
    shape: Shape = "radial",
) -> Float[Tensor, "n bands"]:
    """Share of the perturbation's energy Σ ΔX² in every band, over channels; each row sums to 1.

    Rows of images that the attack left unchanged are NaN (`torch.nanmean` skips them).
    """
    energy = band_energy(dct2(adversarial - clean), bands, shape).sum(1)
    return energy / energy.sum(-1, keepdim=True)


def high_to_low(rct: Float[Tensor, "height width"]) -> float:
    """Mean of a map over the upper half of the radii, divided by that over the lower half."""
    side = min(rct.shape)
    rings, half = radial_mean(rct, side), side // 2
    return (rings[half:].mean() / rings[:half].mean()).item()


def excess(
    clean: Float[Tensor, "n channels height width"],
    adversarial: Float[Tensor, "n channels height width"],
    control: Float[Tensor, "n channels height width"],
    resamples: int,
    seed: int,
) -> tuple[float, float, float]:
    """By how much `high_to_low` of an attack is above that of a control on the same images.

    Args:
        clean: in [0, 1], RGB or any other channels.
        adversarial: the same images attacked, in the same order.
        control: the same images changed without regard to the model, such as by white noise.
        resamples: of the bootstrap over images, the same images for attack and control.
        seed: of the resampling.

    Returns:
        The difference and the ends of its 95 % interval over images; NaN for one image.
    """
    magnitudes = [
        dct2(x).abs().mean(1).cpu() for x in (clean, adversarial - clean, control - clean)
    ]

    def difference(chosen: np.ndarray) -> float:
        own, attack, noise = (magnitude[chosen].mean(0) for magnitude in magnitudes)
        return high_to_low(attack / (own + FLOOR)) - high_to_low(noise / (own + FLOOR))

    images = np.arange(len(clean))
    return difference(images), *bootstrap(images, difference, resamples, seed)
