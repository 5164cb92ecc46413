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
learning rates rise linearly and fall as a cosine. Half of the ViT's patches are left out for most
of the training, as in FLIP (Li et al., arXiv 2212.00794).
``python -m paperlib.models.clip_training --help`` trains the checkpoints in ``data/checkpoints``.
"""

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
from paperlib.models.captions import (
    SIZE,
    CaptionedImages,
    captions,
    draw_captioned,
    make_tokenizer,
    with_cifar10,
)
from paperlib.models.checkpoints import halve, load_card, load_checkpoint, save_checkpoint
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
from paperlib.models.training import augment
from paperlib.paths import CHECKPOINTS, outputs_dir
from paperlib.runtime import set_threads

LARGEST_SCALE = 100.0  # of the logits, as in CLIP
SAVE_SECONDS = 120  # between two checkpoints of a run
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
    progress_file: Path | None = None,
) -> tuple[CLIP, float]:
    """Train in place; the model in eval mode and the seconds it took, earlier runs included.

    Every step seeds torch's generator from (seed, step), so a run that continues from
    `progress_file` ends as one that was never interrupted; the file is deleted at the end.

    Raises:
        ValueError: fewer images than a batch has, or `progress_file` is of another run.
        CheckpointError: the teacher's weights are missing or damaged.
    """
    n, size = len(data.images), recipe.batch_size
    if n < size:
        raise ValueError(f"{n} images: batch_size={size} needs at least as many")
    optimizers = _optimizers(model, recipe)
    teacher = load_checkpoint(recipe.teacher) if recipe.teacher else None
    run = {"recipe": asdict(recipe), "seed": seed, "images": n}
    first, earlier = _resume(progress_file, model, optimizers, run)
    per_epoch, order = n // size, None
    began = saved = time.monotonic()
    for step in range(first, recipe.steps):
        if order is None or step % per_epoch == 0:
            shuffle = torch.Generator().manual_seed(seed * 1_000 + step // per_epoch)
            order = torch.randperm(n, generator=shuffle)
        torch.manual_seed(seed * 1_000_000 + step)
        place = step % per_epoch * size
        chosen = order[place : place + size]
        loss = _step(model, tokenizer, data, chosen, recipe, step, optimizers, teacher)
        now = time.monotonic()
        if step % 50 == 0:
            print(f"step {step}  loss {loss:.3f}  {earlier + now - began:.0f} s", flush=True)
        if progress_file and now - saved > SAVE_SECONDS:
            done = {"run": run, "step": step + 1, "seconds": earlier + now - began}
            _save(progress_file, model, optimizers, done)
            saved = now
    if progress_file:
        progress_file.unlink(missing_ok=True)
    return model.eval(), earlier + time.monotonic() - began


def rate(step: int, recipe: Recipe) -> float:
    """Learning rate as a share of its peak: a linear rise, then a cosine down to 0."""
    rise = max(1, round(recipe.warmup * recipe.steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / (recipe.steps - rise))) / 2


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


def _step(
    model: CLIP,
    tokenizer: CompactTokenizer,
    data: CaptionedImages,
    chosen: Tensor,
    recipe: Recipe,
    step: int,
    optimizers: Sequence[torch.optim.Optimizer],
    teacher: nn.Module | None = None,
) -> float:
    model.train()
    if recipe.patch_dropout:
        whole = step >= (1 - recipe.whole) * recipe.steps
        model.visual.patch_dropout = nn.Identity() if whole else PatchDropout(recipe.patch_dropout)
    texts = tokenizer(captions(data, chosen))
    images = augment(data.images[chosen].float() / 255, flip=True, shift=recipe.shift)
    taught = teach(teacher, images, data, chosen) if teacher else None
    images = normalise(images).contiguous(memory_format=torch.channels_last)
    few = sdpa_kernel(SDPBackend.MATH)  # of so few tokens faster backwards than the fused one
    with few, torch.autocast("cpu", torch.bfloat16):
        pictures, words = model.encode_image(images), model.encode_text(texts)
    pictures, words = F.normalize(pictures.float(), dim=-1), F.normalize(words.float(), dim=-1)
    logits = model.logit_scale.exp() * pictures @ words.T
    loss = contrastive_loss(logits, data.labels[chosen], taught)
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, recipe)
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
    return loss.item()


def _optimizers(model: CLIP, recipe: Recipe) -> list[torch.optim.Optimizer]:
    hidden = [
        parameter
        for name, parameter in model.named_parameters()
        if recipe.matrix_rate and "visual.transformer" in name and parameter.ndim == 2
    ]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in hidden)]
    decayed = [p for p in others if p.ndim > 1]
    plain = [p for p in others if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizers = [torch.optim.AdamW(groups, recipe.learning_rate, betas=(0.9, 0.98))]
    if hidden:
        optimizers.append(
            torch.optim.Muon(hidden, recipe.matrix_rate, weight_decay=recipe.weight_decay)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _save(
    path: Path, model: CLIP, optimizers: Sequence[torch.optim.Optimizer], done: dict[str, Any]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = done | {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def _resume(
    path: Path | None,
    model: CLIP,
    optimizers: Sequence[torch.optim.Optimizer],
    run: dict[str, Any],
) -> tuple[int, float]:
    if path is None or not path.is_file():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if state["run"] != run:
        raise ValueError(f"{path} is of another run, {state['run']}: delete it to start anew")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    print(f"continues at step {state['step']} from {path}", flush=True)
    return state["step"], state["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train a small CLIP and save it with its card; continues an interrupted run."
    )
    parser.add_argument("--tower", choices=list(TOWERS), required=True)
    parser.add_argument("--data", choices=list(SCENES), required=True)
    parser.add_argument("--steps", type=int, help="batches (default, here and below: the recipe's)")
    parser.add_argument("--learning-rate", type=float, help="peak of AdamW's")
    parser.add_argument("--matrix-rate", type=float, help="peak of Muon's")
    parser.add_argument("--patch-dropout", type=float, help="share of the ViT's patches left out")
    parser.add_argument("--scenes", type=int, help="OpenMoji scenes to draw (default: the data's)")
    parser.add_argument("--start", help="small CLIP to start from (default: random weights)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=CHECKPOINTS, help="where to save")
    options = parser.parse_args()
    set_threads()
    recipe = RECIPES[options.data, options.tower]
    changes = {key: getattr(options, key) for key in CHANGEABLE}
    recipe = replace(recipe, **{key: v for key, v in changes.items() if v is not None})
    changes["steps"] = recipe.steps  # named in any case
    name = small_clip_name(options.tower, options.data)
    began = time.monotonic()
    data = draw_captioned("train", options.scenes or SCENES[options.data], seed=options.seed)
    if options.data == "cifar10":
        data = with_cifar10(data)
    print(f"{name}: {data.source}, {time.monotonic() - began:.0f} s", flush=True)
    torch.manual_seed(options.seed)
    if options.start:
        model, tokenizer = load_clip(options.start, folder=options.folder)
    else:
        tokenizer = make_tokenizer()
        model = build_small_clip(options.tower, tokenizer.vocab_size)
    progress_file = outputs_dir() / "training" / f"{name}-seed{options.seed}.pt"
    model, seconds = train_clip(model, tokenizer, data, recipe, options.seed, progress_file)
    model = halve(model)
    given = {
        "--tower": options.tower,
        "--data": options.data,
        **{f"--{key.replace('_', '-')}": value for key, value in changes.items()},
        "--scenes": options.scenes,
        "--start": options.start,
        "--seed": options.seed,
    }
    start = load_card(options.start, options.folder)["command"] if options.start else "none"
    words = " ".join(f"{flag} {value}" for flag, value in given.items() if value is not None)
    card = {
        "architecture": f"clip-{options.tower}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": data.source,
        "recipe": asdict(recipe) | {"start": options.start or "random weights"},
        "training_seconds": round(seconds),
        "zero_shot_top1": evaluate(model, tokenizer, options.data),
        "command": f"python -m paperlib.models.clip_training {words}",
        "start": start,
        "vocabulary": " ".join(map(str, tokenizer.kept)),
    }
    path = save_checkpoint(model, name, card, options.folder)
    print(f"{path.name}: {seconds:.0f} s, zero-shot Top-1 {card['zero_shot_top1']}")


if __name__ == "__main__":
    main()
