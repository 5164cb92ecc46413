r"""The training loop of every network, and the training of image classifiers with it.

A step's learning rate is a share of its peak: up along a line over the first `warmup` of the steps,
then down along a cosine,

$$r_k = \frac{k+1}{w} \;\; (k < w), \qquad
  r_k = \tfrac12\Bigl(1 + \cos\pi\,\frac{k-w}{n-w}\Bigr) \;\; (w \le k < n).$$

Every step seeds torch's generator from the seed and its number, so that a training that goes on
after an interruption ends with the weights of one that was never interrupted.

What is special about the training of a classifier (a filter, noise, an attack) is a function from
the batch to the batch that the model sees.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.models.classifier import as_classifier, at_once
from paperlib.models.frozen import frozen
from paperlib.models.resume import Resume
from paperlib.runtime import progress
from paperlib.seeds import derive, generator


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    optimisers: Sequence[torch.optim.Optimizer],
    steps: int,
    seed: int,
    warmup: float = 0.1,
    clip: float | None = None,
    momentum: tuple[float, float] | None = None,
    resume: Resume | None = None,
) -> nn.Module:
    """Minimise a loss in place; the model in eval mode, the same for the same seed.

    Args:
        model: whose parameters and buffers change.
        loss: of a batch, from the number of the step, 0 upwards; what it draws from torch's
            generator follows from seed and step.
        optimisers: of the model's parameters, each with its peak learning rates.
        steps: batches.
        seed: of what `loss` draws.
        warmup: share of the steps in which the learning rates rise.
        clip: largest norm of the gradient of all parameters; None leaves it as it is.
        momentum: where the learning rate is 0, and at its peak; None leaves it as it is.
        resume: where the state is kept, and read from if it is there.

    Raises:
        ValueError: `resume` has the state of another run.
    """
    resume = resume or Resume(None, {})
    for group in _groups(optimisers):
        group["peak"] = group["lr"]
    first = 0
    if kept := resume.load():
        first = kept["step"]
        model.load_state_dict(kept["model"])
        for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)

    def now() -> dict[str, Any]:
        states = [optimiser.state_dict() for optimiser in optimisers]
        return {"step": step + 1, "model": model.state_dict(), "optimisers": states}

    model.train()
    for step in progress(range(first, steps), "training"):
        torch.manual_seed(derive(seed, "step", step))
        value = loss(step)
        for optimiser in optimisers:
            optimiser.zero_grad()
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        share = rate(step, steps, warmup)
        for group in _groups(optimisers):
            group["lr"] = group["peak"] * share
            if momentum:
                group["momentum"] = momentum[0] + (momentum[1] - momentum[0]) * share
        for optimiser in optimisers:
            optimiser.step()
        if resume.save(now):
            spent = f"{resume.seconds:.0f} s"
            print(f"step {step + 1} of {steps}: loss {value.item():.4f}, {spent}", flush=True)
    return model.eval()


def rate(step: int, steps: int, warmup: float) -> float:
    """Learning rate as a share of its peak, 0 to 1; see the equation above."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def batches(count: int, size: int) -> int:
    """How many whole batches of `size` there are in `count` items.

    Raises:
        ValueError: `size` is larger than `count`.
    """
    if count < size:
        raise ValueError(f"{count} images: batch_size={size} needs at least as many")
    return count // size


def batch(count: int, size: int, step: int, seed: int) -> Int[Tensor, " {size}"]:
    """Which of `count` items a step gets: every pass has an order of its own, its rest left out.

    Raises:
        ValueError: `size` is larger than `count`.
    """
    epoch, place = divmod(step, batches(count, size))
    return _order(count, seed, epoch)[place * size :][:size]


def adamw(
    parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW that decays matrices and filters, and neither biases nor the scales of norms."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, learning_rate, betas=(0.9, 0.98))


def _groups(optimisers: Sequence[torch.optim.Optimizer]) -> list[dict[str, Any]]:
    return [group for optimiser in optimisers for group in optimiser.param_groups]


@functools.lru_cache(maxsize=1)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch))


MOMENTUM = (0.95, 0.85)  # of SGD: less where its steps are long (Smith, arXiv 1803.09820)

# (model, images, labels) -> images, or images and their labels as shares of the classes
Prepare = Callable[[nn.Module, Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of `train`.

    Attributes:
        epochs: passes over the images.
        learning_rate: at its peak.
        batch_size: images a step.
        weight_decay: of SGD with Nesterov momentum, `MOMENTUM`.
        flip: mirror every image with probability ½.
        shift: move every image by up to this many pixels, edges repeated.
    """

    epochs: int
    learning_rate: float
    batch_size: int = 128
    weight_decay: float = 5e-4
    flip: bool = True
    shift: int = 4


def train(
    model: nn.Module,
    data: LabelledImages,
    recipe: Recipe,
    seed: int,
    prepare: Prepare | None = None,
    autocast: bool = True,
    resume: Resume | None = None,
) -> nn.Module:
    """Train a classifier in place and return it in eval mode; the same for the same seed.

    Args:
        model: takes images in [0, 1], returns logits; on the device of the images.
        data: training split.
        recipe: hyper-parameters.
        seed: of order, augmentation and whatever `prepare` draws.
        prepare: applied to every augmented batch, such as a filter or an attack.
        autocast: compute in bfloat16 where torch's autocast does.
        resume: see `fit`.

    Raises:
        ValueError: fewer images than a batch has.
    """
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        MOMENTUM[0],
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )

    def loss(step: int) -> Tensor:
        chosen = batch(len(data), recipe.batch_size, step, seed)
        chosen = chosen.to(data.images.device, non_blocking=True)
        images = augment(data.images[chosen].float() / 255, recipe.flip, recipe.shift)
        labels = data.labels[chosen]
        if prepare:
            prepared = prepare(model, images, labels)
            images, labels = prepared if isinstance(prepared, tuple) else (prepared, labels)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            logits = model(images.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits.float(), labels)

    steps = recipe.epochs * batches(len(data), recipe.batch_size)
    return fit(model, loss, [optimiser], steps, seed, 0.2, momentum=MOMENTUM, resume=resume)


def augment(
    images: Float[Tensor, "n 3 size size"], flip: bool, shift: int
) -> Float[Tensor, "n 3 size size"]:
    """Random mirror images and shifts, drawn from torch's generator; edges are repeated."""
    n, _, size, _ = images.shape
    device = images.device
    if flip:
        mirrored = torch.rand(n, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if not shift:
        return images
    padded = F.pad(images, (shift,) * 4, mode="replicate")
    span = torch.arange(size, device=device)
    rows = torch.randint(2 * shift + 1, (n, 1), device=device) + span  # (n, size)
    columns = torch.randint(2 * shift + 1, (n, 1), device=device) + span
    item = torch.arange(n, device=device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]]  # (n, h, w, 3)
    return moved.permute(0, 3, 1, 2)


def predict(
    model: nn.Module, images: Float[Tensor, "n channels height width"], batch_size: int = 100
) -> Int[Tensor, " n"]:
    """Class with the largest logit, in eval mode, computed `batch_size` images at a time.

    On the model's device; the classes are on that of the images.
    """
    model, place = as_classifier(model), next(model.parameters(), images).device
    with frozen(model), torch.inference_mode():
        parts = images.split(at_once(images, batch_size))
        classes = [model(part.to(place)).argmax(-1) for part in parts]
        return torch.cat(classes).to(images.device)


def accuracy(
    model: nn.Module, images: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"]
) -> float:
    """Share of images in [0, 1] whose class is predicted, 0 to 1."""
    return (predict(model, images) == labels).float().mean().item()
