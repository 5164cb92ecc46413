r"""Trains the attackers of `paperlib.pedsam.attacks.photographic` on real photographs.

    python -m paperlib.pedsam.attacks.photograph_training --photographs IMAGENET.parquet COCO ...

What is minimised is what they are judged by, the PSNR over the unseen pixels $U_i$ of picture $i$,

$$-\mathrm{PSNR} = \frac1n \sum_i 10 \log_{10} \frac{1}{3|U_i|} \sum_{p \in U_i}
\lVert x_{ip} - \hat x_{ip} \rVert^2,$$

over views of one server, or of several, of 2, 4, 8 and 16 under all assignments. A training doubles
its steps, stage by stage, each stage with a learning rate that rises and falls, until a doubling
gains less than `ENOUGH` on the validation, or `--stages` are done: the card says which, and what
each has gained. The command goes on from the card that it finds, on a CPU or an accelerator.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.models import command
from paperlib.models.checkpoints import load_card
from paperlib.models.resume import Resume
from paperlib.models.training import adamw, batch, fit
from paperlib.pedsam.attacks.images import shrink
from paperlib.pedsam.attacks.networks import (
    GRID,
    PHOTOGRAPHIC,
    SIZE,
    build_attack,
    checkpoint_name,
    load_attack,
)
from paperlib.pedsam.attacks.photograph_data import EVERY, load_held_out, load_squares
from paperlib.pedsam.attacks.photographic import SIDE, PhotographAttacker
from paperlib.pedsam.attacks.reconstruction import mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_mixed_views, draw_views, to_pixels
from paperlib.pedsam.split.partition import KINDS, SERVERS, WindowGrid
from paperlib.runtime import device, set_threads
from paperlib.seeds import derive

Attack = Callable[[Tensor, Tensor], Tensor]
ENOUGH = 0.05  # dB: a doubling that gains less ends the training
OTHER_GRID = WindowGrid(GRID.tokens, 4)  # 5 × 5 windows, as ViT-B has
DRAWN = 128  # views of each kind, drawn once, then shared by all steps
FILLING = (123.675 / 255, 116.28 / 255, 103.53 / 255)  # what SAM's filling to a square looks like
FILLED = 1 / 4  # share of the training pictures that are not square


@dataclass(frozen=True)
class PhotographRecipe:
    """Hyper-parameters: AdamW, gradients clipped to a norm of 1, mirror images, shifts.

    Attributes:
        steps: of the first stage; the second has as many, and each one after it twice as many.
        learning_rate: at the peak of a stage.
        batch_size: pictures a step.
        weight_decay: of AdamW.
    """

    steps: int = 250
    learning_rate: float = 1e-3
    batch_size: int = 32
    weight_decay: float = 0.01


def training_views(drawn: int, seed: int) -> Bool[Tensor, "views tokens tokens"]:
    """Views of one server of each number under each assignment, `drawn` of each; a quarter as many
    with 5 × 5 windows; and half as many, in all, of coalitions of all sizes."""
    views = []
    for grid, count in ((GRID, drawn), (OTHER_GRID, drawn // 4)):
        for kind in KINDS:
            for k in SERVERS:
                views.append(draw_views(grid, kind, k, 1, count, derive(seed, kind, k)))
    views.append(draw_mixed_views(GRID, SERVERS, len(views) * drawn // 4, derive(seed, "mixed")))
    return torch.cat(views)


def varied(
    squares: UInt8[Tensor, "n 3 large large"], views: Bool[Tensor, "n tokens tokens"]
) -> tuple[Float[Tensor, "n 3 60 60"], Bool[Tensor, "n 60 60"]]:
    """Pictures and what is seen of them: shifted, mirrored, and some of them not square.

    What fills a picture up to the square, at the right or at the bottom, everybody knows.
    """
    n, place = len(squares), squares.device
    top, left = torch.randint(squares.shape[-1] - SIDE + 1, (2,)).tolist()
    images = squares[:, :, top : top + SIDE, left : left + SIDE].float() / 255
    turned = torch.rand(n, 1, 1, 1) < 0.5
    images = torch.where(turned.to(place), images.flip(-1), images)
    ends = (SIDE * (0.4 + 0.6 * torch.rand(n))).round()
    ends = torch.where(torch.rand(n) < FILLED, ends, SIDE)
    beyond = torch.arange(SIDE) >= ends[:, None]  # (n, 60)
    right = torch.rand(n, 1, 1) < 0.5
    filling = torch.where(right, beyond[:, None, :], beyond[:, :, None]).to(place)
    grey = images.new_tensor(FILLING).view(3, 1, 1)
    return torch.where(filling[:, None], grey, images), to_pixels(views, SIDE) | filling


def negative_psnr(
    images: Float[Tensor, "n 3 size size"],
    guesses: Float[Tensor, "n 3 size size"],
    seen: Bool[Tensor, "n size size"],
) -> Float[Tensor, ""]:
    """See the equation above; a picture of which all is seen does not count."""
    hidden = ~seen[:, None]
    squares = ((images - guesses).square() * hidden).mean(1).sum((1, 2))
    number = hidden.sum((1, 2, 3))
    errors = squares[number > 0] / number[number > 0]
    return 10 * (errors + 1e-4).log10().mean()


def train_photographic(
    model: PhotographAttacker,
    squares: UInt8[Tensor, "n 3 large large"],
    views: Bool[Tensor, "views tokens tokens"],
    recipe: PhotographRecipe,
    steps: int,
    seed: int,
    resume: Resume | None = None,
) -> PhotographAttacker:
    """One stage of the training, on the model's device, in bfloat16."""
    place = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)
    optimiser = adamw(list(model.parameters()), recipe.learning_rate, recipe.weight_decay)
    on_cpu = place.type == "cpu"
    kernels = [SDPBackend.MATH] if on_cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]

    def loss(step: int) -> Tensor:
        chosen = batch(len(squares), recipe.batch_size, step, seed)
        drawn = torch.randint(len(views), (recipe.batch_size,))
        images, seen = varied(squares[chosen].to(place), views[drawn].to(place))
        with sdpa_kernel(kernels), torch.autocast(place.type, torch.bfloat16):
            guesses = model(images, seen)
        return negative_psnr(images, guesses.float(), seen)

    return fit(model, loss, [optimiser], steps, seed, 0.1, clip=1.0, resume=resume)


