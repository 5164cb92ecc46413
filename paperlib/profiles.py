"""Every size that a notebook uses, a profile each; nothing else decides a size.

- ``smoke``: for developing, each notebook under 20 seconds;
- ``default``: what the committed notebooks and figures show, and what the tests execute;
- ``paper``: the paper's data and sizes.

A notebook reads them as ``run.sizes.images``.
"""

from dataclasses import dataclass

PROFILES = ("smoke", "default", "paper")
DATASETS = ("openmoji", "cifar10")
STANDARD_DATASET = {"smoke": "openmoji", "default": "openmoji", "paper": "cifar10"}
STANDARD_SEED = 0


@dataclass(frozen=True)
class SpectrumSizes:
    """01_spectrum.

    Attributes:
        images: images whose spectrum is taken.
        bands: rings of the radial profile.
        train_images, test_images: of the models trained on filtered data.
        epochs: of their training.
    """

    images: int
    bands: int
    train_images: int
    test_images: int
    epochs: int


@dataclass(frozen=True)
class RctSizes:
    """02_rct.

    Attributes:
        images: images attacked.
        queries: budget of every black-box attack, calls of the model an image.
        seeds: evaluation seeds.
    """

    images: int
    queries: int
    seeds: int


@dataclass(frozen=True)
class OcclusionSizes:
    """03_occlusion.

    Attributes:
        images: images whose components are occluded, one at a time.
        bands: rings of the radial curve.
        bootstrap: resamples of the confidence band.
        seeds: evaluation seeds.
    """

    images: int
    bands: int
    bootstrap: int
    seeds: int


@dataclass(frozen=True)
class RobustnessSizes:
    """04_robustness.

    Attributes:
        images: images attacked.
        steps: of PGD.
        queries: of Square, calls of the model an image.
        seeds: evaluation seeds.
    """

    images: int
    steps: int
    queries: int
    seeds: int


@dataclass(frozen=True)
class CutoffSizes:
    """05_cutoffs.

    Attributes:
        images: images whose class is predicted at every cut-off.
        cutoffs: how many cut-offs, from one component to all.
    """

    images: int
    cutoffs: int


SIZES = {
    "01_spectrum": {
        "smoke": SpectrumSizes(200, 16, 400, 200, 1),
        "default": SpectrumSizes(2000, 32, 4000, 1000, 5),
        "paper": SpectrumSizes(10000, 32, 50000, 10000, 30),
    },
    "02_rct": {
        "smoke": RctSizes(8, 20, 1),
        "default": RctSizes(50, 200, 3),
        "paper": RctSizes(200, 1000, 3),
    },
    "03_occlusion": {
        "smoke": OcclusionSizes(4, 16, 50, 1),
        "default": OcclusionSizes(50, 16, 500, 3),
        "paper": OcclusionSizes(500, 16, 1000, 3),
    },
    "04_robustness": {
        "smoke": RobustnessSizes(16, 3, 20, 1),
        "default": RobustnessSizes(200, 20, 200, 3),
        "paper": RobustnessSizes(1000, 20, 1000, 3),
    },
    "05_cutoffs": {
        "smoke": CutoffSizes(200, 8),
        "default": CutoffSizes(1000, 16),
        "paper": CutoffSizes(10000, 32),
    },
}


def sizes(notebook: str, profile: str) -> object:
    """Sizes of a notebook in a profile: the dataclass that is named after it above.

    Raises:
        KeyError: `SIZES` has no such notebook or profile.
    """
    return SIZES[notebook][profile]
