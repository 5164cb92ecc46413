"""Trains the networks of the attacks on drawn scenes and on views of all kinds.

| network    | what it gets                             | what it says         |
|------------|------------------------------------------|----------------------|
| inpainting | the seen pixels                          | the whole image      |
| inversion  | the seen pixels, and round-2 tokens there | the whole image      |
| tokens     | round-2 tokens of the seen windows alone | the whole image      |
| classifier | the seen pixels of a single object       | one of ten classes   |

The first three are one architecture trained alike, so that they differ in what they get alone. The
tokens are those of the small SAM's exact schedule. ``python -m paperlib.pedsam.attacks.training
--help`` trains the checkpoints in ``data/checkpoints``.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.data.openmoji import draw_scenes, load_classes10
from paperlib.models import command
from paperlib.models.checkpoints import load_card, load_weights
from paperlib.models.resume import Resume
from paperlib.models.sam import IMAGE, PATCH, WIDTH, WINDOW, load_sam
from paperlib.models.training import adamw, batch, batches, fit
from paperlib.paths import CHECKPOINTS
from paperlib.pedsam.attacks.inversion import received_tokens
from paperlib.pedsam.attacks.measures import psnr
from paperlib.pedsam.attacks.recognition import ViewClassifier, recognised
from paperlib.pedsam.attacks.reconstruction import Rebuilder, mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_mixed_views, to_pixels
from paperlib.pedsam.small_sam.segmentation import OBJECTS, split_classes
from paperlib.pedsam.small_sam.training_data import load_pool
from paperlib.pedsam.split.partition import WindowGrid
from paperlib.pedsam.split.schedule import rounds
from paperlib.runtime import progress, set_threads
from paperlib.seeds import derive

SAM = "sam-small"
GRID = WindowGrid(tokens=IMAGE // PATCH, window=WINDOW)
SIZE = IMAGE // 2  # pixels that the rebuilding networks work on
CLASSIFIER_SIZE = 4 * GRID.tokens
SERVERS = (2, 4, 8, 16)
CHUNK = 64  # scenes drawn at a time, which bounds the memory
TESTED = 200  # scenes that the card is measured on
VIEWS = 4096  # drawn once, then shared by all steps
NETWORKS = ("inpainting", "inversion", "tokens", "classifier")


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


def unseen_scenes(count: int, seed: int = 0) -> UInt8[Tensor, "count 3 320 320"]:
    """Test scenes at SAM's size, of classes that no training has seen."""
    classes = split_classes(held_out=True)
    parts = [
        draw_scenes("test", part, size=IMAGE, classes=classes, seed=seed, objects=OBJECTS).images
        for start in progress(range(0, count, CHUNK), "drawing scenes")
        if (part := range(start, min(start + CHUNK, count)))
    ]
    return torch.cat(parts)


def single_scenes(split: str, count: int, seed: int = 0) -> LabelledImages:
    """Scenes of one object of OpenMoji-10, the ten classes in turn, for the classifier."""
    classes = load_classes10()
    scenes = draw_scenes(
        split, range(count), size=CLASSIFIER_SIZE, classes=classes, seed=seed, balanced=True
    )
    names = tuple(entry.name for entry in classes)
    return LabelledImages(scenes.images, scenes.labels[:, 0], names, "OpenMoji-10 (drawn)")


def shrink(
    images: UInt8[Tensor, "n 3 large large"], size: int
) -> Float[Tensor, "n 3 {size} {size}"]:
    """Images of 0 to 255 averaged down to `size` pixels, in [0, 1]."""
    return F.interpolate(images.float() / 255, size=size, mode="area")


def build_attack(network: str) -> Rebuilder | ViewClassifier:
    """A network of the table above, with random weights.

    Raises:
        ValueError: unknown network, with the valid ones.
    """
    if network not in NETWORKS:
        raise ValueError(f"network {network!r} is unknown: valid are {', '.join(NETWORKS)}")
    if network == "classifier":
        return ViewClassifier()
    channels = 0 if network == "inpainting" else WIDTH
    return Rebuilder(token_channels=channels, pixels=network != "tokens")


def load_attack(network: str, folder: Path = CHECKPOINTS) -> Rebuilder | ViewClassifier:
    """A trained network of the table above, in eval mode.

    Raises:
        ValueError: unknown network.
        CheckpointError: it is missing or damaged, with the command that trains it.
    """
    return load_weights(checkpoint_name(network), build_attack(network), folder)


def checkpoint_name(network: str) -> str:
    """Name of the checkpoint in ``data/checkpoints``, such as ``pedsam-inpainting``."""
    return f"pedsam-{network}"


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


def second_round_tokens(
    sam: nn.Module, scenes: UInt8[Tensor, "n 3 320 320"]
) -> Float[Tensor, "n channels tokens tokens"]:
    """What the servers receive in the exact schedule after the first global block."""
    return received_tokens(sam, rounds(sam.image_encoder, "exact"), 1, scenes.float() / 255)


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
    rebuilt = rebuild(model, images, masks, tokens)
    return {
        "test_psnr_unseen": _mean(psnr(images, rebuilt, ~masks)),
        "test_psnr_unseen_mean_fill": _mean(psnr(images, mean_fill(images, masks), ~masks)),
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
    resume = command.begin(name, model, recipe, drawn, options)
    card = {
        "architecture": type(model).__name__,
        "data": drawn,
        "views": f"coalitions of all sizes of {SERVERS} servers, all assignments",
        "test": f"{len(unknown_views)} test scenes, one view each",
    }
    if isinstance(model, ViewClassifier):
        scenes = single_scenes("train", recipe.scenes, seed)
        train_classifier(model, scenes, recipe, views, seed, resume)
    else:
        pool = load_pool(recipe.scenes, seed, options.work, OBJECTS)
        if network != "inpainting":
            sam, card["sam_sha256"] = load_sam(SAM), load_card(SAM)["sha256"]
        train_rebuilder(model, pool.images, recipe, views, sam, seed, resume)
    command.finish(
        "paperlib.pedsam.attacks.training",
        name,
        model,
        recipe,
        lambda: card | held_out_measures(model, unknown_views, sam, seed),
        options,
        resume,
    )


def main() -> None:
    parser = command.parser("Train networks of the attacks, with their cards.", AttackRecipe, ())
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    options = parser.parse_args()
    set_threads()
    for network in options.network:
        train_attack(network, argparse.Namespace(**vars(options) | {"network": network}))


if __name__ == "__main__":
    main()
