"""Names that the whole project shares: profiles, data sets, notebooks, and the range of a seed.

Imports the standard library alone and runs under any Python from 3.9, so that options can be
checked before anything is installed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PROFILES = ("smoke", "default", "paper")
DATASETS = {  # and their titles; which notebook takes which stands in its paper's sizes
    "openmoji": "OpenMoji",
    "cifar10": "CIFAR-10",
    "photographs": "photographs",
    "coco": "COCO",
}
LABELLED = ("openmoji", "cifar10")  # those with classes, on which networks are trained here
STANDARD_SEED = 0
LARGEST_SEED = 2**32 - 1  # the range that numpy takes


def notebooks():
    """Names of the notebooks, without extension, in their order."""
    return sorted(file.stem for file in (ROOT / "notebooks").glob("[0-9]*.py"))
