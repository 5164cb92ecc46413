r"""Trains the attackers that learn from real photographs, and measures them on others.

    python -m paperlib.pedsam.attacks.photograph_training --photographs IMAGENET.parquet COCO ...

`paperlib.pedsam.attacks.gaussian` is fitted in minutes. Networks of
`paperlib.pedsam.attacks.photographic` are trained by `paperlib.pedsam.attacks.photograph_stage`: a
training doubles its steps, stage by stage, each stage with a learning rate that rises and falls,
until a doubling gains less than `ENOUGH` on the validation, or `--stages` are done. The card says
which, and what each has gained. The command goes on from the card that it finds, on a CPU or an
accelerator.

What takes tokens of round two starts as the U-Net that was trained without them, and goes on with
those of the small SAM; name photographs that are not tiny (10,000 squares take 12 GB). A twin goes
on alike with the tokens of other photographs, so that what tokens tell is told from what further
training gains.
"""

import argparse
import copy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int, UInt8
from torch import Tensor

from paperlib.models import command
from paperlib.models.checkpoints import load_card
from paperlib.models.sam import IMAGE, load_sam
from paperlib.pedsam.attacks import gaussian
from paperlib.pedsam.attacks.gaussian import GaussianAttacker, fit_gaussian
from paperlib.pedsam.attacks.images import shrink
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.networks import (
    ENOUGH,
    PHOTOGRAPHIC,
    SAM,
    SIZE,
    build_attack,
    checkpoint_name,
    load_attack,
)
from paperlib.pedsam.attacks.photograph_data import EVERY, POOL, load_held_out, load_squares
from paperlib.pedsam.attacks.photograph_stage import (
    PhotographRecipe,
    train_photographic,
    training_views,
    validation,
)
from paperlib.pedsam.attacks.photographic import SIDE, PhotographAttacker
from paperlib.pedsam.attacks.reconstruction import biharmonic_fill, mean_fill, rebuild
from paperlib.runtime import device, progress, set_threads
from paperlib.seeds import derive, generator

DRAWN = 128  # views of each kind, drawn once, then shared by all steps


@dataclass(frozen=True)
class GaussianRecipe:
    """Sizes of the distribution. Attributes: side: pixels; factors: eigenvectors of an axis."""

    side: int = gaussian.SIDE
    factors: int = gaussian.FACTORS


@dataclass(frozen=True)
class Material:
    """What all networks are trained and measured on.

    Attributes:
        squares: for training.
        held_out: photographs for validation.
        data, test: both in words.
        told: options, as a card's command has them.
    """

    squares: UInt8[Tensor, "n 3 large large"]
    held_out: UInt8[Tensor, "m 3 320 320"]
    data: str
    test: str
    told: argparse.Namespace

    @property
    def photographs(self) -> Float[Tensor, "m 3 size size"]:
        """Those held out, in [0, 1], at the size the attacks work on."""
        return shrink(self.held_out, SIZE)


def load_material(options: argparse.Namespace, side: int = POOL) -> Material:
    """The photographs that the options name, their squares of `side` pixels."""
    sources = options.photographs
    squares = load_squares(sources, options.seed, options.work, side)
    held_out = load_held_out(sources[0], IMAGE)
    data = f"{len(squares):,} squares of photographs: " + ", ".join(each.stem for each in sources)
    test = (
        f"{len(held_out)} photographs of {sources[0].stem}, each {EVERY}th, held out; PSNR (dB) "
        "over what one server has not seen, by number of servers; all but one: of the windows"
    )
    names = " ".join(source.name for source in sources)
    return Material(
        squares, held_out, data, test, argparse.Namespace(**vars(options) | {"photographs": names})
    )


def fit_on(material: Material, seed: int) -> None:
    """Fit the Gaussian and save it; its card has the other attacks beside it."""
    name, model, half = checkpoint_name("gaussian"), build_attack("gaussian"), GaussianAttacker()
    training = command.Training(
        __spec__.name, name, model, GaussianRecipe(), material.data, material.told
    )
    training.resume.load()
    fit_gaussian(model, material.squares)
    fit_gaussian(half, material.squares[::2])

    def measure() -> dict[str, Any]:
        attacks = {
            "": partial(rebuild, model),
            "_half_the_photographs": partial(rebuild, half),
            "_mean_fill": mean_fill,
            "_biharmonic": partial(biharmonic_fill, shrink=2),
            "_inpainting": partial(rebuild, load_attack("inpainting")),
        }
        found = {
            f"test_psnr_unseen{name}": validation(attack, material.photographs, seed)
            for name, attack in attacks.items()
        }
        return {"architecture": type(model).__name__, "test": material.test} | found

    training.finish(measure)


@dataclass(frozen=True)
class Tokens:
    """What a network with tokens of round two learns from, in place of the squares of `Material`.

    Attributes:
        squares: those and their mirror images.
        of_squares: tokens of each.
        order: numbers of squares in another order, whose tokens the twin is given; of tens of
            thousands, a few stand in their own place or by their own photograph.
        held_out: of the photographs for validation.
    """

    squares: UInt8[Tensor, "n 3 60 60"]
    of_squares: BFloat16[Tensor, "n channels tokens tokens"]
    order: Int[Tensor, " n"]
    held_out: Float[Tensor, "m channels tokens tokens"]

    def own(self, chosen: Int[Tensor, " k"]) -> BFloat16[Tensor, "k channels tokens tokens"]:
        """Of squares of these numbers."""
        return self.of_squares[chosen]

    def others(self, chosen: Int[Tensor, " k"]) -> BFloat16[Tensor, "k channels tokens tokens"]:
        """Of other squares, in `order`."""
        return self.of_squares[self.order[chosen]]


