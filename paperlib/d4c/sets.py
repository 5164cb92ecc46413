"""The command that makes sets of calibration images by the paper's recipe.

The recipe takes hours of a CPU. So a set is made by a command, and notebooks read it:

    python -m paperlib.d4c.sets --dataset openmoji --encoder resnet --methods d4c bns

A set of N images has the settings of the paper's released configuration, but for what the command
is told: `--iterations`, and for D4C `--temperature` and `--names`. The first set of D4C and of the
baseline is whole, of the others the first `PART` images are kept, which are those that the whole
set would have (`paperlib.d4c.optimiser.Part`); `--images 16` makes so many of every set. The card
says how the first mini-batch came about (loss, standard deviation, total variation, values out of
range by iteration), so that a few iterations made again tell whether the code still makes this set
(`paperlib.d4c.made_again`).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.baselines import baseline_parts
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.made_again import CHECKED
from paperlib.d4c.methods import ABLATION, OPTIMISED, SYNTHESIS, settings_of
from paperlib.d4c.optimiser import Optimised, Part
from paperlib.d4c.prompts import NAMES
from paperlib.d4c.set_store import (
    DRAWS,
    FOLDER,
    LOSSES_EVERY,
    PICTURES,
    command,
    encode,
    trajectory,
)
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import synthesise_parts, temperature_of
from paperlib.files import fingerprint, write_files
from paperlib.models.clip import Tokenizer
from paperlib.runtime import device_name
from paperlib.seeds import derive

BATCH = Settings.synthesis_batch
CLIPS = {"openmoji": list(ENCODERS), "cifar10": list(ENCODERS), "tiny_imagenet": ["deep_vit"]}
PART = 32  # images of a set that is not kept whole
WHOLE = ("bns", "pse", "d4c")  # methods whose first set is
RECORDED = (*CHECKED, 100, 250, 434, 1_000, 2_000, 3_000)
SHOWN = (100, 1_000)  # iterations after which the first images are kept too
NOT_IN_CARD = ("seed", "perturbation")  # one a set; always that of `Settings`


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
    kept: int | None = None,
    names: str = "generic",
    shown: Sequence[int] | None = None,
) -> list[Float[Tensor, "n 3 size size"]]:
    """Make the sets of a method and write them with their card.

    Args:
        dataset, encoder, method: as for `paperlib.d4c.set_store.load_set`; they name the files.
        clip: the CLIP and its tokenizer.
        settings: of a whole set; its seed is not used.
        folder: of the pictures and cards.
        draws: how many sets.
        together: mini-batches that share a pass through the network.
        checkpoint: as for `synthesise`.
        kept: images of every set, whole mini-batches; without it as the module says.
        names: of the prompts, a key of `paperlib.d4c.prompts.NAMES`; BNS and PSE take none.
        shown: iterations after which the first images of the first set are kept too; `SHOWN` if
            None.

    Returns:
        The sets before they were rounded to eight bits.
    """
    model, tokenizer = clip
    usual = [settings.images if k == 0 and method in WHOLE else PART for k in range(draws)]
    counts = [min(kept or n, settings.images) for n in usual]
    parts = [Part(derive(0, "draw", k), n) for k, n in enumerate(counts)]
    last = settings.synthesis_iterations
    snapshots = SHOWN if shown is None else tuple(shown)
    recorded = sorted({*(k for k in (*RECORDED, *snapshots) if k < last), last})
    given = {"checkpoint": checkpoint, "snapshots": recorded, "together": together}
    titles, prompted = {"dataset": dataset, "encoder": encoder, "method": method}, {}
    if method in ABLATION:
        settings, prompted = settings_of(method, settings), {"names": names}
        done = synthesise_parts(model, tokenizer, settings, parts, NAMES[names], **given)
    else:  # neither has a temperature or names
        settings, names = replace(settings, temperature=Settings.temperature), "generic"
        whole = baseline_parts(method, model, settings, parts, **given)
        done = whole.split(parts, settings.synthesis_batch)
    pictures, sets = encode_sets("-".join(titles.values()), parts, done, last, snapshots)
    card = {**titles, **prompted, **made_from(model, settings)}
    card |= {"command": command(*titles.values(), settings, names, kept, shown)}
    card |= {"trajectory": trajectory(done[0], settings.synthesis_batch), "sets": sets}
    write_sets(folder, pictures, card)
    return [one.images for one in done]


def encode_sets(
    stem: str,
    parts: Sequence[Part],
    done: Sequence[Optimised],
    last: int,
    shown: Sequence[int] = SHOWN,
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Files of pictures by name, and what the card says of each set.

    Args:
        stem: how the files' names begin.
        parts, done: the sets, and how they came about.
        last: iterations of the synthesis.
        shown: as for `make`.

    Returns:
        A file a set, and of the first set one of its first images after each of the iterations
        `shown` too; a row a set.
    """
    files, rows = {}, []
    for number, (part, one) in enumerate(zip(parts, done, strict=True)):
        file = f"{stem}-{number}.png"
        files[file], entry = encode(one.images)
        row = {"seed": part.seed, "images": part.images, "file": file}
        row |= {"after": last, **entry, "snapshots": []}
        if number == 0:
            row["losses"] = [float(f"{x:.5g}") for x in one.losses[0, ::LOSSES_EVERY].tolist()]
            for k in (k for k in shown if k in one.snapshots and k < last):
                file = f"{stem}-{number}-after{k}.png"
                files[file], entry = encode(one.snapshots[k][:PICTURES])
                row["snapshots"].append({"after": k, "file": file, **entry})
        rows.append(row)
    return files, rows


