r"""Trains the attackers that learn from real photographs, and measures them on others.

    python -m paperlib.pedsam.attacks.photograph_training --photographs IMAGENET.parquet COCO ...

`paperlib.pedsam.attacks.gaussian` is fitted in minutes. What the networks of
`paperlib.pedsam.attacks.photographic` minimise is what they are judged by, the PSNR over the unseen
pixels $U_i$ of picture $i$,

$$-\mathrm{PSNR} = \frac1n \sum_i 10 \log_{10} \frac{1}{3|U_i|} \sum_{p \in U_i}
\lVert x_{ip} - \hat x_{ip} \rVert^2,$$

over views of one server, or of several, of 2, 4, 8 and 16 under all assignments. A training doubles
its steps, stage by stage, each stage with a learning rate that rises and falls, until a doubling
gains less than `ENOUGH` on the validation, or `--stages` are done: the card says which, and what
each has gained. The command goes on from the card that it finds, on a CPU or an accelerator.

What takes tokens of round two starts as the U-Net that was trained without them, and goes on with
those of the small SAM; name photographs that are not tiny (10,000 squares take 12 GB). A twin goes
on alike with the tokens of other photographs, so that what tokens tell is told from what further
training gains.
"""

import argparse
import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import BFloat16, Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.models import command
from paperlib.models.checkpoints import load_card
from paperlib.models.resume import Resume
from paperlib.models.sam import IMAGE, load_sam
from paperlib.models.training import adamw, batch, fit
from paperlib.pedsam.attacks import gaussian
from paperlib.pedsam.attacks.gaussian import GaussianAttacker, fit_gaussian
from paperlib.pedsam.attacks.images import shrink
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.networks import (
    ENOUGH,
    GRID,
    PHOTOGRAPHIC,
    SAM,
    SIZE,
    build_attack,
    checkpoint_name,
    load_attack,
)
from paperlib.pedsam.attacks.photograph_data import EVERY, POOL, load_held_out, load_squares
from paperlib.pedsam.attacks.photographic import SIDE, PhotographAttacker
from paperlib.pedsam.attacks.reconstruction import biharmonic_fill, mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_mixed_views, draw_views, to_pixels
from paperlib.pedsam.split.partition import KINDS, SERVERS, WindowGrid
from paperlib.runtime import device, progress, set_threads
from paperlib.seeds import derive, generator

Attack = Callable[[Tensor, Tensor], Tensor]
OTHER_GRID = WindowGrid(GRID.tokens, 4)  # 5 × 5 windows, as ViT-B has
VIEWS = 8  # in a step: the Gaussian computes all pictures of a view at once
DRAWN = 128  # views of each kind, drawn once, then shared by all steps
FILLING = (123.675 / 255, 116.28 / 255, 103.53 / 255)  # what SAM's filling to a square looks like
FILLED = 1 / 4  # share of the steps in which pictures are not square


@dataclass(frozen=True)
class GaussianRecipe:
    """Sizes of the distribution. Attributes: side: pixels; factors: eigenvectors of an axis."""

    side: int = gaussian.SIDE
    factors: int = gaussian.FACTORS


@dataclass(frozen=True)
class PhotographRecipe:
    """Hyper-parameters: AdamW, gradients clipped to a norm of 1, mirror images, shifts.

    Attributes:
        steps: of the first stage; the second has as many, and each one after it twice as many.
        learning_rate: at the peak of a stage.
        batch_size: pictures a step.
        weight_decay: of AdamW.
    """

    steps: int = 1500
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
                views.append(draw_views(grid, kind, k, 1, count, derive(seed, kind)))
    views.append(draw_mixed_views(GRID, SERVERS, len(views) * drawn // 4, derive(seed, "mixed")))
    return torch.cat(views)


def varied(
    squares: UInt8[Tensor, "n 3 large large"], views: Bool[Tensor, "n tokens tokens"]
) -> tuple[Float[Tensor, "n 3 60 60"], Bool[Tensor, "n 60 60"]]:
    """Pictures and what is seen of them: shifted, mirrored, and in some steps not square.

    What fills pictures up to the square, at the right or at the bottom, everybody knows.
    """
    place = squares.device
    top, left = torch.randint(squares.shape[-1] - SIDE + 1, (2,)).tolist()
    images = squares[:, :, top : top + SIDE, left : left + SIDE].float() / 255
    turned = torch.rand(len(squares), 1, 1, 1) < 0.5
    images = torch.where(turned.to(place), images.flip(-1), images)
    filling = torch.zeros(SIDE, SIDE, dtype=torch.bool, device=place)
    share, end, side = torch.rand(3).tolist()
    if share < FILLED:
        filling[round(SIDE * (0.4 + 0.6 * end)) :] = True
        filling = filling.T if side < 0.5 else filling
    grey = images.new_tensor(FILLING).view(3, 1, 1)
    return torch.where(filling, grey, images), to_pixels(views, SIDE) | filling


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
    tokens: Callable[[Tensor], Tensor] | None = None,
) -> PhotographAttacker:
    """One stage of the training, on the model's device, in bfloat16.

    With `tokens`, those of squares of these numbers, the squares have `SIDE` pixels and stay as
    they are.
    """
    place = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = adamw(learning, recipe.learning_rate, recipe.weight_decay)
    on_cpu = place.type == "cpu"
    kernels = [SDPBackend.MATH] if on_cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]

    def loss(step: int) -> Tensor:
        chosen = batch(len(squares), recipe.batch_size, step, seed)
        drawn = torch.randint(len(views), (VIEWS,)).repeat(recipe.batch_size // VIEWS + 1)
        images, view = squares[chosen].to(place), views[drawn[: len(chosen)]].to(place)
        if tokens is None:
            given = images, seen = varied(images, view)
        else:
            images, seen = images.float() / 255, to_pixels(view, SIDE)
            given = images, seen, tokens(chosen).to(place).float()
        with sdpa_kernel(kernels), torch.autocast(place.type, torch.bfloat16):
            guesses = model(*given)
        return negative_psnr(images, guesses.float(), seen)

    return fit(model, loss, [optimiser], steps, seed, 0.1, clip=1.0, resume=resume)


@torch.no_grad()
def validation(
    attack: Attack, photographs: Float[Tensor, "n 3 size size"], seed: int, grid: WindowGrid = GRID
) -> dict[str, float]:
    """PSNR (dB) over the unseen pixels of one server's view, means over photographs.

    Args:
        attack: makes the guesses from photographs and what is seen of them.
        photographs: in [0, 1].
        seed: of the views.

    Returns:
        By number of servers, the assignments in turn; the mean of these ("all"); and, as an upper
        bound, over the window of a view of all windows but one ("all but one").
    """
    found, n = {}, len(photographs)
    for k, together in [*((k, 1) for k in SERVERS), (grid.count, grid.count - 1)]:
        drawn = [
            draw_views(grid, kind, k, together, n, derive(seed, "validation")) for kind in KINDS
        ]
        views = torch.stack([drawn[each % len(KINDS)][each] for each in range(n)])
        seen = to_pixels(views, photographs.shape[-1]).to(photographs.device)
        hidden = ~seen[:, None]
        squares = (photographs - attack(photographs, seen)).square() * hidden
        errors = squares.mean(1).sum((1, 2)) / hidden.sum((1, 2, 3))
        name = "all but one" if together > 1 else str(k)
        found[name] = -10 * errors.log10().mean().item()
    found["all"] = sum(found[str(k)] for k in SERVERS) / len(SERVERS)
    return {name: round(mean, 3) for name, mean in found.items()}


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
