r"""Train the small CLIPs with the contrastive loss on captioned images.

Image $i$ and text $j$ of a batch of $n$ have the logit $Z_{ij} = s\cos(f(x_i), g(t_j))$, with the
learned scale $s$. Several images of a batch may show the same, so its target is not the diagonal
but all texts that name the same objects, in equal shares:

$$L = \tfrac12\,\mathrm{CE}(Z, P) + \tfrac12\,\mathrm{CE}(Z^\top, P'), \qquad
P_{ij} \propto A_{ij} / n_j, \quad P'_{ji} \propto A_{ij}, \quad A_{ij} = [o_i = o_j],$$

with $n_j$ the number of texts that say the same as text $j$. Attention learns slowly from as few
photographs as CIFAR-10 has, so its ViT has a CNN as teacher (as in DeiT, Touvron et al., arXiv
2012.12877): for photographs, half of $A_{ij}$ is the probability that the teacher gives the class
of text $j$, of the same augmented image. Where images are mixed (`paperlib.models.augmentation`),
row $i$ of $A$ is $(1 - s_i) A_i + s_i A_{\pi(i)}$.

Images and texts come from `paperlib.models.captions`. Matrices inside the ViT's transformer are
trained by Muon (Jordan et al., 2024), whose steps are orthogonalised momentum, the rest by AdamW;
the deep ViT has AdamW alone, as real CLIPs have. (Some of their channels are many times larger than
the others; in its residual stream none came to be.) The loop is that of `paperlib.models.training`.
Half of the smaller ViT's patches are left out for most of the training, a quarter of the deep
one's, as in FLIP (Li et al., arXiv 2212.00794).
``python -m paperlib.models.clip_training --help`` trains the checkpoints in ``data/checkpoints``.
"""

import copy
import math
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.data.cifar import CIFAR10_CLASSES, load_cifar
from paperlib.data.openmoji import load_classes, load_classes10
from paperlib.data.tiny_imagenet import load_tiny_imagenet
from paperlib.models import command
from paperlib.models.augmentation import mix, warp_and_colour
from paperlib.models.captions import (
    SIZE,
    CaptionedImages,
    Captions,
    draw_captioned,
    draw_many,
    make_tokenizer,
    with_cifar10,
    with_tiny_imagenet,
)
from paperlib.models.checkpoints import load_card, load_checkpoint
from paperlib.models.clip import (
    TOWERS,
    CompactTokenizer,
    build_small_clip,
    class_features,
    load_clip,
    normalise,
    small_clip_name,
    zero_shot_top1,
)
from paperlib.models.resume import Resume
from paperlib.models.training import adamw, augment, batch, fit
from paperlib.runtime import device, set_threads
from paperlib.seeds import derive

