r"""Sets of calibration images that the paper's recipe made once, kept as pictures beside a card.

The recipe takes hours of a CPU. So a set is made by a command, and notebooks read it:

    python -m paperlib.d4c.sets --dataset openmoji --encoder resnet --methods d4c bns

A set of N images has the settings of the paper's released configuration. The first set of D4C and
of the baseline is whole, of the others the first `PART` images are kept, which are those that the
whole set would have (`paperlib.d4c.synthesis.Part`). A value $x$ of a set is stored in eight bits
over the set's own range, $x \approx \mathrm{low} + (\mathrm{high} - \mathrm{low})\, c / 255$, never
clipped to valid pixels. The card says how the first mini-batch came about (loss, standard
deviation, total variation, values out of range by iteration), so that a few iterations made again
tell whether the code still makes this set (`beside_the_card`).
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from paperlib.d4c.baselines import baseline_parts
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.methods import ABLATION, SYNTHESIS, TITLES, calibration_images, settings_of
from paperlib.d4c.prompts import GENERIC_NAMES
from paperlib.d4c.semantics import share_out_of_range
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import (
    Optimised,
    Part,
    Synthesis,
    draw_beginning,
    synthesise,
    synthesise_parts,
    total_variation,
)
from paperlib.data import LabelledImages
from paperlib.files import FileError, fingerprint, write_files
from paperlib.models.clip import Tokenizer, image_size
from paperlib.paths import DATA
from paperlib.seeds import derive

FOLDER = DATA / "d4c_sets"
DRAWS = 5  # sets of each method
PART = 32  # images of a set that is not kept whole
WHOLE = ("bns", "pse", "d4c")  # methods whose first set is
CHECKED = (10, 25, 50)  # iterations that are made again to compare
RECORDED = (*CHECKED, 100, 250, 434, 1_000, 2_000, 3_000)
SHOWN = (100, 1_000)  # iterations after which the first images are kept too
PICTURES = 8  # so many of them
COLUMNS = 8  # of the pictures in a file
LOSSES_EVERY = 10  # iterations between two losses that are kept
NOT_IN_CARD = ("seed", "perturbation")  # one a set; always that of `Settings`
# Relative, of what is made again. Rounding on another device moves single losses most: that of one
# ResNet by 3.1 % at iteration 50, its deviation and variation by less than one.
TOLERANCE = {"loss": 0.1, "deviation": 0.03, "variation": 0.03}


@dataclass(frozen=True)
class PublishedSet:
    """A set as it was kept.

    Attributes:
        images: in CLIP's normalised pixel space.
        snapshots: the first images after so many iterations.
        losses: of the first mini-batch, every `LOSSES_EVERY` iterations from the first.
        card: what `make` wrote of all sets of the method.
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

    Raises:
        FileError: there is no such set, a file is damaged, or the set was made from other weights;
            with the command that makes it.
    """
    stem = f"{dataset}-{encoder}-{method}"
    card = _card(folder / f"{stem}.json", dataset, encoder, method)
    again = f"make it again: {card['command']}"
    if card["weights"] != fingerprint(model):
        raise FileError(f"{folder / stem}.json: made from other weights: {again}")
    if not 0 <= draw < len(card["sets"]):
        raise FileError(f"{folder / stem}.json: has sets 0 to {len(card['sets']) - 1}, not {draw}")
    about = card["sets"][draw]
    kept = {
        part["after"]: _decode(folder / part["file"], part, again)
        for part in (about, *about["snapshots"])
    }
    images = kept.pop(about["after"])
    return PublishedSet(images, kept, about.get("losses", []), card)


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
    if not published or method not in (*ABLATION, "bns", "pse"):
        return calibration_images(method, *clip, settings, data, folder)
    images = load_set(dataset, encoder, method, clip[0], draw).images
    if len(images) < settings.images:
        raise ValueError(f"images={settings.images}: set {draw} of {method} has {len(images)}")
    return images[: settings.images].to(next(clip[0].parameters()).device)


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
    part, size = Part(about["seed"], about["images"]), image_size(clip[0])
    targets, boxes, noise = draw_beginning(part, len(GENERIC_NAMES), size, _settings(found.card))
    steps = {0: noise, **found.snapshots, last: found.images}
    first = {k: images[:PICTURES] for k, images in steps.items()}
    losses = torch.tensor([found.losses])
    few = targets[:PICTURES], boxes[:PICTURES]
    return Synthesis(first[last], losses, first, *few), LOSSES_EVERY


def iterations_in_words(
    dataset: str, encoder: str, methods: Sequence[str], settings: Settings, published: bool
) -> str:
    """How many the synthesis of each method has, in words for a claim's note.

    Args:
        dataset, encoder, published: as for `calibration_set`.
        methods: that have a synthesis.
        settings: of a synthesis made here.
    """
    counts = dict.fromkeys(methods, settings.synthesis_iterations)
    if published:
        cards = {m: f"{dataset}-{encoder}-{m}.json" for m in methods}
        found = {m: _card(FOLDER / cards[m], dataset, encoder, m)["settings"] for m in methods}
        counts = {method: found[method]["synthesis_iterations"] for method in methods}
    usual = max(counts.values())
    others = [f"{TITLES[m]} {count:,}" for m, count in counts.items() if count != usual]
    return ", ".join([f"{usual:,} iterations of synthesis", *others])


def _settings(card: Mapping[str, Any]) -> Settings:
    area = tuple(card["settings"]["foreground_area"])
    return Settings(**{**card["settings"], "foreground_area": area})


def make(
    dataset: str,
    encoder: str,
    method: str,
    clip: tuple[nn.Module, Tokenizer],
    settings: Settings,
    folder: Path = FOLDER,
    draws: int = DRAWS,
    together: int = 1,
    checkpoint: Path | None = None,
) -> list[Float[Tensor, "n 3 size size"]]:
    """Make the sets of a method and write them with their card.

    Args:
        dataset, encoder, method: as for `load_set`; they name the files.
        clip: the CLIP and its tokenizer.
        settings: of a whole set; its seed is not used.
        draws: how many sets.
        together: mini-batches that share a pass through the network.
        checkpoint: as for `synthesise`.

    Returns:
        The sets before they were rounded to eight bits.
    """
    model, tokenizer = clip
    counts = [settings.images if k == 0 and method in WHOLE else PART for k in range(draws)]
    parts = [Part(derive(0, "draw", k), min(n, settings.images)) for k, n in enumerate(counts)]
    last = settings.synthesis_iterations
    recorded = sorted({*(k for k in RECORDED if k < last), last})
    given = {"checkpoint": checkpoint, "snapshots": recorded, "together": together}
    if method in ABLATION:
        settings = settings_of(method, settings)
        done = synthesise_parts(model, tokenizer, settings, parts, **given)
    else:
        whole = baseline_parts(method, model, settings, parts, **given)
        done = whole.split(parts, settings.synthesis_batch)
    stem, files, about = f"{dataset}-{encoder}-{method}", {}, []
    for number, (part, one) in enumerate(zip(parts, done, strict=True)):
        files[f"{stem}-{number}.png"], entry = encode(one.images)
        row = {"seed": part.seed, "images": part.images, "file": f"{stem}-{number}.png"}
        row |= {"after": last, **entry, "snapshots": []}
        if number == 0:
            row["losses"] = [float(f"{x:.5g}") for x in one.losses[0, ::LOSSES_EVERY].tolist()]
            for k in (k for k in SHOWN if k in one.snapshots and k < last):
                name = f"{stem}-{number}-after{k}.png"
                files[name], entry = encode(one.snapshots[k][:PICTURES])
                row["snapshots"].append({"after": k, "file": name, **entry})
        about.append(row)
    place = next(model.parameters()).device
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "CPU"
    decides = [name for name in asdict(settings) if name.startswith(SYNTHESIS)]
    ours = {name: asdict(settings)[name] for name in decides if name not in NOT_IN_CARD}
    card = {"dataset": dataset, "encoder": encoder, "method": method, "settings": ours}
    card |= {"weights": fingerprint(model), "device": name, "torch": torch.__version__}
    card |= {"command": command(*stem.split("-"), settings)}
    card |= {"trajectory": trajectory(done[0], settings.synthesis_batch), "sets": about}
    text = json.dumps(card, indent=1) + "\n"
    contents = {folder / name: content for name, content in files.items()}
    write_files(contents | {folder / f"{stem}.json": text.encode()})
    return [one.images for one in done]


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


def beside_the_card(
    clip: tuple[nn.Module, Tokenizer], published: PublishedSet, settings: Settings | None = None
) -> pd.DataFrame:
    """The first mini-batch of a set of D4C made again for a few iterations, beside its card.

    Args:
        settings: other than the card's, to see that they are noticed.

    Returns:
        A row for each of the iterations `CHECKED` and what `trajectory` has, and for the loss of
        the first one: the card's value, the value now, their relative difference.

    Raises:
        ValueError: a difference is beyond `TOLERANCE`: the code or the settings are not those that
            made the set.
    """
    card = published.card
    few = {"synthesis_iterations": max(CHECKED), "perturbation": Settings.perturbation}
    short = settings_of(card["method"], replace(settings or _settings(card), **few))
    part = Part(card["sets"][0]["seed"], short.synthesis_batch)
    (now,) = synthesise_parts(*clip, short, [part], snapshots=CHECKED)
    pairs = {"card": card["trajectory"], "now": trajectory(now, short.synthesis_batch)}
    tables = {name: pd.DataFrame(rows).set_index("iteration") for name, rows in pairs.items()}
    both = {k: table.loc[list(CHECKED), [*TOLERANCE]].stack() for k, table in tables.items()}
    both = pd.DataFrame(both)
    both.loc[(1, "loss"), :] = published.losses[0], now.losses[0, 0].item()
    both = both.sort_index(kind="stable").rename_axis(["iteration", "what"])
    both["difference"] = both.now / both.card - 1
    allowed = [0.01 if k == 1 else TOLERANCE[what] for k, what in both.index]  # 1: of the noise
    if (both.difference.abs() > allowed).any():
        raise ValueError(
            f"{card['command']}: made again, the first images differ from the card: the code or "
            f"the settings are others\n{both}"
        )
    return both


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


def _decode(file: Path, about: Mapping[str, Any], again: str) -> Float[Tensor, "n 3 size size"]:
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


def _card(file: Path, dataset: str, encoder: str, method: str) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        make_it = command(dataset, encoder, method)
        raise FileError(f"{file}: no card that can be read: make it: {make_it}") from None


def command(dataset: str, encoder: str, method: str, settings: Settings | None = None) -> str:
    """That makes the sets of a method."""
    words = f"python -m paperlib.d4c.sets --dataset {dataset} --encoder {encoder}"
    words += f" --methods {method}"
    if settings and settings.temperature != Settings.temperature:
        words += f" --temperature {settings.temperature}"
    if settings and settings.synthesis_iterations != Settings.synthesis_iterations:
        words += f" --iterations {settings.synthesis_iterations}"
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=["openmoji", "cifar10"], required=True)
    parser.add_argument("--encoder", choices=["resnet", "vit"], required=True)
    parser.add_argument("--methods", nargs="+", choices=[*ABLATION, "bns", "pse"], required=True)
    parser.add_argument("--temperature", type=float, default=Settings.temperature)
    parser.add_argument("--iterations", type=int, default=Settings.synthesis_iterations)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--together", type=int, default=1, help="mini-batches a pass: 16 for a GPU")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, help="folder that keeps an interrupted synthesis")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clip = load_encoders(options.dataset, [options.encoder])[options.encoder]
    changes = {"temperature": options.temperature, "synthesis_iterations": options.iterations}
    settings = Settings(**changes)
    for method in options.methods:
        unfinished = options.work and options.work / f"{options.encoder}-{method}.pt"
        given = options.folder, options.draws, options.together, unfinished
        make(options.dataset, options.encoder, method, clip, settings, *given)
        print(f"{options.dataset}-{options.encoder}-{method}: {options.folder}", flush=True)


if __name__ == "__main__":
    main()
