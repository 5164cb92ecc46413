"""Every size that a notebook uses, a profile each; nothing else decides a size.

- ``smoke``: for developing, each notebook under 20 seconds;
- ``default``: what the committed notebooks and figures show, and what the tests execute;
- ``paper``: real data, and more of it.

A notebook reads them as ``run.sizes.images``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROFILES = ("smoke", "default", "paper")
DATASETS = ("openmoji", "cifar10", "photographs", "coco")  # which notebook takes which: graph.yaml
STANDARD_SEED = 0


@dataclass(frozen=True)
class SpectrumSizes:
    """01_spectrum.

    Attributes:
        images: test images for each seed.
        seeds: draws of the images.
        bands: rings of the radial profiles.
    """

    images: int
    seeds: int
    bands: int


@dataclass(frozen=True)
class RctSizes:
    """02_rct.

    Attributes:
        images: attacked by every white-box attack, for each seed.
        black_box_images: attacked by every black-box attack, for each seed.
        seeds: evaluation seeds.
        bootstrap: resamples of the confidence bands.
        steps: of an attack by its name; one that is not here takes its usual number.
    """

    images: int
    black_box_images: int
    seeds: int
    bootstrap: int
    steps: Mapping[str, int]


@dataclass(frozen=True)
class OcclusionSizes:
    """03_occlusion.

    Attributes:
        images: whose components are occluded, for each seed.
        seeds: draws of the images.
        bands: rings of the radial curves.
        bootstrap: resamples of the confidence bands.
    """

    images: int
    seeds: int
    bands: int
    bootstrap: int


@dataclass(frozen=True)
class RobustnessSizes:
    """04_robustness.

    Attributes:
        images: attacked for each seed.
        occluded_images: of these, whose components are occluded.
        seeds: draws of the images.
        steps: of an attack by its name; one that is not here takes its usual number.
    """

    images: int
    occluded_images: int
    seeds: int
    steps: Mapping[str, int]


@dataclass(frozen=True)
class CutoffSizes:
    """05_cutoffs.

    Attributes:
        images: classified at every cut-off, for each seed.
        seeds: draws of the images.
        step: from one cut-off to the next, in component indices.
    """

    images: int
    seeds: int
    step: int


@dataclass(frozen=True)
class PartitionSizes:
    """06_partition.

    Attributes:
        frames: that random assignments are drawn for.
    """

    frames: int


@dataclass(frozen=True)
class SegmentationSizes:
    """07_segmentation.

    Attributes:
        sam: which (`paperlib.models.sam.SAMS`).
        distilled: what was distilled from it for the pixels-once schedule, if anything.
        images: segmented in every setting, for each seed.
        seeds: draws of the images.
        servers: numbers of them, 4 among them.
    """

    sam: str
    distilled: tuple[str, ...]
    images: int
    seeds: int
    servers: tuple[int, ...]


@dataclass(frozen=True)
class PrivacySizes:
    """08_privacy.

    Attributes:
        images: rebuilt in every setting, for each seed.
        recognised: shown to the classifier in every setting, for each seed.
        segmented: shown to SAM in every setting, for each seed.
        seeds: draws of the images and of the views.
        frames: of the video.
        trials: secrets that its assignments are drawn from.
    """

    images: int
    recognised: int
    segmented: int
    seeds: int
    frames: int
    trials: int


@dataclass(frozen=True)
class LatencySizes:
    """09_latency.

    Attributes:
        images: encoded in every setting, for each SAM.
        compared: SAMs whose own encoder is timed too; ViT-B's takes 4 GB.
        servers: numbers of them, for each SAM.
        edge_factors: how many times slower the edge is than a server.
    """

    images: Mapping[str, int]
    compared: tuple[str, ...]
    servers: Mapping[str, tuple[int, ...]]
    edge_factors: tuple[float, ...]


@dataclass(frozen=True)
class LimitsSizes:
    """10_limits.

    Attributes:
        encoders: small CLIPs by image tower, each with what differs from `d4c.settings.Settings`.
        seeds: draws of images.
        real_images: that the others are compared with, for each seed.
        shown: examples of each method.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    seeds: int
    real_images: int
    shown: int


