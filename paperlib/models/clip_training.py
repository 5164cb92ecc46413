r"""Train the small CLIPs with the contrastive loss on captioned images.

Image $i$ and text $j$ of a batch of $n$ have the logit $Z_{ij} = s\cos(f(x_i), g(t_j))$, with the
learned scale $s$. Several images of a batch may show the same, so its target is not the diagonal
but all texts that name the same objects, in equal shares:

$$L = \tfrac12\,\mathrm{CE}(Z, P) + \tfrac12\,\mathrm{CE}(Z^\top, P'), \qquad
P_{ij} \propto A_{ij} / n_j, \quad P'_{ji} \propto A_{ij}, \quad A_{ij} = [o_i = o_j],$$

with $n_j$ the number of texts that say the same as text $j$. Attention learns slowly from as few
photographs as CIFAR-10 has, so its ViT has a CNN as teacher (as in DeiT, Touvron et al., arXiv
2012.12877): for photographs, half of $A_{ij}$ is the probability that the teacher gives the class
of text $j$, of the same augmented image.

Images and texts come from `paperlib.models.captions`. Matrices inside the ViT's transformer are
trained by Muon (Jordan et al., 2024), whose steps are orthogonalised momentum, the rest by AdamW;
the loop is that of `paperlib.models.training`. Half of the ViT's patches are left out for most of
the training, as in FLIP (Li et al., arXiv 2212.00794).
``python -m paperlib.models.clip_training --help`` trains the checkpoints in ``data/checkpoints``.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from open_clip.model import CLIP
from open_clip.transformer import PatchDropout
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.data.cifar import CIFAR10_CLASSES, load_cifar
from paperlib.data.openmoji import draw_scenes, load_classes, load_classes10
from paperlib.models import command
from paperlib.models.captions import (
    SIZE,
    CaptionedImages,
    captions,
    draw_captioned,
    make_tokenizer,
    with_cifar10,
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
from paperlib.runtime import set_threads
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
        shift: images are moved by up to this many pixels, and mirrored.
        patch_dropout: share of the ViT's patches that is left out.
        whole: share of the steps, at the end, in which no patch is left out.
        teacher: checkpoint of a classifier of CIFAR-10 (`paperlib.models.cnn`), or none.
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
}
SCENES = {"openmoji": 60_000, "cifar10": 25_000}


def contrastive_loss(
    logits: Float[Tensor, "images texts"],
    objects: Int[Tensor, "texts most"],
    taught: Float[Tensor, "images texts"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over both directions; rows of `objects` that hold the same, in any order, match.

    `taught` is the teacher's part of A: probabilities, NaN for images that it knows nothing of.
    """
    sets = objects.sort(1).values
    same = (sets[:, None] == sets[None]).all(-1).to(logits)  # (n, n)
    shown = same if taught is None else torch.where(taught.isnan(), same, (same + taught) / 2)
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
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = teacher(small.contiguous(memory_format=torch.channels_last))
    p = F.softmax(logits.float() / TEMPERATURE, dim=1)  # (n, 10)
    names = [entry.name for entry in data.classes]
    of_class = torch.zeros(len(images), len(names))
    of_class[:, [names.index(name) for name in CIFAR10_CLASSES]] = p
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
    teacher = load_checkpoint(recipe.teacher) if recipe.teacher else None

    def loss(step: int) -> Tensor:
        if recipe.patch_dropout:
            whole = step >= (1 - recipe.whole) * recipe.steps
            dropout = nn.Identity() if whole else PatchDropout(recipe.patch_dropout)
            model.visual.patch_dropout = dropout
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        chosen = batch(len(data.images), recipe.batch_size, step, seed)
        texts = tokenizer(captions(data, chosen))
        images = augment(data.images[chosen].float() / 255, flip=True, shift=recipe.shift)
        taught = teach(teacher, images, data, chosen) if teacher else None
        images = normalise(images).contiguous(memory_format=torch.channels_last)
        few = sdpa_kernel(SDPBackend.MATH)  # of so few tokens faster backwards than the fused one
        with few, torch.autocast("cpu", torch.bfloat16):
            pictures, words = model.encode_image(images), model.encode_text(texts)
        pictures = F.normalize(pictures.float(), dim=-1)
        logits = model.logit_scale.exp() * pictures @ F.normalize(words.float(), dim=-1).T
        return contrastive_loss(logits, data.labels[chosen], taught)

    return fit(
        model, loss, optimisers(model, recipe), recipe.steps, seed, recipe.warmup, resume=resume
    )


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
    """Zero-shot Top-1 over all curated classes, the ten names, and, of that pair, CIFAR-10."""
    results = {}
    for title, classes, count in (
        ("all classes", load_classes(), 10 * len(load_classes())),
        ("ten names", load_classes10(), 2_000),
    ):
        scenes = draw_scenes("test", range(count), size=SIZE, classes=classes, balanced=True)
        texts = class_features(
            model, tokenizer, [entry.name for entry in classes], SIMPLE_IMAGENET_TEMPLATES
        )
        results[title] = zero_shot_top1(model, texts, scenes.images, scenes.labels[:, 0])
    if data == "cifar10":
        test = load_cifar("cifar10", "test")
        key = f"{test.source}, {len(test):,} test images"
        texts = class_features(model, tokenizer, CIFAR10_CLASSES, SIMPLE_IMAGENET_TEMPLATES)
        results[key] = zero_shot_top1(model, texts, test.images, test.labels)
    return {title: round(value, 4) for title, value in results.items()}


def main() -> None:
    parser = command.parser("Train a small CLIP and save it with its card.", Recipe, CHANGEABLE)
    parser.add_argument("--tower", choices=list(TOWERS), required=True)
    parser.add_argument("--data", choices=list(SCENES), required=True)
    parser.add_argument("--scenes", type=int, help="OpenMoji scenes to draw (default: the data's)")
    parser.add_argument("--start", help="small CLIP to start from (default: random weights)")
    options = parser.parse_args()
    set_threads()
    recipe = command.changed(RECIPES[options.data, options.tower], options, CHANGEABLE)
    name = small_clip_name(options.tower, options.data)
    data = draw_captioned("train", options.scenes or SCENES[options.data], seed=options.seed)
    if options.data == "cifar10":
        data = with_cifar10(data)
    torch.manual_seed(derive(options.seed, "weights"))
    if options.start:
        model, tokenizer = load_clip(options.start, folder=options.folder)
        start = load_card(options.start, options.folder)["command"]
    else:
        tokenizer, start = make_tokenizer(), "none"
        model = build_small_clip(options.tower, tokenizer.vocab_size)
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
