r"""Where sets of calibration images are kept: pictures beside a card, one card a method.

A value $x$ of a set is stored in eight bits over the set's own range,
$x \approx \mathrm{low} + (\mathrm{high} - \mathrm{low})\, c / 255$, never clipped to valid pixels.
The card (JSON) says what the sets were made from and how the first mini-batch came about. The
command `paperlib.d4c.sets` makes them, and notebooks read them by `paperlib.d4c.published`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from paperlib.d4c.optimiser import Optimised
from paperlib.d4c.prompts import NAMES
from paperlib.d4c.semantics import share_out_of_range
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import total_variation
from paperlib.files import FileError, fingerprint
from paperlib.paths import DATA

FOLDER = DATA / "d4c_sets"
DRAWS = 5  # sets of each method
PICTURES = 8  # first images of which snapshots are kept
COLUMNS = 8  # of the pictures in a file
LOSSES_EVERY = 10  # iterations between two losses that are kept


@dataclass(frozen=True)
class PublishedSet:
    """A set as it was kept.

    Attributes:
        images: in CLIP's normalised pixel space.
        snapshots: the first images after so many iterations.
        losses: of the first mini-batch, every `LOSSES_EVERY` iterations from the first.
        card: what is known of all sets of the method.
    """

    images: Float[Tensor, "n 3 size size"]
    snapshots: dict[int, Float[Tensor, "shown 3 size size"]]
    losses: list[float]
    card: Mapping[str, Any]


def load_set(
    dataset: str, encoder: str, method: str, model: nn.Module, draw: int = 0, folder: Path = FOLDER
) -> PublishedSet:
    """One of the sets of a method.

    Args:
        dataset, encoder: of the CLIP, such as "openmoji" and "resnet".
        method: "d4c", another row of the ablation, or the tower's baseline.
        model: the CLIP that they were made from.
        draw: 0 to `DRAWS` - 1.
        folder: of the pictures and cards.

    Raises:
        FileError: there is no such set, a file is damaged, or the set was made from other weights;
            with the command that makes it.
    """
    card, file = read_card(dataset, encoder, method, folder), f"{dataset}-{encoder}-{method}.json"
    again = f"make it again: {card['command']}"
    if card["weights"] != fingerprint(model):
        raise FileError(f"{folder / file}: made from other weights: {again}")
    if not 0 <= draw < len(card["sets"]):
        raise FileError(f"{folder / file}: has sets 0 to {len(card['sets']) - 1}, not {draw}")
    about = card["sets"][draw]
    kept = {
        part["after"]: decode(folder / part["file"], part, again)
        for part in (about, *about["snapshots"])
    }
    images = kept.pop(about["after"])
    return PublishedSet(images, kept, about.get("losses", []), card)


def read_card(dataset: str, encoder: str, method: str, folder: Path = FOLDER) -> dict[str, Any]:
    """What is known of the sets of a method; arguments as for `load_set`.

    Raises:
        FileError: there is no card that can be read; with the command that makes it.
    """
    file = folder / f"{dataset}-{encoder}-{method}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        make_it = command(dataset, encoder, method)
        raise FileError(f"{file}: no card that can be read: make it: {make_it}") from None


def card_settings(card: Mapping[str, Any]) -> Settings:
    """The settings that made the sets of a card; their seeds are the sets' own."""
    area = tuple(card["settings"]["foreground_area"])
    return Settings(**{**card["settings"], "foreground_area": area})


def card_names(card: Mapping[str, Any]) -> Sequence[str]:
    """The names of the prompts that D4C's sets of a card, or another row's, were made with."""
    return NAMES[card["names"]]


def command(
    dataset: str,
    encoder: str,
    method: str,
    settings: Settings | None = None,
    names: str = "generic",
    kept: int | None = None,
    shown: Sequence[int] | None = None,
) -> str:
    """That makes the sets of a method.

    Args:
        dataset, encoder, method: as for `load_set`.
        settings: the paper's if they are not given.
        names, kept, shown: as for `paperlib.d4c.sets.make`.
    """
    words = f"python -m paperlib.d4c.sets --dataset {dataset} --encoder {encoder}"
    words += f" --methods {method}"
    settings = settings or Settings()
    if settings.temperature != Settings.temperature:
        words += f" --temperature {settings.temperature}"
    words += "" if names == "generic" else f" --names {names}"
    if settings.synthesis_iterations != Settings.synthesis_iterations:
        words += f" --iterations {settings.synthesis_iterations}"
    words += " --autocast" if settings.synthesis_autocast else ""
    words += f" --images {kept}" if kept else ""
    return words + ("" if shown is None else " ".join([" --shown", *map(str, shown)]))


def trajectory(made: Optimised, batch: int) -> list[dict[str, float]]:
    """How the first mini-batch came about, at each iteration of which there is a snapshot.

    Loss before the step, standard deviation and total variation of the images after it, and the
    share of their values out of the range of an image.
    """
    rows = []
    for k, snapshot in sorted(made.snapshots.items()):
        images = snapshot[:batch].cpu()
        row = {"iteration": k, "loss": made.losses[0, k - 1], "deviation": images.std()}
        row |= {"variation": total_variation(images).mean()}
        row |= {"outside": share_out_of_range(images)}
        rows.append({name: float(f"{float(value):.6g}") for name, value in row.items()})
    return rows


def encode(images: Float[Tensor, "n 3 size size"]) -> tuple[bytes, dict[str, Any]]:
    """A file of pictures in eight bits over the images' own range, and what the card says of it."""
    x = images.detach().float().cpu()
    low, high = x.min().item(), x.max().item()
    codes = ((x - low) * (255 / ((high - low) or 1))).round().to(torch.uint8)
    file = BytesIO()
    Image.fromarray(_tiled(codes).numpy()).save(file, "PNG", optimize=True)
    return file.getvalue(), {"low": low, "high": high, "fingerprint": fingerprint(codes)}


def _tiled(codes: UInt8[Tensor, "n 3 size size"]) -> UInt8[Tensor, "height width 3"]:
    rows = -(-len(codes) // COLUMNS)
    blank = codes.new_zeros(rows * COLUMNS - len(codes), *codes.shape[1:])
    grid = torch.cat([codes, blank]).unflatten(0, (rows, COLUMNS))
    return grid.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).contiguous()


def decode(file: Path, about: Mapping[str, Any], again: str) -> Float[Tensor, "n 3 size size"]:
    """The images of a file of pictures.

    Args:
        file: that `encode` gave the content of.
        about: what `encode` gave beside it.
        again: how to make the file again, for the message of an error.

    Raises:
        FileError: the file is missing or damaged.
    """
    try:
        with Image.open(file) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    except OSError as error:
        raise FileError(f"{file}: {error.strerror or 'no picture'}: {again}") from None
    size = pixels.shape[1] // COLUMNS
    grid = pixels.unflatten(1, (COLUMNS, size)).unflatten(0, (-1, size))
    every = grid.permute(0, 2, 4, 1, 3).flatten(0, 1)
    for count in range(len(every), len(every) - COLUMNS, -1):  # the last row may not be full
        if fingerprint(every[:count]) == about["fingerprint"]:
            codes = every[:count].float()
            return about["low"] + (about["high"] - about["low"]) * codes / 255
    raise FileError(f"{file}: damaged, its content is not what the card says: {again}")
