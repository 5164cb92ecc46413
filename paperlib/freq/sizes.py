"""Sizes of the notebooks of the frequency paper, a profile each."""

from collections.abc import Mapping
from dataclasses import dataclass

from paperlib.names import LABELLED


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
        images: attacked by every white-box attack.
        black_box_images: of these, attacked by every black-box attack but HopSkipJump.
        hopskipjump_images: of these, attacked by HopSkipJump, which has up to 48,000 queries each.
        fewest: images that an attack must fool to be counted.
        bootstrap: resamples of the confidence intervals.
        steps: of an attack by its name; one that is not here takes its usual number.
        epsilon: of an attack by its name, in units of images in [0, 1]: its largest L∞ or L2
            norm, or the length of a step of SimBA; one that is not here looks for the smallest.
    """

    images: int
    black_box_images: int
    hopskipjump_images: int
    fewest: int
    bootstrap: int
    steps: Mapping[str, int]
    epsilon: Mapping[str, float]


@dataclass(frozen=True)
class OcclusionSizes:
    """03_occlusion.

    Attributes:
        images: some of whose components are occluded, for each seed.
        seeds: draws of the images.
        exact: images of which every component is, to see what the sample costs.
        bands: rings of the radial curves.
        bootstrap: resamples of the confidence bands.
    """

    images: int
    seeds: int
    exact: int
    bands: int
    bootstrap: int


@dataclass(frozen=True)
class RobustnessSizes:
    """04_robustness, which reads what was measured of trained networks.

    Attributes:
        bootstrap: resamples of the intervals over variants and trainings.
    """

    bootstrap: int


@dataclass(frozen=True)
class CutoffSizes:
    """05_cutoffs.

    Attributes:
        images: classified at every cut-off, for each seed.
        seeds: draws of the images.
        step: from one cut-off to the next, in component indices; twice that beyond half of them.
        few: images under waves and under attacks within a band.
        wave_step: from one wave to the next, in periods an image.
        bootstrap: resamples of the confidence intervals.
    """

    images: int
    seeds: int
    step: int
    few: int
    wave_step: int
    bootstrap: int


@dataclass(frozen=True)
class YourModelSizes:
    """15_your_model.

    Attributes:
        images: classified and attacked.
        occluded: of these, whose frequencies are occluded.
        steps: of PGD.
        bootstrap: resamples of the confidence intervals.
    """

    images: int
    occluded: int
    steps: int
    bootstrap: int


FEW_STEPS = {
    "pgd_linf": 5,
    "pgd_l2": 5,
    "cw_l2": 20,
    "hopskipjump": 1,
    "square": 10,
    "simba_pixel": 20,
    "simba_dct": 20,
}
EPSILONS = {
    "fgsm": 8 / 255,
    "pgd_linf": 8 / 255,
    "pgd_l2": 0.5,
    "square": 8 / 255,
    "simba_pixel": 0.2,
    "simba_dct": 0.2,
}
QUERIES = {"cw_l2": 30, "hopskipjump": 20, "square": 3000}
MANY = QUERIES | {"hopskipjump": 80}  # 48,000 queries an image
SIZES = {
    "01_spectrum": {
        "smoke": SpectrumSizes(100, 1, 16),
        "default": SpectrumSizes(600, 3, 32),
        "paper": SpectrumSizes(2000, 3, 32),
    },
    "02_rct": {
        "smoke": RctSizes(4, 2, 2, 2, 50, FEW_STEPS, EPSILONS),
        "default": RctSizes(120, 20, 10, 10, 1000, QUERIES, EPSILONS),
        "paper": RctSizes(200, 20, 12, 10, 1000, MANY, EPSILONS),
    },
    "03_occlusion": {
        "smoke": OcclusionSizes(6, 1, 2, 16, 50),
        "default": OcclusionSizes(34, 3, 3, 16, 1000),
        "paper": OcclusionSizes(334, 3, 40, 16, 1000),
    },
    "04_robustness": {
        "smoke": RobustnessSizes(50),
        "default": RobustnessSizes(1000),
        "paper": RobustnessSizes(2000),
    },
    "05_cutoffs": {
        "smoke": CutoffSizes(50, 1, 8, 10, 8, 50),
        "default": CutoffSizes(300, 3, 2, 60, 2, 1000),
        "paper": CutoffSizes(1000, 3, 1, 200, 1, 1000),
    },
    "15_your_model": {
        "smoke": YourModelSizes(20, 1, 3, 50),
        "default": YourModelSizes(200, 60, 20, 1000),
        "paper": YourModelSizes(1000, 500, 20, 1000),
    },
}

# That a notebook takes: the first is that of the profiles smoke and default, the last that of
# profile paper.
DATASETS: dict[str, tuple[str, ...]] = dict.fromkeys(SIZES, LABELLED)
