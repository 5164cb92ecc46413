"""Sizes of the notebook that draws a sweep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SweepSizes:
    """16_sweep.

    Attributes:
        table: of `data/sweeps`, without extension, that is drawn where no other is given.
    """

    table: str


ROW = SweepSizes("images")
SIZES = {"16_sweep": {"smoke": ROW, "default": ROW, "paper": ROW}}
DATASETS = {"16_sweep": ("openmoji",)}
