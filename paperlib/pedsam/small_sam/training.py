r"""The small SAM from scratch, and its fine-tuning for the pixels-once schedule.

**Data.** OpenMoji scenes of one to four objects, drawn once and then varied: zoom, shift, mirror,
brightness, colour. Every fifth class is held out; scenes to test on have one or two objects, larger
ones. ``sam-small-photographs`` goes on from ``sam-small``, with photographs among the scenes. There
objects are smaller, and a box has to say where they end. Corners alone tell SAM that after a long
training only, so a box is drawn as a mask, too (`paperlib.models.sam.DrawnBoxes`).

**Prompts.** A step shows every image some of its objects, each by a jittered box, by one point and
by three points inside it. The decoder gives four masks a prompt: one for itself and three to
choose from. With $p$ a mask's probabilities, $t$ the share of the object in each of its cells
of 4 × 4 pixels, and $L(p) = \mathrm{BCE}(p, t) \cdot 5 + \mathrm{Dice}(p, t)$, the loss is

$$L(p_0) + \min_{k \in 1..3} L(p_k) + \sum_k (\widehat{\mathrm{IoU}}_k - \mathrm{IoU}_k)^2 .$$

**Distillation.** The pixels-once network starts as a copy of the trained one. Its encoder alone is
trained, on the loss above plus the squared distance to the embeddings of the trained network.

``python -m paperlib.pedsam.small_sam.training --help`` trains the checkpoints in
``data/checkpoints``.
"""

import argparse
import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.data.coco import load_coco
from paperlib.models import command
from paperlib.models.checkpoints import load_card, load_weights
from paperlib.models.sam import (
    IMAGE,
    PHOTOGRAPH_IMAGE,
    PHOTOGRAPH_WINDOW,
    WINDOW,
    build_small_sam,
    load_sam,
    resize_sam,
)
from paperlib.models.training import adamw, fit
from paperlib.pedsam.small_sam.masks import iou, mean_iou
from paperlib.pedsam.small_sam.photographs import Sources, load_photograph_pool
from paperlib.pedsam.small_sam.scenes import CROWDED, OBJECTS, split_classes
from paperlib.pedsam.small_sam.segmentation import (
    PROMPTS,
    by_size,
    draw_images,
    replace_encoder,
    segment,
    true_masks,
)
from paperlib.pedsam.small_sam.training_data import (
    Pool,
    Prompts,
    in_cells,
    load_pool,
    pick_objects,
    random_boxes,
    random_points,
    vary,
)
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.runtime import set_threads
from paperlib.seeds import derive, generator

DISTANCE = 5.0  # weight of the distance to the teacher's embeddings
TESTED = 200  # scenes that the card's IoU is over
OPTIONS = ("steps", "learning_rate", "scenes", "image", "window")  # of the recipe, to be chosen
SOURCES = ("coco", "plain", "segments")  # of photographs


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters, of a small SAM's training.

    Attributes:
        steps: of AdamW.
        learning_rate: at the peak.
        images: a step.
        scenes: drawn before training.
        weight_decay: of matrices.
        image: side of the scenes in pixels.
        window: side of a window in tokens.
        targets: objects of an image that a step asks for by each prompt.
        boxed: objects of an image that it asks for by a box alone.
        jitter: standard deviation of a box's sides, as a share of their length.
        muon: whether Muon takes AdamW's place for the matrices of the encoder's blocks and of the
            decoder's layers.
        pasted: pictures with objects before a photograph; 0 for drawn scenes alone.
    """

    steps: int
    learning_rate: float
    images: int = 8
    scenes: int = 4096
    weight_decay: float = 0.05
    image: int = IMAGE
    window: int = WINDOW
    targets: int = 2
    boxed: int = 0
    jitter: float = 0.05
    pasted: int = 0
    muon: bool = False


def decode(
    sam: Sam, embeddings: Float[Tensor, "n channels rows columns"], prompts: Prompts
) -> tuple[Float[Tensor, "prompts masks cells cells"], Float[Tensor, "prompts masks"]]:
    """Logits and predicted IoU of all four masks of every prompt.

    What ``MaskDecoder.predict_masks`` computes, with the prompts of several images in one batch
    (as many for each image).
    """
    decoder = sam.mask_decoder
    points = prompts.points
    labels = None if points is None else torch.ones(points.shape[:2])
    sparse, dense = sam.prompt_encoder(
        None if points is None else (points, labels), prompts.boxes, None
    )
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], 1)
    src = embeddings.repeat_interleave(len(sparse) // len(embeddings), 0) + dense
    places = sam.prompt_encoder.get_dense_pe().expand_as(src)
    out, keys = decoder.transformer(src, places, tokens)
    fine = decoder.output_upscaling(keys.transpose(1, 2).reshape(src.shape))
    weights = torch.stack(
        [mlp(out[:, 1 + k]) for k, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    logits = (weights @ fine.flatten(2)).unflatten(2, fine.shape[2:])
    return logits, decoder.iou_prediction_head(out[:, 0])


def mask_loss(
    logits: Float[Tensor, "prompts masks cells cells"],
    scores: Float[Tensor, "prompts masks"],
    shares: Float[Tensor, "prompts cells cells"],
) -> Float[Tensor, ""]:
    """The loss above, mean over prompts."""
    target = shares[:, None].expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))
    p = logits.sigmoid()
    overlap, total = (p * target).sum((-2, -1)), (p + target).sum((-2, -1))
    each = 5 * bce + 1 - (2 * overlap + 1) / (total + 1)  # (prompts, masks)
    with torch.no_grad():
        reached = iou(logits > 0, target > 0.5)
    return (each[:, 0] + each[:, 1:].amin(1)).mean() + F.mse_loss(scores, reached)


def supervised_loss(
    sam: Sam, recipe: Recipe, pool: Pool, draw: torch.Generator
) -> Float[Tensor, ""]:
    """The loss of one random batch against the true masks, in SAM's own order of blocks."""
    images, asked = _batch(recipe, pool, draw)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = sam.image_encoder(sam.preprocess(images))
        return _prompted_loss(sam, embeddings, asked)


