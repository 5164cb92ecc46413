"""The small CLIPs that D4C is tried on, one an image tower."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from paperlib.models.clip import Tokenizer, load_clip, small_clip_name
from paperlib.runtime import device

ENCODERS = {"resnet": "ResNet", "vit": "ViT"}  # image towers, and their titles


def load_encoders(
    dataset: str, towers: Iterable[str], place: torch.device | None = None
) -> dict[str, tuple[nn.Module, Tokenizer]]:
    """CLIPs trained for a data set with their tokenizers, by image tower.

    Args:
        dataset: that they were trained for.
        towers: of `ENCODERS`.
        place: the device; that of `paperlib.runtime` if None.
    """
    clips = {tower: load_clip(small_clip_name(tower, dataset)) for tower in towers}
    place = place or device()
    return {tower: (model.to(place), tokenizer) for tower, (model, tokenizer) in clips.items()}


def other_towers(
    dataset: str, clips: Mapping[str, tuple[nn.Module, Tokenizer]]
) -> dict[str, tuple[nn.Module, Tokenizer]]:
    """For each of some encoders the CLIP with the other image tower, which judges without having
    been asked; loaded where it is not among `clips`.

    Args:
        dataset: that the CLIPs were trained for.
        clips: by encoder.
    """
    pairs = {name: next(other for other in ENCODERS if other != name) for name in clips}
    missing = load_encoders(dataset, [other for other in pairs.values() if other not in clips])
    return {name: (clips.get(other) or missing[other]) for name, other in pairs.items()}