@dataclass(frozen=True)
class SynthesisSizes:
    """11_synthesis.

    Attributes:
        encoders: as in `LimitsSizes`.
        snapshots: iterations after which images are shown, beside the last.
        shown: images of each row.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    snapshots: tuple[int, ...]
    shown: int


@dataclass(frozen=True)
class QuantizationSizes:
    """12_quantization.

    Attributes:
        encoders: as in `LimitsSizes`.
        decisive: bit-widths of each encoder at which calibration images decide.
        bits: the paper's bit-widths.
        beside: settings that differ for these.
        seeds: draws of calibration and test images.
        test_images: classified for each seed.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    decisive: Mapping[str, str]
    bits: tuple[str, ...]
    beside: Mapping[str, Any]
    seeds: int
    test_images: int


@dataclass(frozen=True)
class AblationSizes:
    """13_ablation.

    Attributes:
        encoders, decisive, seeds, test_images: as in `QuantizationSizes`.
        timed_iterations: of the synthesis, whose times are measured.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    decisive: Mapping[str, str]
    seeds: int
    test_images: int
    timed_iterations: int


@dataclass(frozen=True)
class DeploymentSizes:
    """14_deployment.

    Attributes:
        encoders: as in `LimitsSizes`.
        bits: bit-widths that are saved and run.
        test_images: classified.
        timed_images: of them, in one forward pass whose time is measured.
        timed_seconds: that the measurement of one tower takes.
    """

    encoders: Mapping[str, Mapping[str, Any]]
    bits: tuple[str, ...]
    test_images: int
    timed_images: int
    timed_seconds: float


FEW_STEPS = {
    "pgd_linf": 5,
    "pgd_l2": 5,
    "cw_l2": 20,
    "hopskipjump": 1,
    "square": 10,
    "simba_pixel": 20,
    "simba_dct": 20,
}
# What differs from `d4c.settings.Settings`, which are the paper's: days of a CPU. Fewer iterations
# take larger steps. They were chosen on seed 1000, which no notebook shows: rate and iterations of
# the synthesis by the accuracy with D4C's images (BNS and PSE get the same), those of the
# reconstruction by the accuracy with real images and noise.
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
    "images": 16,
    "prompts": 64,
    "synthesis_iterations": 300,
    "synthesis_rate": 0.03,
    "synthesis_autocast": True,
    "range_images": 16,
    "range_prompts": 16,
    "range_fractions": 25,
    "reconstruction_iterations": 40,
    "reconstruction_batch": 16,
    "rounding_rate": 0.04,
    "image_scale_rate": 4e-4,
    "text_scale_rate": 4e-5,
}
SHORT_VIT = SHORT_D4C | {"synthesis_iterations": 100, "synthesis_rate": 0.1, "range_images": 8}
LONGER_D4C = SHORT_D4C | {
    "images": 32,
    "prompts": 128,
    "synthesis_iterations": 500,
    "range_images": 32,
    "range_prompts": 32,
    "range_fractions": 50,
    "reconstruction_iterations": 60,
    "rounding_rate": 0.03,
    "image_scale_rate": 3e-4,
    "text_scale_rate": 3e-5,
}
TINY_CLIPS = {"resnet": TINY_D4C, "vit": TINY_D4C}
SHORT_CLIPS = {"resnet": SHORT_D4C, "vit": SHORT_VIT}
LONGER_CLIPS = {"resnet": LONGER_D4C}  # of CIFAR-10
NEAREST = {"reconstruction_iterations": 0}  # the nearest rounding
# Noise falls 10 points or more behind real images there, on seed 1000.
DECISIVE = {"resnet": "W4A3", "vit": "W4A3"}
DECISIVE_CIFAR = {"resnet": "W4A3"}
PAPER_BITS = ("W4A8", "W6A6", "W8A8")
SIZES = {
    "01_spectrum": {
        "smoke": SpectrumSizes(100, 1, 16),
        "default": SpectrumSizes(1000, 3, 32),
        "paper": SpectrumSizes(2000, 3, 32),
    },
    "02_rct": {
        "smoke": RctSizes(4, 2, 1, 50, FEW_STEPS),
        "default": RctSizes(40, 5, 3, 1000, {"hopskipjump": 5, "cw_l2": 30}),
        "paper": RctSizes(60, 6, 3, 1000, {"hopskipjump": 5, "cw_l2": 30}),
    },
    "03_occlusion": {
        "smoke": OcclusionSizes(2, 1, 16, 50),
        "default": OcclusionSizes(8, 3, 16, 1000),
        "paper": OcclusionSizes(20, 3, 16, 1000),
    },
    "04_robustness": {
        "smoke": RobustnessSizes(8, 1, 1, FEW_STEPS),
        "default": RobustnessSizes(30, 3, 3, {"square": 50}),
        "paper": RobustnessSizes(150, 6, 3, {"square": 100}),
    },
    "05_cutoffs": {
        "smoke": CutoffSizes(50, 1, 8),
        "default": CutoffSizes(300, 3, 2),
        "paper": CutoffSizes(1000, 3, 1),
    },
    "06_partition": {
        "smoke": PartitionSizes(20),
        "default": PartitionSizes(1000),
        "paper": PartitionSizes(1000),
    },
    "07_segmentation": {
        "smoke": SegmentationSizes("sam-small", ("sam-small-pixels_once",), 2, 1, (1, 4)),
        "default": SegmentationSizes("sam-small", ("sam-small-pixels_once",), 25, 3, (1, 2, 4, 16)),
        "paper": SegmentationSizes("vit_b", (), 100, 3, (1, 4, 25)),
    },
    "08_privacy": {
        "smoke": PrivacySizes(4, 20, 4, 1, 8, 20),
        "default": PrivacySizes(16, 200, 24, 3, 16, 200),
        "paper": PrivacySizes(30, 1000, 60, 3, 16, 1000),
    },
    "09_latency": {
        "smoke": LatencySizes({"sam-small": 2}, ("sam-small",), {"sam-small": (1, 4)}, (1, 5)),
        "default": LatencySizes(
            {"sam-small": 10, "vit_b": 1},
            ("sam-small",),
            {"sam-small": (1, 2, 4, 16), "vit_b": (4,)},
            (1, 5),
        ),
        "paper": LatencySizes(
            {"sam-small": 20, "vit_b": 3},
            ("sam-small", "vit_b"),
            {"sam-small": (1, 2, 4, 16), "vit_b": (1, 4, 25)},
            (1, 5),
        ),
    },
    "10_limits": {
        "smoke": LimitsSizes(TINY_CLIPS, 1, 8, 4),
        "default": LimitsSizes(SHORT_CLIPS, 3, 200, 8),
        "paper": LimitsSizes(LONGER_CLIPS, 3, 1000, 8),
    },
    "11_synthesis": {
        "smoke": SynthesisSizes(TINY_CLIPS, (0, 1, 2), 4),
        "default": SynthesisSizes({"resnet": SHORT_D4C}, (0, 10, 100), 8),
        "paper": SynthesisSizes({"resnet": LONGER_D4C}, (0, 10, 100), 8),
    },
    "12_quantization": {
        "smoke": QuantizationSizes(TINY_CLIPS, DECISIVE, ("W4A8",), NEAREST, 1, 20),
        "default": QuantizationSizes(SHORT_CLIPS, DECISIVE, PAPER_BITS, NEAREST, 3, 500),
        "paper": QuantizationSizes(LONGER_CLIPS, DECISIVE_CIFAR, PAPER_BITS, {}, 3, 2000),
    },
    "13_ablation": {
        "smoke": AblationSizes(TINY_CLIPS, DECISIVE, 1, 20, 2),
        "default": AblationSizes({"resnet": SHORT_D4C}, DECISIVE, 3, 500, 20),
        "paper": AblationSizes(LONGER_CLIPS, DECISIVE_CIFAR, 3, 2000, 20),
    },
    "14_deployment": {
        "smoke": DeploymentSizes(TINY_CLIPS, ("W4A8",), 20, 16, 0.1),
        "default": DeploymentSizes(SHORT_CLIPS, ("W4A8", "W2A8"), 500, 64, 2.0),
        "paper": DeploymentSizes(LONGER_CLIPS, ("W4A8", "W2A8"), 2000, 64, 2.0),
    },
}


def sizes(notebook: str, profile: str) -> Any:
    """Sizes of a notebook in a profile: the dataclass that is named after it above.

    Raises:
        KeyError: `SIZES` has no such notebook or profile.
    """
    return SIZES[notebook][profile]
