"""All reconstruction attacks on the same images and views, so that they can be compared.

| attack     | what the coalition uses                                           |
|------------|-------------------------------------------------------------------|
| mean_fill  | the mean colour of the pixels that it sees                        |
| biharmonic | a smooth continuation of them                                     |
| inpainting | a network trained to rebuild images from them                     |
| inversion  | the same network, with the tokens of round two that it receives   |
| tokens     | the same network, with these tokens but without the pixels        |
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.data.openmoji import draw_scenes
from paperlib.data.photographs import load_photographs
from paperlib.models.sam import IMAGE
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.reconstruction import Rebuilder, biharmonic_fill, mean_fill, rebuild
from paperlib.pedsam.attacks.training import (
    SIZE,
    load_attack,
    second_round_tokens,
    shrink,
    unseen_scenes,
)
from paperlib.pedsam.attacks.views import to_pixels
from paperlib.pedsam.small_sam.segmentation import OBJECTS, split_classes

LEARNED = ("inpainting", "inversion", "tokens")
ATTACKS = ("mean_fill", "biharmonic", *LEARNED)


@dataclass(frozen=True)
class Targets:
    """Images under attack.

    Attributes:
        images: RGB in [0, 1], at the size the attacks work on.
        tokens: what all servers together receive in round two of the exact schedule.
        source: where the images came from, in words.
    """

    images: Float[Tensor, "n 3 size size"]
    tokens: Float[Tensor, "n channels grid grid"]
    source: str


def load_images(dataset: str, count: int, seed: int) -> tuple[UInt8[Tensor, "n 3 320 320"], str]:
    """Test images of a data set at SAM's input size, 0 to 255, and in words where they come from.

    Raises:
        ValueError: unknown data set, or too few photographs.
        FileNotFoundError: no photographs; the message says how to name a folder of them.
    """
    if dataset == "openmoji":
        return unseen_scenes(count, seed), "OpenMoji scenes (drawn)"
    if dataset == "photographs":
        return load_photographs(count, IMAGE, seed=seed), "photographs"
    raise ValueError(f"dataset {dataset!r} is unknown: valid are openmoji, photographs")


def load_targets(dataset: str, count: int, seed: int, sam: Sam) -> Targets:
    """Test images of a data set, and the tokens that `sam`, the small one, makes of them.

    Raises:
        ValueError, FileNotFoundError: as for `load_images`.
    """
    large, source = load_images(dataset, count, seed)
    return Targets(shrink(large, SIZE), second_round_tokens(sam, large), source)


def load_objects(
    count: int, seed: int
) -> tuple[Float[Tensor, "n 3 size size"], Bool[Tensor, "n size size"]]:
    """Drawn test scenes at SAM's input size, and the mask of the largest object in each."""
    classes = split_classes(held_out=True)
    scenes = draw_scenes(
        "test", range(count), size=IMAGE, classes=classes, seed=seed, objects=OBJECTS
    )
    largest = scenes.masks.sum((2, 3)).argmax(1)
    return scenes.images.float() / 255, scenes.masks[torch.arange(count), largest]


def load_networks() -> dict[str, Rebuilder]:
    """The trained networks of the learned attacks.

    Raises:
        CheckpointError: one is missing or damaged, with the command that trains it.
    """
    return {name: load_attack(name) for name in LEARNED}


def attack(
    networks: dict[str, Rebuilder], targets: Targets, views: Bool[Tensor, "n grid grid"]
) -> dict[str, Float[Tensor, "n 3 size size"]]:
    """What each of `ATTACKS` makes of the images from one view of each."""
    images, seen = targets.images, to_pixels(views, targets.images.shape[-1])
    guesses = {
        "mean_fill": mean_fill(images, seen),
        "biharmonic": biharmonic_fill(images, seen, shrink=2),
    }
    for name, network in networks.items():
        tokens = None if network.tokens is None else targets.tokens
        guesses[name] = rebuild(network, images, seen, tokens)
    return guesses


def attack_quality(
    networks: dict[str, Rebuilder], targets: Targets, views: Bool[Tensor, "n grid grid"]
) -> list[dict[str, float | str]]:
    """A row for each of `ATTACKS`: its name and the means of all measures over the images.

    See `paperlib.pedsam.attacks.measures.quality`. A view must hide something in each image.
    """
    seen = to_pixels(views, targets.images.shape[-1])
    return [
        {"attack": name}
        | {
            measure: values.mean().item()
            for measure, values in quality(targets.images, guesses, seen).items()
        }
        for name, guesses in attack(networks, targets, views).items()
    ]
