"""Trains the networks of the attacks on drawn scenes and on views of all kinds.

``python -m paperlib.pedsam.attacks.training --help`` trains the checkpoints in
``data/checkpoints``. Which networks: `paperlib.pedsam.attacks.networks`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.models import command
from paperlib.models.checkpoints import load_card
from paperlib.models.resume import Resume
from paperlib.models.sam import load_sam
from paperlib.models.training import adamw, batch, batches, fit
from paperlib.pedsam.attacks.classifier import ViewClassifier, recognised
from paperlib.pedsam.attacks.images import shrink, single_scenes
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import (
    CLASSIFIER_SIZE,
    GRID,
    NETWORKS,
    SAM,
    SIZE,
    build_attack,
    checkpoint_name,
)
from paperlib.pedsam.attacks.reconstruction import Rebuilder, mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_mixed_views, to_pixels
from paperlib.pedsam.small_sam.scenes import OBJECTS, unseen_scenes
from paperlib.pedsam.small_sam.training_data import load_pool
from paperlib.pedsam.split.partition import SERVERS
from paperlib.runtime import set_threads
from paperlib.seeds import derive

TESTED = 200  # scenes that the card is measured on
VIEWS = 4096  # drawn once, then shared by all steps


@dataclass(frozen=True)
class AttackRecipe:
    """Hyper-parameters: AdamW, gradients clipped to a norm of 1, mirror images.

    Attributes:
        scenes: drawn for training.
        epochs: passes over them.
        learning_rate: at the peak.
        batch_size: images a step.
        weight_decay: of AdamW.
    """

    scenes: int
    epochs: int
    learning_rate: float
    batch_size: int = 32
    weight_decay: float = 0.01


REBUILD = AttackRecipe(scenes=4096, epochs=3, learning_rate=1e-3)
RECIPES = {
    "inpainting": REBUILD,
    "inversion": REBUILD,
    "tokens": REBUILD,
    "classifier": AttackRecipe(scenes=8000, epochs=10, learning_rate=2e-3, batch_size=64),
}


def train_rebuilder(
    model: Rebuilder,
    scenes: UInt8[Tensor, "n 3 320 320"],
    recipe: AttackRecipe,
    views: Bool[Tensor, "views tokens tokens"],
    sam: nn.Module | None = None,
    seed: int = 0,
    resume: Resume | None = None,
) -> Rebuilder:
    """Train a network that rebuilds images; `sam` makes the tokens, where it takes any."""

    def loss(chosen: Tensor, view: Tensor) -> Tensor:
        large = mirrored(scenes[chosen])
        tokens = None
        with torch.autocast("cpu", torch.bfloat16):
            if model.tokens is not None:
                tokens = second_round_tokens(sam, large).float()
            images = shrink(large, SIZE)
            guess = model(images, to_pixels(view, SIZE), tokens)
        return F.mse_loss(guess.float(), images)

    return _fit(model, loss, recipe, views, seed, resume)


def train_classifier(
    model: ViewClassifier,
    scenes: LabelledImages,
    recipe: AttackRecipe,
    views: Bool[Tensor, "views tokens tokens"],
    seed: int = 0,
    resume: Resume | None = None,
) -> ViewClassifier:
    """Train the classifier on views, one in eight of them of the whole image."""

    def loss(chosen: Tensor, view: Tensor) -> Tensor:
        images = mirrored(scenes.images[chosen]).float() / 255
        view = view | (torch.rand(len(view), 1, 1) < 1 / 8)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images, to_pixels(view, CLASSIFIER_SIZE))
        return F.cross_entropy(logits.float(), scenes.labels[chosen])

    return _fit(model, loss, recipe, views, seed, resume)


def _fit(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: AttackRecipe,
    views: Bool[Tensor, "views tokens tokens"],
    seed: int,
    resume: Resume | None,
) -> nn.Module:
    """`fit` with a loss of (indices of scenes, a view for each, drawn from `views`)."""
    optimiser = adamw(list(model.parameters()), recipe.learning_rate, recipe.weight_decay)

    def of_step(step: int) -> Tensor:
        chosen = batch(recipe.scenes, recipe.batch_size, step, seed)
        return loss(chosen, views[torch.randint(len(views), (recipe.batch_size,))])

    steps = recipe.epochs * batches(recipe.scenes, recipe.batch_size)
    return fit(model, of_step, [optimiser], steps, seed, 0.2, clip=1.0, resume=resume)


def mirrored(images: UInt8[Tensor, "n 3 size size"]) -> UInt8[Tensor, "n 3 size size"]:
    """Each image or its mirror image, with probability ½."""
    turned = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(turned, images.flip(-1), images)


def held_out_measures(
    model: nn.Module, views: Bool[Tensor, "n tokens tokens"], sam: nn.Module | None, seed: int
) -> dict[str, float]:
    """What the card says: on test scenes, one of `views` for each.

    PSNR in dB over the unseen pixels, beside that of the mean fill; or the accuracy on views and on
    whole images.
    """
    if isinstance(model, ViewClassifier):
        scenes = single_scenes("test", len(views), seed)
        images, masks = scenes.floats(), to_pixels(views, CLASSIFIER_SIZE)
        return {
            "test_accuracy_views": _mean(recognised(model, images, masks, scenes.labels)),
            "test_accuracy_whole": _mean(
                recognised(model, images, torch.ones_like(masks), scenes.labels)
            ),
        }
    scenes = unseen_scenes(len(views), seed)
    images, masks = shrink(scenes, SIZE), to_pixels(views, SIZE)
    tokens = None if model.tokens is None else second_round_tokens(sam, scenes)
    rebuilt, filled = rebuild(model, images, masks, tokens), mean_fill(images, masks)
    return {
        "test_psnr_unseen": _mean(quality(images, rebuilt, masks)["PSNR unseen"]),
        "test_psnr_unseen_mean_fill": _mean(quality(images, filled, masks)["PSNR unseen"]),
    }


def _mean(values: Tensor) -> float:
    return round(values.float().mean().item(), 4)


def train_attack(network: str, options: argparse.Namespace) -> None:
    """Train a network of the table above and save it with its card."""
    seed, recipe, sam = options.seed, RECIPES[network], None
    views = draw_mixed_views(GRID, SERVERS, VIEWS, derive(seed, "views"))
    unknown_views = draw_mixed_views(GRID, SERVERS, TESTED, derive(seed, "unknown views"))
    torch.manual_seed(derive(seed, "weights"))
    model, name = build_attack(network), checkpoint_name(network)
    drawn = f"OpenMoji scenes (drawn), {recipe.scenes:,} for training"
    training = command.Training(__spec__.name, name, model, recipe, drawn, options)
    card = {
        "architecture": type(model).__name__,
        "views": f"coalitions of all sizes of {SERVERS} servers, all assignments",
        "test": f"{len(unknown_views)} test scenes, one view each",
    }
    if isinstance(model, ViewClassifier):
        scenes = single_scenes("train", recipe.scenes, seed)
        train_classifier(model, scenes, recipe, views, seed, training.resume)
    else:
        pool = load_pool(recipe.scenes, seed, options.work, OBJECTS)
        if network != "inpainting":
            sam, card["sam_sha256"] = load_sam(SAM), load_card(SAM)["sha256"]
        train_rebuilder(model, pool.images, recipe, views, sam, seed, training.resume)
    training.finish(lambda: card | held_out_measures(model, unknown_views, sam, seed))


def main() -> None:
    parser = command.parser("Train networks of the attacks, with their cards.", AttackRecipe, ())
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    options = parser.parse_args()
    set_threads()
    for network in options.network:
        train_attack(network, argparse.Namespace(**vars(options) | {"network": network}))


if __name__ == "__main__":
    main()