def made_from(model: nn.Module, settings: Settings) -> dict[str, Any]:
    """What the card says of settings, weights, device and torch."""
    ours = {
        name: value
        for name, value in asdict(settings).items()
        if name.startswith(SYNTHESIS) and name not in NOT_IN_CARD
    }
    versions = {"device": device_name(), "torch": torch.__version__}
    return {"settings": ours, "weights": fingerprint(model), **versions}


def write_sets(folder: Path, pictures: dict[str, bytes], card: dict[str, Any]) -> None:
    """Write files of pictures, by name, with their card, all or none."""
    file = "{dataset}-{encoder}-{method}.json".format_map(card)
    contents = {folder / name: content for name, content in pictures.items()}
    write_files(contents | {folder / file: (json.dumps(card, indent=1) + "\n").encode()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=list(CLIPS), required=True, help="of the CLIP")
    towers = sorted({tower for of in CLIPS.values() for tower in of})
    parser.add_argument("--encoder", choices=towers, required=True)
    parser.add_argument("--methods", nargs="+", choices=OPTIMISED, required=True)
    parser.add_argument("--temperature", default=str(Settings.temperature), help="a number or own")
    parser.add_argument("--names", choices=NAMES, default="generic", help="of the prompts")
    parser.add_argument("--iterations", type=int, default=Settings.synthesis_iterations)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--images", type=int, help="of every set (default: a whole one, then 32)")
    parser.add_argument("--shown", nargs="*", type=int, help="iterations that are kept too")
    parser.add_argument("--autocast", action="store_true", help="in bfloat16: faster on some CPUs")
    parser.add_argument("--together", type=int, default=1, help="mini-batches a pass: 16 for a GPU")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, help="folder that keeps an interrupted synthesis")
    options = parser.parse_args()
    if options.images not in {None, *range(BATCH, Settings.images + 1, BATCH)}:
        valid = f"multiples of {BATCH}, a mini-batch, up to {Settings.images} are valid"
        parser.error(f"--images {options.images}: {valid}")
    if options.encoder not in CLIPS[options.dataset]:
        parser.error(f"{options.dataset} has CLIPs with {', '.join(CLIPS[options.dataset])}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clip = load_encoders(options.dataset, [options.encoder])[options.encoder]
    try:
        settings = Settings(
            temperature=temperature_of(options.temperature, clip[0]),
            synthesis_iterations=options.iterations,
            synthesis_autocast=options.autocast,
        )
    except ValueError as error:
        parser.error(str(error))
    for method in options.methods:
        unfinished = options.work and options.work / f"{options.encoder}-{method}.pt"
        given = options.folder, options.draws, options.together, unfinished, options.images
        words = options.names, options.shown
        make(options.dataset, options.encoder, method, clip, settings, *given, *words)
        print(f"{options.dataset}-{options.encoder}-{method}: {options.folder}", flush=True)


if __name__ == "__main__":
    main()