def make_tokens(material: Material, seed: int) -> Tokens:
    """Tokens of the small SAM, of squares of `IMAGE` pixels."""
    sam = load_sam(SAM).to(device())
    squares, tokens = [], []
    for part in progress(material.squares.split(64), "Tokens of the squares"):
        both = torch.cat([part, part.flip(-1)])
        squares.append((255 * shrink(both, SIDE)).round().byte())
        tokens.append(second_round_tokens(sam, both).cpu().bfloat16())
    order = torch.randperm(2 * len(material.squares), generator=generator(seed, "others"))
    held_out = second_round_tokens(sam, material.held_out)
    return Tokens(torch.cat(squares), torch.cat(tokens), order, held_out)


def train_stages(network: str, material: Material, seed: int, stages: int, folder: Path) -> None:
    """Train a network until a doubling gains little; every stage saves it with its card.

    Raises:
        ValueError: the card that is there is of another training.
    """
    recipe, name, done = PhotographRecipe(), checkpoint_name(network), []
    torch.manual_seed(derive(seed, "weights"))
    model, known, begun = build_attack(network), None, {}
    if model.tokens is None:
        model.prior.load_state_dict(load_attack("gaussian").state_dict())
    else:
        unet = load_card(checkpoint_name("unet"))
        model.load_state_dict(load_attack("unet").state_dict(), strict=False)
        known = make_tokens(material, seed)
        begun = {"sam_sha256": load_card(SAM)["sha256"], "start_sha256": unet["sha256"]}
    twin = copy.deepcopy(model)
    if (folder / f"{name}.json").is_file():
        card = load_card(name, folder)
        decides = {"recipe": asdict(recipe), "data": material.data, "seed": seed} | begun
        if differ := [key for key, value in decides.items() if card.get(key) != value]:
            raise ValueError(
                f"{folder / name}.json is of another training ({', '.join(differ)}): name another "
                "--folder"
            )
        model, done = load_attack(network, folder), card["stages"]
    model.to(device())
    photographs, views = material.photographs.to(device()), training_views(DRAWN, seed)
    squares = known.squares if known else material.squares

    def train(learner: PhotographAttacker, stage: int, steps: int, **how: Any) -> None:
        given = squares, views, recipe, steps, derive(seed, "stage", stage)
        train_photographic(learner.to(device()), *given, **how)

    for stage, each in enumerate(done if known else ()):
        train(twin, stage, each["steps"], tokens=known.others)
    while len(done) < stages and (len(done) < 2 or _last_gain(done) >= ENOUGH):
        steps = recipe.steps * 2 ** max(len(done) - 1, 0)
        training = command.Training(
            __spec__.name, name, model, recipe, material.data, material.told
        )
        tokens = known.own if known else None
        train(model, len(done), steps, resume=training.resume, tokens=tokens)
        seconds = round(training.resume.seconds)
        if known:
            train(twin, len(done), steps, tokens=known.others)

        def measure(steps: int = steps, seconds: int = seconds) -> dict[str, Any]:
            received = known.held_out if known else None
            found = validation(partial(rebuild, model, tokens=received), photographs, seed)
            done.append({"steps": steps, "seconds": seconds, "psnr_unseen": found["all"]})
            card = begun | {
                "architecture": type(model).__name__,
                "seed": seed,
                "test": material.test,
                "stages": done,
                "training_seconds": sum(each["seconds"] for each in done),
                "last_doubling_gains": round(_last_gain(done), 3) if done[1:] else None,
                "test_psnr_unseen": found,
                "test_psnr_unseen_mean_fill": validation(mean_fill, photographs, seed),
            }
            if known:
                null = partial(rebuild, twin, tokens=known.held_out.roll(1, 0))
                card["test_psnr_unseen_others_tokens"] = validation(null, photographs, seed)
            return card

        training.finish(measure)


def _last_gain(stages: list[dict[str, Any]]) -> float:
    """dB that the last stage has gained over the one before it."""
    return stages[-1]["psnr_unseen"] - stages[-2]["psnr_unseen"]


def main() -> None:
    parser = command.parser("Attackers that learn from photographs, with cards.", object, ())
    parser.add_argument("--network", choices=PHOTOGRAPHIC, nargs="+", default=list(PHOTOGRAPHIC))
    parser.add_argument(
        "--photographs",
        type=Path,
        nargs="+",
        required=True,
        help="folders, or parquet files as the hub's; every tenth of the first is held out",
    )
    parser.add_argument("--stages", type=int, default=12, help="at most (default: 12)")
    options = parser.parse_args()
    set_threads()
    for network in options.network:
        chosen = argparse.Namespace(**vars(options) | {"network": network})
        material = load_material(chosen, IMAGE if network == "unet_tokens" else POOL)
        if network == "gaussian":
            fit_on(material, options.seed)
        else:
            train_stages(network, material, options.seed, options.stages, options.folder)


if __name__ == "__main__":
    main()
