"""Sizes of the notebooks of D4C, a profile each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EncoderSizes:
    """What every notebook has.

    Attributes:
        encoders: small CLIPs by image tower, each with what differs from `d4c.settings.Settings`.
        published: whether synthesised images are those of the sets that the paper's recipe made
            (`paperlib.d4c.published`), or made here with those settings.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    published: bool


@dataclass(frozen=True)
class LimitsSizes(EncoderSizes):
    """10_limits.

    Attributes:
        seeds: draws of images.
        real_images: that the others are compared with, for each seed.
        shown: examples of each method.
    """

    seeds: int
    real_images: int
    shown: int


@dataclass(frozen=True)
class SynthesisSizes(EncoderSizes):
    """11_synthesis.

    Attributes:
        snapshots: iterations after which images are shown, beside the last; those of a published
            set are its own.
        shown: images of each row.
    """

    snapshots: tuple[int, ...]
    shown: int


@dataclass(frozen=True)
class DecisiveSizes(EncoderSizes):
    """What 12_quantization and 13_ablation have.

    Attributes:
        decisive: bit-widths of each encoder at which calibration images decide.
        seeds: draws of calibration and test images.
        test_images: classified for each seed.
        rounding: what of the encoders' settings of the reconstruction is not taken.
    """

    decisive: Mapping[str, str]
    seeds: int
    test_images: int
    rounding: Mapping[str, Any]


@dataclass(frozen=True)
class QuantizationSizes(DecisiveSizes):
    """12_quantization.

    Attributes:
        bits: the paper's bit-widths, with so many of the draws at each.
    """

    bits: Mapping[str, int]


@dataclass(frozen=True)
class AblationSizes(DecisiveSizes):
    """13_ablation.

    Attributes:
        timed_iterations: of the synthesis, whose times are measured.
    """

    timed_iterations: int


@dataclass(frozen=True)
class DeploymentSizes(EncoderSizes):
    """14_deployment.

    Attributes:
        bits: bit-widths that are saved and run.
        test_images: classified.
        timed_images: of them, in one forward pass whose time is measured.
        timed_seconds: that the measurement of one tower takes.
    """

    bits: tuple[str, ...]
    test_images: int
    timed_images: int
    timed_seconds: float


# What differs from `d4c.settings.Settings`, which are the paper's: days of a CPU. Where images are
# published, the paper's settings made them, and those of the synthesis here do not count. Fewer
# iterations take larger steps. They were chosen on seed 1000, which no notebook shows: rate and
# iterations of the synthesis by the accuracy with D4C's images (BNS and PSE get the same), those of
# the reconstruction by the accuracy with real images and noise.
TINY_D4C = {
    "images": 4,
    "prompts": 4,
    "synthesis_iterations": 4,
    "synthesis_batch": 4,
    "synthesis_autocast": True,
    "range_images": 2,
    "range_prompts": 2,
    "range_fractions": 4,
    "reconstruction_iterations": 2,
    "reconstruction_batch": 4,
}
SHORT_D4C = {
    "images": 32,
    "prompts": 64,
    "synthesis_iterations": 150,
    "synthesis_rate": 0.03,
    "synthesis_autocast": True,
    "range_images": 16,
    "range_prompts": 16,
    "range_fractions": 25,
    "reconstruction_iterations": 24,
    "reconstruction_batch": 16,
    "rounding_rate": 0.06,
    "image_scale_rate": 4e-4,
    "text_scale_rate": 4e-5,
}
LONGER_D4C = SHORT_D4C | {
    "images": 16,  # of every published set of CIFAR-10
    "prompts": 128,
    "range_prompts": 32,
    "range_fractions": 50,
    "reconstruction_iterations": 300,  # where the rounding has decided
    "rounding_rate": 0.03,
    "image_scale_rate": 3e-4,
    "text_scale_rate": 3e-5,
}
TINY_CLIPS = {"resnet": TINY_D4C, "vit": TINY_D4C}
SHORT_CLIPS = {"resnet": SHORT_D4C, "vit": SHORT_D4C}
LONGER_CLIPS = {"resnet": LONGER_D4C, "vit": LONGER_D4C}  # of CIFAR-10
NEAREST = {"reconstruction_iterations": 0}  # the nearest rounding
# Noise falls 10 points or more behind real images there, with the nearest rounding too, on seed
# 1000.
DECISIVE = {"resnet": "W4A3", "vit": "W4A3"}
DECISIVE_CIFAR = {"resnet": "W3A2", "vit": "W4A3"}
PAPER_BITS = {"W4A8": 5, "W6A6": 1, "W8A8": 1}
SIZES = {
    "10_limits": {
        "smoke": LimitsSizes(TINY_CLIPS, False, 1, 8, 4),
        "default": LimitsSizes(SHORT_CLIPS, True, 5, 200, 8),
        "paper": LimitsSizes(LONGER_CLIPS, True, 5, 1000, 8),
    },
    "11_synthesis": {
        "smoke": SynthesisSizes({"resnet": TINY_D4C}, False, (0, 1, 2), 4),
        "default": SynthesisSizes({"resnet": SHORT_D4C}, True, (0,), 8),
        "paper": SynthesisSizes({"resnet": LONGER_D4C}, True, (0,), 8),
    },
    "12_quantization": {
        "smoke": QuantizationSizes(TINY_CLIPS, False, DECISIVE, 1, 20, NEAREST, {"W4A8": 1}),
        "default": QuantizationSizes(SHORT_CLIPS, True, DECISIVE, 5, 300, NEAREST, PAPER_BITS),
        "paper": QuantizationSizes(
            LONGER_CLIPS, True, DECISIVE_CIFAR, 5, 1000, NEAREST, PAPER_BITS
        ),
    },
    "13_ablation": {
        "smoke": AblationSizes(TINY_CLIPS, False, DECISIVE, 1, 20, NEAREST, 2),
        "default": AblationSizes(SHORT_CLIPS, True, DECISIVE, 5, 300, NEAREST, 10),
        "paper": AblationSizes(LONGER_CLIPS, True, DECISIVE_CIFAR, 5, 1000, NEAREST, 20),
    },
    "14_deployment": {
        "smoke": DeploymentSizes(TINY_CLIPS, False, ("W4A8",), 20, 16, 0.1),
        "default": DeploymentSizes(SHORT_CLIPS, True, ("W4A8", "W2A8"), 300, 64, 1.0),
        "paper": DeploymentSizes(LONGER_CLIPS, True, ("W4A8", "W2A8"), 1000, 64, 2.0),
    },
}

# That a notebook takes: the first is that of the profiles smoke and default, the last that of
# profile paper.
DATASETS: dict[str, tuple[str, ...]] = {
    "10_limits": ("openmoji", "cifar10"),
    "11_synthesis": ("openmoji", "cifar10"),
    "12_quantization": ("openmoji", "cifar10"),
    "13_ablation": ("openmoji", "cifar10"),
    "14_deployment": ("openmoji", "cifar10"),
}
