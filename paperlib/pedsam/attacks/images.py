"""Images under attack, as each attack takes them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.data import LabelledImages
from paperlib.data.openmoji import draw_scenes, load_classes10
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.networks import CLASSIFIER_SIZE, SIZE
from paperlib.pedsam.small_sam.scenes import draw_in_parts


@dataclass(frozen=True)
class Targets:
    """Images to rebuild.

    Attributes:
        images: RGB in [0, 1], at the size the attacks work on.
        tokens: what all servers together receive in round two of the exact schedule.
    """

    images: Float[Tensor, "n 3 size size"]
    tokens: Float[Tensor, "n channels grid grid"]


def targets_of(sam: Sam, large: UInt8[Tensor, "n 3 320 320"]) -> Targets:
    """Images of 0 to 255 at SAM's input size, and the tokens that `sam`, the small one, makes."""
    return Targets(shrink(large, SIZE), second_round_tokens(sam, large))


def shrink(
    images: UInt8[Tensor, "n 3 large large"], size: int
) -> Float[Tensor, "n 3 {size} {size}"]:
    """Images of 0 to 255 averaged down to `size` pixels, in [0, 1]."""
    return F.interpolate(images.float() / 255, size=size, mode="area")


def single_scenes(split: str, count: int, seed: int) -> LabelledImages:
    """Scenes of one object of OpenMoji-10, the ten classes in turn, for the classifier."""
    classes = load_classes10()
    scenes = draw_scenes(
        split, range(count), size=CLASSIFIER_SIZE, classes=classes, seed=seed, balanced=True
    )
    names = tuple(entry.name for entry in classes)
    return LabelledImages(scenes.images, scenes.labels[:, 0], names, "OpenMoji-10 (drawn)")


def load_objects(
    count: int, seed: int
) -> tuple[Float[Tensor, "n 3 size size"], Bool[Tensor, "n size size"]]:
    """Drawn test scenes at SAM's input size, and the mask of the largest object in each."""
    parts = list(draw_in_parts("test", count, seed))
    masks = torch.cat([scenes.masks for scenes in parts])
    largest = masks.sum((2, 3)).argmax(1)
    images = torch.cat([scenes.images for scenes in parts])
    return images.float() / 255, masks[torch.arange(count), largest]