def distillation_loss(
    sam: Sam, teacher: Sam, recipe: Recipe, pool: Pool, draw: torch.Generator
) -> Float[Tensor, ""]:
    """The same in the pixels-once order, and the distance to the teacher's embeddings.

    That is their mean squared difference in units of the teacher's variance.
    """
    images, asked = _batch(recipe, pool, draw)
    x = sam.preprocess(images)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            wanted = teacher.image_encoder(x).float()
        embeddings = PartitionedEncoder(sam.image_encoder, schedule="pixels_once")(x)
        loss = _prompted_loss(sam, embeddings, asked)
    return loss + DISTANCE * F.mse_loss(embeddings.float(), wanted) / wanted.var()


def _batch(
    recipe: Recipe, pool: Pool, draw: torch.Generator
) -> tuple[Tensor, list[tuple[Prompts, Tensor]]]:
    """Images, and prompts of each kind with the masks that they ask for, in cells."""
    indices = torch.randint(len(pool.images), (recipe.images,), generator=draw)
    images, objects = vary(pool, indices, draw)
    masks = pick_objects(objects, pool.smallest, recipe.targets + recipe.boxed, draw)
    pointed = masks.unflatten(0, (recipe.images, -1))[:, : recipe.targets].flatten(0, 1)
    targets = in_cells(pointed)
    points = [random_points(targets, count, draw) for count in (1, 3)]
    boxes = random_boxes(masks, recipe.jitter, draw), in_cells(masks)
    return images, [boxes, *((each, targets) for each in points)]


def _prompted_loss(sam: Sam, embeddings: Tensor, asked: list[tuple[Prompts, Tensor]]) -> Tensor:
    losses = []
    for prompts, targets in asked:
        logits, scores = decode(sam, embeddings, prompts)
        losses.append(mask_loss(logits.float(), scores.float(), targets))
    return torch.stack(losses).sum()


