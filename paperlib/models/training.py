"""One training loop for image classifiers: SGD, one-cycle learning rate, flips and shifts.

What is special about a training variant (a filter, noise, an attack) is a function from the batch
to the batch that the model sees; see `paperlib.freq.training`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.models.frozen import frozen
from paperlib.runtime import progress

Prepare = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, images, labels) -> images


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of `train`.

    Attributes:
        epochs: passes over the images.
        learning_rate: at the peak of the one-cycle schedule.
        batch_size: images a step.
        weight_decay: of SGD with Nesterov momentum 0.9.
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
) -> nn.Module:
    """Train in place and return the model in eval mode; the same for the same seed.

    Args:
        model: takes images in [0, 1], returns logits.
        data: training split.
        recipe: hyper-parameters.
        seed: of order, augmentation and whatever `prepare` draws.
        prepare: applied to every augmented batch, such as a filter or an attack.
        autocast: compute in bfloat16 where torch's autocast does.
    """
    torch.manual_seed(seed)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        0.9,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    steps = len(data) // recipe.batch_size
    if not steps:
        raise ValueError(
            f"{len(data)} images: batch_size={recipe.batch_size} needs at least as many"
        )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs, pct_start=0.2
    )
    for _ in progress(range(recipe.epochs), "training"):
        model.train()
        order = torch.randperm(len(data))[: steps * recipe.batch_size]
        for chosen in order.view(steps, recipe.batch_size):
            images = augment(data.images[chosen].float() / 255, recipe.flip, recipe.shift)
            labels = data.labels[chosen]
            if prepare:
                images = prepare(model, images, labels)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                logits = model(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def augment(
    images: Float[Tensor, "n 3 size size"], flip: bool, shift: int
) -> Float[Tensor, "n 3 size size"]:
    """Random mirror images and shifts, drawn from torch's generator; edges are repeated."""
    n, _, size, _ = images.shape
    if flip:
        mirrored = torch.rand(n) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if not shift:
        return images
    padded = F.pad(images, (shift,) * 4, mode="replicate")
    span = torch.arange(size)
    rows = torch.randint(2 * shift + 1, (n, 1)) + span  # (n, size)
    columns = torch.randint(2 * shift + 1, (n, 1)) + span
    item = torch.arange(n)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]]  # (n, h, w, 3)
    return moved.permute(0, 3, 1, 2)


def predict(
    model: nn.Module, images: Float[Tensor, "n 3 height width"], batch_size: int = 100
) -> Int[Tensor, " n"]:
    """Class with the largest logit, in eval mode, computed `batch_size` images at a time."""
    with frozen(model), torch.inference_mode():
        return torch.cat([model(batch).argmax(-1) for batch in images.split(batch_size)])


def accuracy(
    model: nn.Module, images: Float[Tensor, "n 3 height width"], labels: Int[Tensor, " n"]
) -> float:
    """Share of images in [0, 1] whose class is predicted, 0 to 1."""
    return (predict(model, images) == labels).float().mean().item()
