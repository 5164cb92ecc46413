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


FEW_STEPS = {
    "pgd_linf": 5,
    "pgd_l2": 5,
    "cw_l2": 20,
    "hopskipjump": 1,
    "square": 10,
    "simba_pixel": 20,
    "simba_dct": 20,
}
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
}


def sizes(notebook: str, profile: str) -> Any:
    """Sizes of a notebook in a profile: the dataclass that is named after it above.

    Raises:
        KeyError: `SIZES` has no such notebook or profile.
    """
    return SIZES[notebook][profile]
