"""Every size that a notebook uses, a profile each; nothing else decides a size.

They stand in ``sizes.py`` of each paper's package, so that a change runs its notebooks alone again.

- ``smoke``: for developing, each notebook under 20 seconds;
- ``default``: what the committed notebooks and figures show, and what the tests execute;
- ``paper``: real data, and more of it.

A notebook reads them as ``run.sizes.images``.
"""

from typing import Any

from paperlib.d4c import sizes as d4c
from paperlib.freq import sizes as freq
from paperlib.pedsam import sizes as pedsam

PROFILES = ("smoke", "default", "paper")
DATASETS = ("openmoji", "cifar10", "photographs", "coco")  # which notebook takes which: graph.yaml
STANDARD_SEED = 0
SIZES: dict[str, dict[str, Any]] = freq.SIZES | pedsam.SIZES | d4c.SIZES


def sizes(notebook: str, profile: str) -> Any:
    """Sizes of a notebook in a profile: an instance of the dataclass that is named after it.

    Raises:
        KeyError: `SIZES` has no such notebook or profile.
    """
    return SIZES[notebook][profile]
