"""The small CLIPs that D4C is tried on, one an image tower."""

from collections.abc import Iterable

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
