"""Loaders, one module a data set; all of the classification sets come as `LabelledImages`."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from paperlib import seeds


@dataclass(frozen=True)
class LabelledImages:
    """A split of a classification data set.

    Attributes:
        images: RGB, 0 to 255.
        labels: index into `classes`.
        classes: class names, in the order of the labels.
        source: where the images came from, in words for a table or a card.
        altered: what was done to the published pixels, such as "JPEG"; "" if they are those. What
            is measured on altered images reproduces nothing.
    """

    images: UInt8[Tensor, "n 3 height width"]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]
    source: str
    altered: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self) -> Float[Tensor, "n 3 height width"]:
        """The images as float32 in [0, 1]."""
        return self.images.float() / 255

    def to(self, device: torch.device) -> "LabelledImages":
        """The same, with images and labels on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices: Int[Tensor, " k"]) -> "LabelledImages":
        """The images at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def sample(self, count: int, seed: int) -> "LabelledImages":
        """`count` images drawn without replacement, the same for the same seed.

        Raises:
            ValueError: `count` is larger than the split.
        """
        if not 0 < count <= len(self):
            raise ValueError(f"count={count}: this split has {len(self)} images ({self.source})")
        return self.subset(seeds.draws(len(self), count, 1, seed)[0])

    def draws(self, count: int, number: int, seed: int) -> list["LabelledImages"]:
        """`number` draws of `count` images that share none where the split allows.

        See `paperlib.seeds.draws`, and `paperlib.seeds.overlap` for what they share elsewhere.

        Raises:
            ValueError: `count` is larger than the split.
        """
        return [self.subset(drawn) for drawn in seeds.draws(len(self), count, number, seed)]