LARGEST_SCALE = 100.0  # of the logits, as in CLIP
CHANGEABLE = ("steps", "learning_rate", "matrix_rate", "patch_dropout")  # of a recipe
TEMPERATURE = 2.0  # of the teacher's probabilities


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of `train_clip`.

    Attributes:
        steps: batches.
        learning_rate: of AdamW, at its peak.
        matrix_rate: of Muon, for the matrices in the ViT's transformer; 0 leaves them to AdamW.
        batch_size: images a step.
        weight_decay: of matrices.
        warmup: share of the steps in which the rates rise.
        shift: images are moved by up to this many pixels, and mirrored; 0 warps them, changes
            their colours and mixes them instead (`paperlib.models.augmentation`).
        patch_dropout: share of the ViT's patches that is left out.
        whole: share of the steps, at the end, in which no patch is left out and nothing is mixed.
        teacher: checkpoint of a classifier of CIFAR-10 (`paperlib.models.cnn`), or none.
        clip: largest norm of the gradient, or none.
    """

    steps: int
    learning_rate: float
    matrix_rate: float = 0.0
    batch_size: int = 256
    weight_decay: float = 0.05
    warmup: float = 0.1
    shift: int = 4
    patch_dropout: float = 0.0
    whole: float = 0.1
    teacher: str | None = None
    clip: float | None = None


RECIPES = {
    ("openmoji", "resnet"): Recipe(2_000, 2e-3),
    ("openmoji", "vit"): Recipe(1_400, 1e-3, 0.02, patch_dropout=0.5),
    ("cifar10", "resnet"): Recipe(5_000, 2e-3, shift=8),
    ("cifar10", "vit"): Recipe(
        4_400,
        1e-3,
        0.02,
        shift=8,
        patch_dropout=0.75,
        whole=0.06,
        teacher="cifar10-resnet20-natural",
    ),
    ("tiny_imagenet", "deep_vit"): Recipe(
        8_000, 1e-3, batch_size=1024, shift=0, patch_dropout=0.25, clip=1.0
    ),
}
SCENES = {"openmoji": 60_000, "cifar10": 25_000, "tiny_imagenet": 8_000}
PHOTOGRAPHS = {"cifar10": with_cifar10, "tiny_imagenet": with_tiny_imagenet}  # before the scenes


class DropPatches(nn.Module):
    """Leaves out a share of an image's patches, others in each image, while training.

    As open_clip's PatchDropout, but drawn on the device that the patches are on.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, tokens: Float[Tensor, "n l c"]) -> Float[Tensor, "n k c"]:
        """The first token, which is no patch, and what is kept of the others."""
        if not self.training:
            return tokens
        n, count, _ = tokens.shape
        kept = max(1, int((count - 1) * (1 - self.share)))
        places = torch.rand(n, count - 1, device=tokens.device).topk(kept).indices + 1
        rows = torch.arange(n, device=tokens.device)[:, None]
        return torch.cat([tokens[:, :1], tokens[rows, places]], dim=1)


def contrastive_loss(
    logits: Float[Tensor, "images texts"],
    objects: Int[Tensor, "texts most"],
    taught: Float[Tensor, "images texts"] | None = None,
    mixed: tuple[Int[Tensor, " images"], Float[Tensor, " images"]] | None = None,
) -> Float[Tensor, ""]:
    """Mean over both directions; rows of `objects` that hold the same, in any order, match.

    `taught` is the teacher's part of A: probabilities, NaN for images that it knows nothing of.
    `mixed` says which other image each has a part of, and its share.
    """
    sets = objects.sort(1).values
    same = (sets[:, None] == sets[None]).all(-1).to(logits)  # (n, n)
    shown = same if taught is None else torch.where(taught.isnan(), same, (same + taught) / 2)
    if mixed:
        shown = shown.lerp(shown[mixed[0]], mixed[1][:, None])
    of_images = shown / same.sum(1)
    of_images = of_images / of_images.sum(1, keepdim=True)
    of_texts = (shown / shown.sum(0)).T
    return (F.cross_entropy(logits, of_images) + F.cross_entropy(logits.T, of_texts)) / 2


def teach(
    teacher: nn.Module,
    images: Float[Tensor, "n 3 size size"],
    data: CaptionedImages,
    chosen: Int[Tensor, " n"],
) -> Float[Tensor, "n n"]:
    """The teacher's probability that each of the chosen images shows what each text names.

    Args:
        teacher: of CIFAR-10's classes, from images of 32 × 32 pixels.
        images: the chosen ones as augmented, 0 to 1.
        data: where they were chosen from; rows of images that are no photographs are NaN.
        chosen: indices of images, and of texts.
    """
    small = F.interpolate(images, size=(32, 32), mode="area")
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
        logits = teacher(small.contiguous(memory_format=torch.channels_last))
    p = F.softmax(logits.float() / TEMPERATURE, dim=1)  # (n, 10)
    names = [entry.name for entry in data.classes]
    of_class = p.new_zeros(len(images), len(names))
    columns = torch.tensor([names.index(name) for name in CIFAR10_CLASSES])
    of_class[:, columns.to(p.device, non_blocking=True)] = p
    labels = data.labels[chosen]
    taught = of_class[:, labels[:, 0]] * (labels[:, 1] < 0)
    return taught.masked_fill((chosen >= data.photographs)[:, None], math.nan)


