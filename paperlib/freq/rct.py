r"""RCT: the relative change in the DCT that an attack makes, and where its energy goes.

With $X$ the DCT of a clean image and $\Delta X$ that of the perturbation (the DCT is linear), and
$|\cdot|$ the mean over RGB of absolute coefficients,

$$\mathrm{RCT}_{uv} = \frac{\sum_i |\Delta X^{(i)}_{uv}|}{\sum_i (|X^{(i)}_{uv}| + \varepsilon)},
\qquad
\mathrm{RCT}^{(i)}_{uv} = \frac{|\Delta X^{(i)}_{uv}|}{|X^{(i)}_{uv}| + \varepsilon}.$$

The first is one map for a data set (`rct_map`), the second one for every image (`rct_images`).
Source: Wang et al., arXiv 2005.03141, the RCT maps of 200 CIFAR-10 images.

Deviations: magnitudes and $\varepsilon$ in the denominator. An unofficial implementation divides by
the signed coefficient, which explodes where that is near zero and lets images cancel.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.freq.bands import Shape, band_energy
from paperlib.freq.dct import dct2

FLOOR = 1 / (255 * 12**0.5)
"""Default of ε: the standard deviation that rounding to 8 bits gives every coefficient."""


def rct_map(
    clean: Float[Tensor, "n 3 height width"],
    adversarial: Float[Tensor, "n 3 height width"],
    floor: float = FLOOR,
) -> Float[Tensor, "height width"]:
    """Change relative to the data set: mean |ΔX| / (mean |X| + ε), means over images and RGB.

    Args:
        clean: RGB in [0, 1].
        adversarial: the same images attacked, in the same order.
        floor: ε, in units of a coefficient of an image in [0, 1].
    """
    change = dct2(adversarial - clean).abs().mean((0, 1))
    return change / (dct2(clean).abs().mean((0, 1)) + floor)


def rct_images(
    clean: Float[Tensor, "n 3 height width"],
    adversarial: Float[Tensor, "n 3 height width"],
    floor: float = FLOOR,
) -> Float[Tensor, "n height width"]:
    """Change relative to each image: |ΔX| / (|X| + ε), magnitudes averaged over RGB first.

    Its mean over images weighs those most that lack a component; arguments as for `rct_map`.
    """
    change = dct2(adversarial - clean).abs().mean(1)
    return change / (dct2(clean).abs().mean(1) + floor)


def energy_shares(
    clean: Float[Tensor, "n 3 height width"],
    adversarial: Float[Tensor, "n 3 height width"],
    bands: int,
    shape: Shape = "radial",
) -> Float[Tensor, "n bands"]:
    """Share of the perturbation's energy Σ ΔX² in every band, over RGB; each row sums to 1.

    Rows of images that the attack left unchanged are NaN (`torch.nanmean` skips them).
    """
    energy = band_energy(dct2(adversarial - clean), bands, shape).sum(1)
    return energy / energy.sum(-1, keepdim=True)


def changed(
    clean: Float[Tensor, "n 3 height width"], adversarial: Float[Tensor, "n 3 height width"]
) -> torch.Tensor:
    """Which images the attack changed at all (bool, one an image)."""
    return (clean != adversarial).flatten(1).any(1)
