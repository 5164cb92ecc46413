"""Sizes of the tour."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TourSizes:
    """00_tour.

    Attributes:
        images: whose Occluded Frequency is measured.
        clip: what differs from the paper's settings of D4C (see `paperlib.d4c.settings`).
        published: whether D4C's images are those of a published set (see `paperlib.d4c.published`).
        test_images: that the quantized CLIP classifies.
    """

    images: int
    clip: Mapping[str, Any]
    published: bool
    test_images: int


CLIP = {
    "images": 16,
    "prompts": 64,
    "range_images": 16,
    "range_prompts": 8,
    "range_fractions": 12,
    "reconstruction_iterations": 0,
}
TINY = CLIP | {"images": 4, "synthesis_iterations": 2, "synthesis_batch": 4, "range_images": 2}
DEFAULT = TourSizes(3, CLIP, True, 300)
SIZES = {"00_tour": {"smoke": TourSizes(1, TINY, False, 20), "default": DEFAULT, "paper": DEFAULT}}
DATASETS = {"00_tour": ("openmoji",)}
