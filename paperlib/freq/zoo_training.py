"""One network of the zoo: trained, and measured as every other is.

Every training has a random start, an order and draws of its own, derived from the seed, the data
set, the architecture, the variant and its number. Of every network, rounded to half precision as
it is kept: accuracy on the test images; robust accuracy (`paperlib.freq.autoattack`) on the first
of them; Occluded Frequency, exact, on the first that it gets right. Low frequencies are those with
max(u, v) < 8 of 32.
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.autoattack import standing
from paperlib.freq.bands import radial_mean
from paperlib.freq.occlusion import (
    Score,
    component_changes_by_score,
    low_share,
    normalise,
    without_constant,
)
from paperlib.freq.variants import LOW_CUTOFF, checkpoint_name
from paperlib.freq.zoo_recipes import KEPT, VARIANTS
from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.cnn import build_cnn
from paperlib.models.training import Recipe, predict, train
from paperlib.runtime import device, device_name
from paperlib.seeds import derive

RADII = {"robust_2": 2 / 255, "robust_8": 8 / 255}  # columns of robust accuracy, and their ε
RINGS = 32
TABLES = ("images", "curves", "trainings")  # the last is written last: it says what is done


@dataclass(frozen=True)
class Job:
    """One training, and how much of it is measured.

    Attributes:
        training: its number, 0 upwards.
        attacked: test images of the robust accuracies.
        occluded: test images of Occluded Frequency, the first that the network gets right.
    """

    dataset: str
    architecture: str
    variant: str
    training: int
    recipe: Recipe
    seed: int = 0
    attacked: int = 500
    occluded: int = 100

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name a training in every table."""
        names = ("dataset", "architecture", "variant", "training")
        return {name: getattr(self, name) for name in names}

    @property
    def derived(self) -> int:
        """The seed of this training alone."""
        what = f"{self.dataset} {self.architecture} {self.variant}"
        return derive(self.seed, what, self.training)


def train_one(job: Job, data: LabelledImages) -> nn.Module:
    """The trained network of a job, on the device of the images, in eval mode."""
    torch.manual_seed(derive(job.derived, "weights"))
    model = build_cnn(job.architecture).to(data.images.device)
    variant = VARIANTS[job.variant]
    recipe = replace(job.recipe, weight_decay=variant.weight_decay)
    return train(model, data, recipe, job.derived, variant.prepare)


def low_shares(changes: Float[Tensor, "n size size"], constant: bool = True) -> Float[Tensor, " n"]:
    """Low-frequency share of Occluded Frequency of every image, from the changes of its score.

    Args:
        changes: as of `component_changes`.
        constant: whether the constant component counts, as a low one and in the sum.
    """
    maps = normalise(changes)
    return low_share(maps if constant else without_constant(maps), LOW_CUTOFF)


def measure(model: nn.Module, job: Job, test: LabelledImages) -> dict[str, list[dict[str, Any]]]:
    """Rows of `TABLES`, without the columns that name the training."""
    images, labels = test.floats(), test.labels
    correct = predict(model, images, 1000) == labels
    row: dict[str, Any] = {"accuracy": correct.float().mean().item()}
    for name, epsilon in RADII.items():
        some = slice(job.attacked)
        stood = standing(model, images[some], labels[some], epsilon, job.derived)
        row[name] = stood.float().mean().item()
    chosen = correct.nonzero().squeeze(1)[: job.occluded]
    row |= {"attacked": min(job.attacked, len(test)), "occluded": len(chosen)}
    batch = 2048 if images.is_cuda else 64
    changes = component_changes_by_score(model, images[chosen], labels[chosen], batch=batch)
    shares = {}
    for score, change in changes.items():
        shares[f"low_{score}"] = low_shares(change)
        shares[f"low_{score}_without_constant"] = low_shares(change, constant=False)
    row |= {name: share.mean().item() for name, share in shares.items()}
    each = zip(chosen.tolist(), *(share.tolist() for share in shares.values()), strict=True)
    return {
        "trainings": [row],
        "images": [dict(zip(("image", *shares), values, strict=True)) for values in each],
        "curves": list(_curve(changes)),
    }


def _curve(changes: dict[Score, Tensor]) -> Iterator[dict[str, Any]]:
    """Mean Occluded Frequency of a component in each ring of radius, over images."""
    means = [radial_mean(normalise(change), RINGS).mean(0).tolist() for change in changes.values()]
    for ring, values in enumerate(zip(*means, strict=True)):
        yield {"ring": ring, **dict(zip(changes, values, strict=True))}


def run(job: Job, source: Path, folder: Path, commit: str) -> dict[str, list[dict[str, Any]]]:
    """Train and measure one network; the rows of `TABLES`, its weights kept where they should be.

    Args:
        source: file of the images, as of `pack`.
        folder: of the weights.
        commit: of the code, for the table.
    """
    began = time.perf_counter()
    data, test = unpack(source, str(device()))
    model = halve(train_one(job, data)).to(memory_format=torch.contiguous_format)
    if data.images.is_cuda:
        torch.cuda.synchronize()
    trained = time.perf_counter()
    rows = measure(model, job, test)
    about = {
        "seed": job.derived,
        **asdict(job.recipe),
        "weight_decay": VARIANTS[job.variant].weight_decay,
        "training_seconds": round(trained - began, 2),
        "measuring_seconds": round(time.perf_counter() - trained, 2),
        "device": device_name(),
        "commit": commit,
    }
    rows["trainings"][0] |= about
    if job.training == 0 and job.variant in KEPT[job.dataset, job.architecture]:
        recipe = job.recipe
        card = {
            "architecture": job.architecture,
            "variant": job.variant,
            "data": f"{data.source}, {len(data):,} training images",
            "test": f"{test.source}, {len(test):,} test images",
            "test_accuracy": round(rows["trainings"][0]["accuracy"], 4),
            "recipe": asdict(recipe) | {"weight_decay": about["weight_decay"]},
            "device": about["device"],
            "command": f"python -m paperlib.freq.zoo --dataset {job.dataset} --architectures "
            f"{job.architecture} --variants {job.variant} --trainings 1 --seed {job.seed} "
            f"--epochs {recipe.epochs}",
        }
        name = checkpoint_name(job.dataset, job.architecture, job.variant)
        save_checkpoint(model, name, card, folder)
    return {name: [job.key | row for row in rows[name]] for name in TABLES}


def pack(path: Path, train_images: LabelledImages, test_images: LabelledImages) -> None:
    """Write both splits into one NumPy file."""
    content: dict[str, Any] = {"classes": np.array(train_images.classes)}
    for name, split in {"train": train_images, "test": test_images}.items():
        content |= {
            f"{name}_images": split.images.numpy(),
            f"{name}_labels": split.labels.numpy(),
            f"{name}_source": np.array(split.source),
        }
    np.savez(path, **content)


@functools.lru_cache(maxsize=1)
def unpack(path: Path, where: str) -> tuple[LabelledImages, LabelledImages]:
    """Training and test split of a file as of `pack`, on a device."""
    content = np.load(path)
    classes = tuple(content["classes"].tolist())
    return tuple(
        LabelledImages(
            torch.from_numpy(content[f"{name}_images"]).to(where),
            torch.from_numpy(content[f"{name}_labels"]).long().to(where),
            classes,
            str(content[f"{name}_source"]),
        )
        for name in ("train", "test")
    )
