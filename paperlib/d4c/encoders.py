"""The CLIPs that D4C is tried on, one an image tower: small ones, or one that is named."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from paperlib.d4c.baselines import norms
from paperlib.d4c.sizes import EncoderSizes
from paperlib.models.clip import Tokenizer, load_clip, small_clip_name
from paperlib.runtime import device

ENCODERS = {"resnet": "ResNet", "vit": "ViT"}  # image towers, and their titles
Sizes = TypeVar("Sizes", bound=EncoderSizes)


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


def chosen_encoders(
    dataset: str,
    sizes: Sizes,
    model: str = "",
    weights: str = "",
    full: bool = False,
    place: torch.device | None = None,
) -> tuple[dict[str, tuple[nn.Module, Tokenizer]], Sizes]:
    """The CLIPs of a notebook by image tower, and its sizes with the settings of these.

    Args:
        dataset: that the small ones were trained for.
        sizes: of the profile, for the small ones.
        model: a CLIP in their place, as `paperlib.models.clip.load_clip` names it; its calibration
            images are made here.
        weights: of that CLIP: a file, or the folder of OpenAI's; "" looks where `load_clip` does.
        full: whether it has the paper's settings, not those of the sizes.
        place: the device; that of `paperlib.runtime` if None.

    Raises:
        ValueError: weights without a model, or a name that `load_clip` does not know.
        CheckpointError, DownloadError: as by `load_clip`.
    """
    if not model:
        if weights:
            raise ValueError(f"weights={weights!r}: name the model too, such as model='RN50'")
        return load_encoders(dataset, sizes.encoders, place), sizes
    clip, tokenizer = load_clip(model, Path(weights) if weights else None)
    tower = "resnet" if norms(clip) else "vit"
    own = sizes.encoders.get(tower, next(iter(sizes.encoders.values())))
    chosen = replace(sizes, encoders={tower: {} if full else own}, published=False)
    return {tower: (clip.to(place or device()), tokenizer)}, chosen


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
