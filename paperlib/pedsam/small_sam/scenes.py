"""Images for the small SAM: drawn scenes of classes to train on and of others, and photographs.

Every fifth class of OpenMoji is kept from all training. Test images come in several draws, so that
a measure has a spread: drawn scenes of two draws share nothing; those of a folder of photographs
share nothing where it has enough of them, and else as little as can be.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from paperlib.data.openmoji import SceneClass, Scenes, draw_scenes, load_classes
from paperlib.data.photographs import find_photographs, load_photographs
from paperlib.models.sam import IMAGE
from paperlib.runtime import progress
from paperlib.seeds import derive, draws, overlap

HELD_OUT = 5  # every fifth class is kept from training
OBJECTS = (1, 2)  # in a scene
CROWDED = (1, 4)  # in one to train on; they are smaller
CHUNK = 64  # scenes drawn at a time, which bounds the memory
DRAWN = "OpenMoji scenes (drawn)"


@dataclass(frozen=True)
class Draws:
    """Draws of test images.

    Attributes:
        images: of each draw.
        source: where they came from, in words.
        scale: how many, in words; and what share of a draw stands in another one too, if any does.
    """

    images: list[Any]
    source: str
    scale: str


def split_classes(held_out: bool) -> tuple[SceneClass, ...]:
    """The OpenMoji classes that the small SAM is trained on, or those that it has never seen."""
    return tuple(
        entry
        for k, entry in enumerate(load_classes())
        if (k % HELD_OUT == HELD_OUT - 1) == held_out
    )


def draw_in_parts(
    split: str, count: int, seed: int, size: int = IMAGE, objects: tuple[int, int] = OBJECTS
) -> Iterator[Scenes]:
    """`count` scenes, `CHUNK` at a time: of split "test" with classes that no training has seen."""
    classes = split_classes(held_out=split == "test")
    for start in progress(range(0, count, CHUNK), "drawing scenes"):
        part = range(start, min(start + CHUNK, count))
        yield draw_scenes(split, part, size=size, classes=classes, seed=seed, objects=objects)


def unseen_scenes(count: int, seed: int) -> UInt8[Tensor, "count 3 320 320"]:
    """Test scenes at SAM's input size, of classes that no training has seen."""
    return torch.cat([scenes.images for scenes in draw_in_parts("test", count, seed)])


def load_draws(dataset: str, count: int, number: int, seed: int) -> Draws:
    """`number` draws of `count` test images at SAM's input size, RGB, 0 to 255.

    Raises:
        ValueError: unknown data set, or too few photographs for one draw.
        FileNotFoundError: no photographs; the message says how to name a folder of them.
    """
    if dataset == "openmoji":
        drawn = [unseen_scenes(count, derive(seed, "scenes", k)) for k in range(number)]
        return Draws(drawn, DRAWN, scale(count, number))
    if dataset != "photographs":
        raise ValueError(f"dataset {dataset!r} is unknown: valid are openmoji, photographs")
    pool = max(count, min(number * count, len(find_photographs())))
    images = load_photographs(pool, IMAGE, seed=derive(seed, "photographs"))
    chosen = [images[order] for order in draws(pool, count, number, seed)]
    return Draws(chosen, "photographs", scale(count, number, overlap(pool, count, number)))


def scale(count: int, number: int, shared: float = 0.0) -> str:
    """How much is measured, in words."""
    words = f"{count} image{'s' * (count > 1)}"
    words += f", {number} draws" if number > 1 else ""
    return f"{words} that share {100 * shared:.0f} %" if shared else words