def optimisers(sam: Sam, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW of all parameters, or Muon of some (see `Recipe`), its steps of AdamW's size."""
    learning = {name: p for name, p in sam.named_parameters() if p.requires_grad}
    by_muon = [
        name
        for name, p in learning.items()
        if recipe.muon and p.ndim == 2 and re.search(r"(blocks|layers)\.\d+\..*weight$", name)
    ]
    matrices = [learning.pop(name) for name in by_muon]
    found: list[torch.optim.Optimizer] = [
        adamw(list(learning.values()), recipe.learning_rate, recipe.weight_decay)
    ]
    if matrices:
        sizes = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        found.append(torch.optim.Muon(matrices, **sizes, adjust_lr_fn="match_rms_adamw"))
    return found


RECIPES = {
    "sam-small": Recipe(steps=3600, learning_rate=1e-3),
    "sam-small-pixels_once": Recipe(steps=900, learning_rate=5e-4),
    "sam-small-photographs": Recipe(
        *(1200, 5e-4),
        scenes=800,
        image=PHOTOGRAPH_IMAGE,
        window=PHOTOGRAPH_WINDOW,
        targets=1,
        boxed=5,
        jitter=0.02,
        pasted=1600,
        muon=True,
    ),
}


def measured_iou(
    sam: Sam, schedule: str, images: int, seed: int, objects: tuple[int, int] = OBJECTS
) -> dict[str, float]:
    """Mean IoU by prompt over objects of held-out classes, through ``SamPredictor``."""
    scenes = draw_images(images, seed, sam.image_encoder.img_size, objects)
    sam = replace_encoder(sam, PartitionedEncoder(sam.image_encoder, schedule=schedule))
    answers, truth = segment(sam, scenes), true_masks(scenes)
    return {prompt: round(mean_iou(answers[prompt], truth), 4) for prompt in PROMPTS}


def measured_on_coco(sam: Sam, folder: Path) -> dict[str, Any]:
    """Mean IoU by prompt over the objects of COCO's val2017 that are there, and the filled box's.

    In all, and by COCO's classes of size.
    """
    images = load_coco(None, 0, folder)
    table = by_size(segment(sam, images), images)
    return {"data": f"COCO val2017, {len(images)} photographs"} | table.round(4).to_dict("index")


def began_as(
    name: str, folder: Path, recipe: Recipe, drawn_boxes: bool
) -> tuple[Sam, dict[str, Any]]:
    """A small SAM of `folder` at the recipe's size, and what the next card says of it.

    Raises:
        CheckpointError: there is none of that name, or it is damaged.
    """
    earlier = load_card(name, folder)
    began = build_small_sam(earlier["recipe"]["image"], earlier["recipe"]["window"])
    resized = resize_sam(load_weights(name, began, folder), recipe.image, recipe.window)
    sam = build_small_sam(recipe.image, recipe.window, drawn_boxes)
    sam.load_state_dict(resized.state_dict())
    kept = ("command", "recipe", "sha256", "start")
    return sam, {key: earlier[key] for key in kept if key in earlier}


def main() -> None:
    parser = command.parser("Train one small SAM and save it with its card.", Recipe, OPTIONS)
    parser.add_argument(
        "--name",
        choices=list(RECIPES),
        required=True,
        help="the second is distilled from the first, which must be in --folder",
    )
    parser.add_argument(
        "--start", help="small SAM in --folder to train on (default: random weights)"
    )
    parser.add_argument("--test-images", type=int, help="that the card's IoU is over (200)")
    for source, words in zip(
        SOURCES, ("COCO", "photographs without masks", "BSDS500"), strict=True
    ):
        parser.add_argument(f"--{source}", type=Path, help=f"sam-small-photographs: {words}")
    options = parser.parse_args()
    pixels_once = options.name == "sam-small-pixels_once"
    photographed = options.name == "sam-small-photographs"
    if pixels_once and (options.start or options.image or options.window):
        parser.error(f"--start, --image, --window: {options.name} has those of sam-small")
    if {photographed} != {getattr(options, source) is not None for source in SOURCES}:
        parser.error("--coco, --plain and --segments: sam-small-photographs needs them, it alone")
    set_threads()
    recipe = command.changed(RECIPES[options.name], options, OPTIONS)
    seed, tested = options.seed, options.test_images or TESTED
    pool = load_pool(recipe.scenes, seed, options.work, size=recipe.image)
    drawn = f"OpenMoji scenes (drawn), {recipe.scenes:,} of {len(split_classes(False))} classes"
    if photographed:
        sources = Sources(options.coco, options.plain, options.segments, recipe.pasted)
        pool += load_photograph_pool(sources, seed, options.work, recipe.image)
        drawn += f"; {sources.words()}; {len(pool.images) - recipe.scenes:,} pictures in all"
    card: dict[str, Any] = {"architecture": "sam-small"}
    teacher = None
    if pixels_once:
        teacher = load_sam("sam-small", options.folder)
        sam = copy.deepcopy(teacher)
        sam.prompt_encoder.requires_grad_(False)
        sam.mask_decoder.requires_grad_(False)
        before = measured_iou(teacher, "pixels_once", tested, seed)
        card |= {"start": "sam-small", "test_mean_iou_before": before}
    elif options.start:
        sam, card["start"] = began_as(options.start, options.folder, recipe, photographed)
    else:
        torch.manual_seed(derive(seed, "weights"))
        sam = build_small_sam(recipe.image, recipe.window)

    def loss(step: int) -> Tensor:
        draw = generator(seed, "batch", step)
        if teacher:
            return distillation_loss(sam, teacher, recipe, pool, draw)
        return supervised_loss(sam, recipe, pool, draw)

    names = {source: getattr(options, source).name for source in SOURCES if photographed}
    said = argparse.Namespace(**vars(options) | names)  # a card names no place of this machine
    training = command.Training(__spec__.name, options.name, sam, recipe, drawn, said)
    fit(sam, loss, optimisers(sam, recipe), recipe.steps, seed, clip=1.0, resume=training.resume)
    schedule = "pixels_once" if pixels_once else "exact"
    crowded = f"test_mean_iou_{CROWDED[0]}_to_{CROWDED[1]}_objects"
    training.finish(
        lambda: (
            card
            | {
                "schedule": schedule,
                "test": f"OpenMoji scenes (drawn), {tested:,} of {len(split_classes(True))} other "
                f"classes, {OBJECTS[0]} to {OBJECTS[1]} objects each",
                "test_mean_iou": measured_iou(sam, schedule, tested, seed),
                crowded: measured_iou(sam, schedule, tested, seed, CROWDED),
            }
            | ({"test_photographs": measured_on_coco(sam, options.coco)} if photographed else {})
        )
    )


if __name__ == "__main__":
    main()
