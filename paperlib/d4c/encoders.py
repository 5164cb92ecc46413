"""The CLIPs that D4C is tried on, one an image tower: small ones, or one that is named."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from paperlib.d4c.baselines import norms
from paperlib.d4c.sizes import EncoderSizes
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


@runtime_checkable
class Parameters(Protocol):
    """What a choice of CLIPs depends on, as `paperlib.notebook.run.Run` has it.

    Attributes:
        profile, dataset: names.
        sizes: those of the profile, with what was changed.
        changes: the sizes that replace those of the profile.
    """

    profile: str
    dataset: str
    sizes: EncoderSizes

    @property
    def changes(self) -> Mapping[str, Any]: ...


class Chosen(NamedTuple):
    """What a notebook measures.

    Attributes:
        clips: models with their tokenizers by image tower.
        sizes: of the profile, with the settings of these CLIPs.
        label: what a claim has to say of the model; "" for the small ones.
    """

    clips: dict[str, tuple[nn.Module, Tokenizer]]
    sizes: EncoderSizes
    label: str


def chosen_encoders(
    run: Parameters, model: str = "", weights: str = "", place: torch.device | None = None
) -> Chosen:
    """The small CLIPs of a notebook's data set, or one in their place.

    Calibration images for the latter are made here; in profile paper with the paper's settings,
    unless `run` changes those of encoders.

    Args:
        run: of the notebook.
        model: a CLIP as `paperlib.models.clip.load_clip` names it; "" takes the small ones.
        weights: of that CLIP: a file, or the folder of OpenAI's; "" looks where `load_clip` does.
        place: the device; that of `paperlib.runtime` if None.

    Raises:
        ValueError: weights without a model, or a name that `load_clip` does not know.
        CheckpointError, DownloadError: as by `load_clip`.
    """
    sizes = run.sizes
    if not model:
        if weights:
            raise ValueError(f"weights={weights!r}: name the model too, such as model='RN50'")
        return Chosen(load_encoders(run.dataset, sizes.encoders, place), sizes, "")
    clip, tokenizer = load_clip(model, Path(weights) if weights else None)
    tower = "resnet" if norms(clip) else "vit"
    own = sizes.encoders.get(tower, next(iter(sizes.encoders.values())))
    if run.profile == "paper" and not any(name.startswith("encoders") for name in run.changes):
        own = {}
    clips = {tower: (clip.to(place or device()), tokenizer)}
    label = f"{model}, {weights}" if weights else model
    return Chosen(clips, replace(sizes, encoders={tower: own}, published=False), label)


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
