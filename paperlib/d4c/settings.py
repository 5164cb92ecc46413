"""Every setting of D4C; the defaults are those of the paper's released configurations.

Source: Zhang et al., arXiv 2511.15411, and its official code, whose settings these are.
"""

import math
import re
from dataclasses import dataclass

VALID_BITS = range(2, 9)
WHOLE = {  # by the least valid value
    0: ("synthesis_iterations", "reconstruction_iterations"),
    1: (
        *("images", "prompts", "synthesis_batch", "reconstruction_batch"),
        *("range_fractions", "range_images", "range_prompts", "memory_budget"),
    ),
    2: ("density_points",),
}
POSITIVE = ("synthesis_rate", "temperature", "density_bandwidth", "rounding_rate")
NOT_NEGATIVE = (
    *("variation_weight", "background_noise", "rounding_weight"),
    *("image_scale_rate", "text_scale_rate"),
)


@dataclass(frozen=True)
class PerturbationSettings:
    """What PAE draws from for every image and iteration.

    Attributes:
        flip, blur, erase: probabilities of mirroring, blurring and erasing a square, 0 to 1.
        turn: largest rotation either way, in degrees.
        scale: sizes are factors in 1 ± this, 0 to below 1.
        shift: largest move along either axis, as a share of the image's size.
        colour: brightness, contrast and saturation are factors in 1 ± this.
        square: side of the erased square as a share of the image's, above 0 to 1.
    """

    flip: float = 0.5
    blur: float = 0.3
    erase: float = 0.3
    turn: float = 15.0
    scale: float = 0.05
    shift: float = 0.05
    colour: float = 0.4
    square: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError for a value that is not valid, with those that are."""
        for name in ("flip", "blur", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: probabilities 0 to 1 are valid")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale={self.scale}: 0 to below 1 are valid")
        if not 0 < self.square <= 1:
            raise ValueError(f"square={self.square}: above 0 to 1 are valid")


@dataclass(frozen=True)
class Settings:
    """How to synthesise images and to quantize with them.

    Attributes:
        images: N, how many images are synthesised.
        prompts: how many texts reconstruct the text tower.
        synthesis_iterations: Adam steps after every mini-batch; 0 leaves the noise as it is.
        synthesis_batch: images optimised together.
        synthesis_rate: learning rate of Adam, which all mini-batches share.
        temperature: τ, which divides the cosine similarities.
        variation_weight: of the total variation.
        structural: SCG: a foreground box against the backgrounds of the mini-batch.
        foreground_area: smallest and largest share of the image in that box, above 0 to 1.
        background_noise: standard deviation of the noise on the backgrounds.
        perturbation: PAE; None leaves it out.
        density_bandwidth, density_points: of the kernel density of PSE, a baseline.
        synthesis_autocast: encode in bfloat16, which the paper does not: faster on some CPUs.
        weight_bits: of the quantized weights, 2 to 8 (W of W4A8).
        activation_bits: of the quantized activations, 2 to 8 (A of W4A8).
        text_mlp_bits: of weights and inputs of both MLP layers in the text tower, 2 to 8.
        range_exponent: p of the mean |x̂ - x|^p that a range minimises, from 2.
        range_fractions: how many fractions 1/n … n/n of the range are tried.
        range_images: first so many calibration images that give the ranges of the image tower.
        range_prompts: first so many prompts that give the ranges of the text tower.
        reconstruction_iterations: Adam steps for each module; 0 keeps the nearest rounding.
        reconstruction_batch: samples in one step.
        rounding_weight: of the regulariser Σ(1 - |2h - 1|^β) that drives the rounding to 0 or 1.
        rounding_warmup: share of the iterations before the regulariser sets in, 0 to 1.
        rounding_beta: β at the end of the warm-up and at the last iteration, linear between.
        rounding_rate: learning rate of the rounding variables.
        image_scale_rate: of the activation scales in the image tower, cosine decay to 0.
        text_scale_rate: of those in the text tower.
        memory_budget: bytes for the cached activations of the reconstruction; beyond it they are
            kept in half precision.
        seed: of noise, prompts, boxes, perturbations and mini-batches.
    """

    images: int = 128
    prompts: int = 512
    synthesis_iterations: int = 3_000
    synthesis_batch: int = 16
    synthesis_rate: float = 0.01
    temperature: float = 0.1
    variation_weight: float = 0.1
    structural: bool = True
    foreground_area: tuple[float, float] = (0.4, 0.7)
    background_noise: float = 0.1
    perturbation: PerturbationSettings | None = PerturbationSettings()
    density_bandwidth: float = 0.01
    density_points: int = 10
    synthesis_autocast: bool = False
    weight_bits: int = 4
    activation_bits: int = 8
    text_mlp_bits: int = 8
    range_exponent: float = 2.4
    range_fractions: int = 100
    range_images: int = 32
    range_prompts: int = 32
    reconstruction_iterations: int = 20_000
    reconstruction_batch: int = 32
    rounding_weight: float = 0.01
    rounding_warmup: float = 0.2
    rounding_beta: tuple[float, float] = (20.0, 2.0)
    rounding_rate: float = 1e-3
    image_scale_rate: float = 4e-5
    text_scale_rate: float = 4e-6
    memory_budget: int = 4 * 2**30
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a value that is not valid, with those that are."""
        for name in ("weight_bits", "activation_bits", "text_mlp_bits"):
            value = getattr(self, name)
            if not _whole(value) or value not in VALID_BITS:
                raise ValueError(f"{name}={value}: whole numbers 2 to 8 are valid")
        for least, names in WHOLE.items():
            for name in names:
                value = getattr(self, name)
                if not _whole(value) or value < least:
                    raise ValueError(f"{name}={value}: whole numbers from {least} are valid")
        for name in POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: numbers above 0 are valid")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: numbers from 0 are valid")
        if not 2 <= self.range_exponent < math.inf:
            raise ValueError(f"range_exponent={self.range_exponent}: numbers from 2 are valid")
        least, most = self.foreground_area
        if not 0 < least <= most <= 1:
            raise ValueError(
                f"foreground_area={self.foreground_area}: valid are (least, most) with "
                "0 < least <= most <= 1"
            )
        if not 0 <= self.rounding_warmup < 1:
            raise ValueError(f"rounding_warmup={self.rounding_warmup}: 0 to below 1 are valid")
        if not all(0 < beta < math.inf for beta in self.rounding_beta):
            raise ValueError(f"rounding_beta={self.rounding_beta}: numbers above 0 are valid")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def bit_widths(name: str) -> dict[str, int]:
    """The two settings that a name such as "W4A8" stands for.

    Raises:
        ValueError: `name` is no such name.
    """
    match = re.fullmatch(r"W([2-8])A([2-8])", name)
    if not match:
        raise ValueError(f"name={name!r}: valid are W2A2 to W8A8, such as W4A8")
    return {"weight_bits": int(match[1]), "activation_bits": int(match[2])}