def train_clip(
    model: CLIP,
    tokenizer: CompactTokenizer,
    data: CaptionedImages,
    recipe: Recipe,
    seed: int,
    resume: Resume | None = None,
) -> CLIP:
    """Train in place; the model in eval mode, the same for the same seed (see `training.fit`).

    Raises:
        ValueError: fewer images than a batch has, or `resume` has the state of another run.
        CheckpointError: the teacher's weights are missing or damaged.
    """
    place = next(model.parameters()).device
    data = replace(data, images=data.images.to(place), labels=data.labels.to(place))
    captions = Captions(data, tokenizer)
    teacher = load_checkpoint(recipe.teacher).to(place) if recipe.teacher else None
    backends = [SDPBackend.MATH]  # of so few tokens faster backwards than the fused one
    if place.type != "cpu":
        backends += [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]

    def loss(step: int) -> Tensor:
        whole = step >= (1 - recipe.whole) * recipe.steps
        if recipe.patch_dropout:
            dropout = nn.Identity() if whole else DropPatches(recipe.patch_dropout)
            model.visual.patch_dropout = dropout
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        chosen = batch(len(data.images), recipe.batch_size, step, seed)
        chosen = chosen.to(place, non_blocking=True)
        images, mixed = data.images[chosen].float() / 255, None
        if recipe.shift:
            images = augment(images, flip=True, shift=recipe.shift)
        else:
            images = warp_and_colour(images)
        if not recipe.shift and not whole:
            images, *mixture = mix(images)
            mixed = tuple(mixture)
        taught = teach(teacher, images, data, chosen) if teacher else None
        images = normalise(images).contiguous(memory_format=torch.channels_last)
        with sdpa_kernel(backends), torch.autocast(place.type, torch.bfloat16):
            pictures = model.encode_image(images)
            words = model.encode_text(captions.draw(chosen))
        pictures = F.normalize(pictures.float(), dim=-1)
        logits = model.logit_scale.exp() * pictures @ F.normalize(words.float(), dim=-1).T
        return contrastive_loss(logits, data.labels[chosen], taught, mixed)

    steppers = optimisers(model, recipe)
    return fit(model, loss, steppers, recipe.steps, seed, recipe.warmup, recipe.clip, resume=resume)


def steps_in(
    minutes: float,
    model: CLIP,
    tokenizer: CompactTokenizer,
    data: CaptionedImages,
    recipe: Recipe,
) -> int:
    """How many steps of a recipe take so long here, from short trainings of copies of the model.

    They see a few classes alone, whose captions are soon listed.
    """
    some = data.labels[:, 0].argsort()[: 2 * recipe.batch_size]
    data = replace(data, images=data.images[some], labels=data.labels[some])

    def seconds(steps: int, whole: float) -> float:
        began = time.monotonic()
        short = replace(recipe, steps=steps, whole=whole)
        train_clip(copy.deepcopy(model), tokenizer, data, short, seed=0).logit_scale.item()
        return time.monotonic() - began

    seconds(3, 0.5)  # what only the first steps take
    few = 10
    partial, whole = ((seconds(4 * few, w) - seconds(few, w)) / (3 * few) for w in (0.0, 1.0))
    a_step = partial * (1 - recipe.whole) + whole * recipe.whole
    return max(1, int(60 * minutes / a_step))