@torch.no_grad()
def validation(
    attack: Attack, photographs: Float[Tensor, "n 3 size size"], seed: int
) -> dict[str, float]:
    """PSNR (dB) over the unseen pixels of one server's view, by number of servers and of all.

    Means over the photographs and the assignments.

    Args:
        attack: makes the guesses from photographs and what is seen of them.
        photographs: in [0, 1].
        seed: of the views.
    """
    found = {}
    for k in SERVERS:
        values = []
        for kind in KINDS:
            views = draw_views(GRID, kind, k, 1, len(photographs), derive(seed, "validation", kind))
            seen = to_pixels(views, photographs.shape[-1]).to(photographs.device)
            hidden = ~seen[:, None]
            squares = (photographs - attack(photographs, seen)).square() * hidden
            errors = squares.mean(1).sum((1, 2)) / hidden.sum((1, 2, 3))
            values.append(-10 * errors.log10())
        found[str(k)] = torch.cat(values).mean().item()
    return found | {"all": sum(found.values()) / len(found)}


def train_stages(network: str, options: argparse.Namespace) -> None:
    """Train a network until a doubling gains little; every stage writes it with its card.

    Raises:
        ValueError: the card that is there is of another training.
    """
    seed, recipe, name = options.seed, PhotographRecipe(), checkpoint_name(network)
    held_out, seed_of_views = options.photographs[0], derive(seed, "views")
    squares = load_squares(options.photographs, seed, options.work)
    photographs = shrink(load_held_out(held_out, 2 * SIZE), SIZE).to(device())
    views = training_views(DRAWN, seed_of_views)
    torch.manual_seed(derive(seed, "weights"))
    names = ", ".join(source.stem for source in options.photographs)
    data = f"{len(squares):,} squares of photographs of {names}"
    sources = " ".join(source.name for source in options.photographs)
    told = argparse.Namespace(**vars(options) | {"photographs": sources})
    model, stages = build_attack(network), []
    if (options.folder / f"{name}.json").is_file():
        card = load_card(name, options.folder)
        if (card["recipe"], card["data"], card["seed"]) != (asdict(recipe), data, seed):
            raise ValueError(
                f"{options.folder / name}.json is of another training (recipe, data or seed): name "
                "another --folder"
            )
        model, stages = load_attack(network, options.folder), card["stages"]
    model.to(device())
    while len(stages) < options.stages and (len(stages) < 2 or _last_gain(stages) >= ENOUGH):
        steps = recipe.steps * 2 ** max(len(stages) - 1, 0)
        training = command.Training(__spec__.name, name, model, recipe, data, told)
        stage = derive(seed, "stage", len(stages))
        train_photographic(model, squares, views, recipe, steps, stage, training.resume)
        seconds = training.resume.seconds

        def measure() -> dict[str, Any]:
            guess = partial(rebuild, model)
            found = {"mean fill": validation(mean_fill, photographs, seed)}
            found["network"] = validation(guess, photographs, seed)
            found = {who: {k: round(v, 3) for k, v in each.items()} for who, each in found.items()}
            total = sum(each["steps"] for each in stages) + steps
            stages.append(
                {"steps": steps, "in_all": total, "seconds": round(seconds)}
                | {"psnr_unseen": found["network"]["all"]}
            )
            return {
                "architecture": type(model).__name__,
                "seed": seed,
                "views": f"one server, and coalitions, of {SERVERS}, all assignments",
                "test": f"{len(photographs)} photographs of {held_out.stem}, every {EVERY}th, held "
                "out; views of one server, dB over unseen pixels, by number of servers",
                "stages": stages,
                "last_doubling_gains": round(_last_gain(stages), 3) if stages[1:] else None,
                "test_psnr_unseen": found["network"],
                "test_psnr_unseen_mean_fill": found["mean fill"],
            }

        training.finish(measure)


def _last_gain(stages: list[dict[str, Any]]) -> float:
    """dB that the last stage has gained over the one before it."""
    return stages[-1]["psnr_unseen"] - stages[-2]["psnr_unseen"]


def main() -> None:
    parser = command.parser("Train attackers on photographs, with cards.", PhotographRecipe, ())
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
        train_stages(network, argparse.Namespace(**vars(options) | {"network": network}))


if __name__ == "__main__":
    main()
