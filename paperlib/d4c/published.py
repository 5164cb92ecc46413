"""Calibration images for notebooks: of the published sets where there are, else made here.

Published sets are those that the paper's recipe made once (`paperlib.d4c.sets`, the command). They
stand in `data/d4c_sets`, as `paperlib.d4c.set_store` keeps them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.d4c.encoders import other_towers
from paperlib.d4c.methods import OPTIMISED, TITLES, calibration_images, settings_of
from paperlib.d4c.natural import FILE as SPECTRUM
from paperlib.d4c.optimiser import Part
from paperlib.d4c.semantics import told_apart
from paperlib.d4c.set_store import (
    LOSSES_EVERY,
    PICTURES,
    card_names,
    card_settings,
    load_set,
    read_card,
)
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import EncoderSizes
from paperlib.d4c.synthesis import Synthesis, draw_beginning, foregrounds, synthesise
from paperlib.d4c.tables import information_table
from paperlib.d4c.zero_shot import load_draws
from paperlib.data import LabelledImages
from paperlib.files import FileError, fingerprint
from paperlib.models.clip import Tokenizer, image_size
from paperlib.seeds import derive


def calibration_set(
    dataset: str,
    encoder: str,
    method: str,
    clip: tuple[nn.Module, Tokenizer],
    settings: Settings,
    draw: int,
    published: bool,
    data: LabelledImages | None = None,
    folder: Path | None = None,
) -> Float[Tensor, "n 3 size size"]:
    """As `calibration_images`, but what the paper's recipe made, where that is published.

    Args:
        dataset, encoder, draw: as for `load_set`.
        published: take the first `settings.images` of a set wherever the method has sets; their
            seed is their own, not that of the settings.
        method, clip, settings, data, folder: as for `calibration_images`.

    Raises:
        ValueError: a published set has fewer images than settings.images.
    """
    if not published or method not in OPTIMISED:
        return calibration_images(method, *clip, settings, data, folder)
    images = load_set(dataset, encoder, method, clip[0], draw).images
    if len(images) < settings.images:
        raise ValueError(f"images={settings.images}: set {draw} of {method} has {len(images)}")
    return images[: settings.images].to(next(clip[0].parameters()).device)


def calibration_sets(
    dataset: str,
    clips: Mapping[str, tuple[nn.Module, Tokenizer]],
    methods: Mapping[str, Sequence[str]],
    sizes: EncoderSizes,
    seed: int,
    draws: Sequence[LabelledImages | None],
    folder: Path | None = None,
) -> dict[tuple[str, int, str], Float[Tensor, "n 3 size size"]]:
    """The `calibration_set` of every encoder, draw and method.

    Args:
        dataset: of the CLIPs.
        clips: by encoder.
        methods: of each encoder; their order is that of what is returned.
        sizes: settings of each encoder, and whether published sets are taken.
        seed: of the run, from which each draw's own is derived.
        draws: real images of each, or None for methods that take none.
        folder: as for `calibration_images`.
    """
    found = {}
    for name, own in methods.items():
        for k, data in enumerate(draws):
            settings = Settings(**sizes.encoders[name], seed=derive(seed, "draw", k))
            given = clips[name], settings, k, sizes.published, data, folder
            found |= {(name, k, m): calibration_set(dataset, name, m, *given) for m in own}
    return found


def decided_by(
    dataset: str, encoder: str, method: str, draw: int, after: int | None = None
) -> tuple[str, str | None]:
    """Fingerprints of the weights that a CLIP's sets were made from, and of what a method's images
    come from: its published set, the fitted spectrum, or None of a method that has neither.

    Args:
        dataset, encoder, method, draw: as for `load_set`.
        after: iterations of the images, one of the set's snapshots; None is its last.

    Raises:
        FileError: a card of the sets is missing, or has no such set.
    """
    weights = read_card(dataset, encoder, "d4c")["weights"]
    if method == "spectrum":
        return weights, fingerprint(SPECTRUM)
    if method not in OPTIMISED:
        return weights, None
    sets = read_card(dataset, encoder, method)["sets"]
    parts = [part for about in sets[draw : draw + 1] for part in (about, *about["snapshots"])]
    kept = [part["fingerprint"] for part in parts if after in (None, part["after"])]
    if not kept:
        raise FileError(f"the card of {dataset}-{encoder}-{method} has no set {draw}, {after}")
    return weights, kept[0]


def course(
    dataset: str,
    encoder: str,
    method: str,
    clip: tuple[nn.Module, Tokenizer],
    settings: Settings,
    snapshots: Sequence[int],
    published: bool,
) -> tuple[Synthesis, int]:
    """How images of D4C or a row of its ablation come about, from the noise to the last iteration.

    Args:
        dataset, encoder, method: as for `load_set`.
        clip, settings, snapshots: of a synthesis made here, where none is published.
        published: take the first images of the first published set.

    Returns:
        The synthesis, and the number of iterations between two of its losses.
    """
    if not published:
        last = settings.synthesis_iterations
        settings, kept = settings_of(method, settings), sorted({*snapshots, last})
        return synthesise(*clip, settings, snapshots=kept), 1
    found = load_set(dataset, encoder, method, clip[0])
    about, last = found.card["sets"][0], found.card["settings"]["synthesis_iterations"]
    part, own = Part(about["seed"], about["images"]), card_settings(found.card)
    size, names = image_size(clip[0]), card_names(found.card)
    targets, boxes, noise = draw_beginning(part, len(names), size, own)
    steps = {0: noise, **found.snapshots, last: found.images}
    first = {k: images[:PICTURES] for k, images in steps.items()}
    losses = torch.tensor([found.losses])
    few = names, targets[:PICTURES], boxes[:PICTURES]
    return Synthesis(first[last], losses, first, *few), LOSSES_EVERY


def first_set_boxes(dataset: str, encoder: str, model: nn.Module) -> Int[Tensor, "n 4"]:
    """The foreground of every image of D4C's first set: top, left, height, width in pixels.

    Args:
        dataset, encoder, model: as for `load_set`.
    """
    card = read_card(dataset, encoder, "d4c")
    part = Part(card["sets"][0]["seed"], card["sets"][0]["images"])
    own, size = card_settings(card), image_size(model)
    return draw_beginning(part, len(card_names(card)), size, own)[1]


def told_of_first_sets(
    dataset: str,
    clips: Mapping[str, tuple[nn.Module, Tokenizer]],
    methods: Mapping[str, Sequence[str]],
    sizes: EncoderSizes,
    seed: int,
) -> pd.DataFrame:
    """Prompts told apart in all images of D4C's first set and in as many of each other method.

    Whole, and in the boxes that are the foreground of D4C's; the same boxes for every method.

    Args:
        dataset, clips, methods, sizes, seed: as for `calibration_sets`; `sizes` has published sets.

    Returns:
        As `paperlib.d4c.tables.information_table`, once for "whole" and once for "foreground".
    """
    judges, found = other_towers(dataset, clips), {"whole": {}, "foreground": {}}
    for name, own in methods.items():
        boxes = first_set_boxes(dataset, name, clips[name][0])
        many = replace(sizes, encoders={name: {**sizes.encoders[name], "images": len(boxes)}})
        data = load_draws(dataset, "train", len(boxes), 1, seed)
        images = calibration_sets(dataset, clips, {name: own}, many, seed, data)
        crops = {key: foregrounds(x, boxes.to(x.device)) for key, x in images.items()}
        found["whole"] |= told_apart(judges, images)
        found["foreground"] |= told_apart(judges, crops)
    tables = {what: information_table(told, len(boxes)) for what, told in found.items()}
    return pd.concat(tables, axis=1)


def iterations_in_words(
    dataset: str, encoder: str, methods: Sequence[str], settings: Settings, published: bool
) -> str:
    """How many the synthesis of each method has, in words for a claim's note.

    With τ and names of published sets where they are not the paper's and the generic ones.

    Args:
        dataset, encoder, published: as for `calibration_set`.
        methods: that have a synthesis, D4C among them.
        settings: of a synthesis made here.

    Raises:
        FileError: published sets were made with several temperatures or lists of names.
    """
    counts = dict.fromkeys(methods, settings.synthesis_iterations)
    prompted = ""
    if published:
        cards = {method: read_card(dataset, encoder, method) for method in methods}
        counts = {m: card["settings"]["synthesis_iterations"] for m, card in cards.items()}
        asked = {(c["settings"]["temperature"], c["names"]) for c in cards.values() if "names" in c}
        if len(asked) > 1:
            raise FileError(f"sets of {dataset}, {encoder}: of several τ and names: {asked}")
        ((temperature, names),) = asked
        if (temperature, names) != (Settings.temperature, "generic"):
            prompted = f", τ = {temperature:.2g}, {names} names"
    usual = max(counts.values())
    others = [f"{TITLES[m]} {count:,}" for m, count in counts.items() if count != usual]
    return ", ".join([f"{usual:,} iterations of synthesis", *others]) + prompted