def optimisers(model: CLIP, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the ViT's transformer if the recipe says so, AdamW for the rest."""
    hidden = [
        parameter
        for name, parameter in model.named_parameters()
        if recipe.matrix_rate and "visual.transformer" in name and parameter.ndim == 2
    ]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in hidden)]
    adam = adamw(others, recipe.learning_rate, recipe.weight_decay)
    if not hidden:
        return [adam]
    return [adam, torch.optim.Muon(hidden, recipe.matrix_rate, weight_decay=recipe.weight_decay)]


def evaluate(model: CLIP, tokenizer: CompactTokenizer, data: str) -> dict[str, float]:
    """Zero-shot Top-1 over all curated classes of OpenMoji, its ten, and those of `data`."""
    results = {}
    for title, classes, count in (
        ("all classes", load_classes(), 10 * len(load_classes())),
        ("ten names", load_classes10(), 2_000),
    ):
        scenes = draw_many("test", range(count), size=SIZE, classes=classes, balanced=True)
        texts = class_features(
            model, tokenizer, [entry.name for entry in classes], SIMPLE_IMAGENET_TEMPLATES
        )
        results[title] = zero_shot_top1(model, texts, scenes.images, scenes.labels[:, 0])
    if data in PHOTOGRAPHS:
        split = "test" if data == "cifar10" else "validation"
        test = load_cifar(data, split) if data == "cifar10" else load_tiny_imagenet(split)
        key = f"{test.source}, {len(test):,} {split} images"
        texts = class_features(model, tokenizer, test.classes, SIMPLE_IMAGENET_TEMPLATES)
        results[key] = zero_shot_top1(model, texts, test.images, test.labels)
    return {title: round(value, 4) for title, value in results.items()}


def main() -> None:
    parser = command.parser("Train a small CLIP and save it with its card.", Recipe, CHANGEABLE)
    parser.add_argument("--tower", choices=list(TOWERS), required=True)
    parser.add_argument("--data", choices=list(SCENES), required=True)
    parser.add_argument("--scenes", type=int, help="OpenMoji scenes to draw (default: the data's)")
    parser.add_argument("--start", help="small CLIP to start from (default: random weights)")
    parser.add_argument("--minutes", type=float, help="steps: as many as take so long here")
    options = parser.parse_args()
    if (options.data, options.tower) not in RECIPES:
        known = ", ".join(f"{tower} of {data}" for data, tower in RECIPES)
        parser.error(f"no recipe for {options.tower} of {options.data}: there are {known}")
    set_threads()
    recipe = command.changed(RECIPES[options.data, options.tower], options, CHANGEABLE)
    name = small_clip_name(options.tower, options.data)
    data = draw_captioned("train", options.scenes or SCENES[options.data], seed=options.seed)
    if options.data in PHOTOGRAPHS:
        data = PHOTOGRAPHS[options.data](data)
    torch.manual_seed(derive(options.seed, "weights"))
    if options.start:
        model, tokenizer = load_clip(options.start, folder=options.folder)
        earlier, kept = load_card(options.start, options.folder), ("command", "data", "start")
        start = {key: earlier[key] for key in kept if key in earlier}
    else:
        names = [entry.phrase for entry in data.classes]
        names += [name for others in data.synonyms.values() for name in others]
        tokenizer, start = make_tokenizer(names), "none"
        model = build_small_clip(options.tower, tokenizer.vocab_size)
    model.to(device())
    if options.minutes:
        recipe = replace(recipe, steps=steps_in(options.minutes, model, tokenizer, data, recipe))
        options.steps, options.minutes = recipe.steps, None  # the card's command repeats these
    training = command.Training(__spec__.name, name, model, recipe, data.source, options)
    train_clip(model, tokenizer, data, recipe, options.seed, training.resume)
    training.finish(
        lambda: {
            "architecture": f"clip-{options.tower}",
            "recipe": {"start": options.start or "random weights"},
            "zero_shot_top1": evaluate(model, tokenizer, options.data),
            "start": start,
            "vocabulary": " ".join(map(str, tokenizer.kept)),
        }
    )


if __name__ == "__main__":
    main()
