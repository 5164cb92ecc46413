"""Many small networks, trained and measured alike: is one that uses low frequencies more robust?

| variant                           | differs from natural training by                         |
|-----------------------------------|----------------------------------------------------------|
| natural                           | nothing; weight decay 5e-4                               |
| weight_decay_0, weight_decay_5e-3 | weight decay                                             |
| mixup                             | two images mixed, their labels too; share drawn evenly   |
| blur                              | a Gaussian blur, σ = 1 pixel                             |
| low_pass_16, low_pass             | DCT components with max(u, v) < 16, < 8 of 32            |
| high_pass                         | DCT components with max(u, v) >= 4 of 32, plus mid-grey  |
| gaussian_0.05, gaussian,          | Gaussian noise of standard deviation 0.05, 0.1, 0.2      |
| gaussian_0.2                      |                                                          |
| fgsm_rs                           | one step of 1.25 ε from a random start, ε = 8/255        |
| pgd_4, pgd                        | two steps of ¾ ε from a random start, ε = 4/255, 8/255   |

Every training has a random start, an order and draws of its own, derived from the seed, the data
set, the architecture, the variant and its number. Of every network, rounded to half precision as
it is kept: accuracy on the test images; robust accuracy (`paperlib.freq.autoattack`) on the first
of them; Occluded Frequency, exact, on the first that it gets right. Low frequencies are those with
max(u, v) < 8 of 32.

``python -m paperlib.freq.zoo --help`` trains what the tables in a folder lack. It adds one row a
training to ``trainings.csv``, one a ring of radius to ``curves.csv``, one an image to
``images.csv``, and keeps the weights of training 0. The number of the training runs slowest, so
that a command that is stopped leaves every variant with nearly as many trainings.
"""

import argparse
import csv
import functools
import io
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from paperlib.data import LabelledImages
from paperlib.files import write_files
from paperlib.freq.autoattack import standing
from paperlib.freq.bands import radial_mean
from paperlib.freq.cutoffs import high_passed, low_passed
from paperlib.freq.occlusion import Score, component_changes_by_score, low_share, normalise
from paperlib.freq.training import linf_pgd
from paperlib.freq.variants import EPSILON, HIGH_CUTOFF, LOW_CUTOFF, checkpoint_name, load_images
from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.cnn import build_cnn
from paperlib.models.training import Prepare, Recipe, predict, train
from paperlib.names import ROOT
from paperlib.runtime import device, set_threads
from paperlib.seeds import derive


@dataclass(frozen=True)
class Variant:
    """What a training differs by: what the model sees of a batch, and weight decay."""

    prepare: Prepare | None = None
    weight_decay: float = 5e-4


def _noisy(deviation: float, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (x + deviation * torch.randn_like(x)).clamp(0, 1)


def _attacked(
    epsilon: float, steps: int, step_size: float, model: nn.Module, x: Tensor, y: Tensor
) -> Tensor:
    return linf_pgd(model, x, y, epsilon, step_size, steps, autocast=True)


def mixed(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Each image mixed with another of the batch, and the labels (ten classes) likewise.

    Zhang et al., arXiv 1710.09412, with α = 1.
    """
    share, other = torch.rand((), device=x.device), torch.randperm(len(x), device=x.device)
    labels = F.one_hot(y, 10).to(x)
    return tuple(share * each + (1 - share) * each[other] for each in (x, labels))


VARIANTS = {
    "natural": Variant(),
    "low_pass": Variant(lambda model, x, y: low_passed(x, LOW_CUTOFF)),
    "gaussian": Variant(partial(_noisy, 0.1)),
    "fgsm_rs": Variant(partial(_attacked, EPSILON, 1, 1.25 * EPSILON)),
    "pgd": Variant(partial(_attacked, EPSILON, 2, 0.75 * EPSILON)),
    "high_pass": Variant(lambda model, x, y: high_passed(x, HIGH_CUTOFF)),
    "mixup": Variant(mixed),
    "blur": Variant(lambda model, x, y: gaussian_blur(x, 5, 1.0)),
    "weight_decay_0": Variant(weight_decay=0.0),
    "weight_decay_5e-3": Variant(weight_decay=5e-3),
    "gaussian_0.05": Variant(partial(_noisy, 0.05)),
    "gaussian_0.2": Variant(partial(_noisy, 0.2)),
    "low_pass_16": Variant(lambda model, x, y: low_passed(x, 16)),
    "pgd_4": Variant(partial(_attacked, EPSILON / 2, 2, 0.75 * EPSILON / 2)),
}
RECIPES = {
    ("cifar10", "resnet20"): Recipe(6, 0.4, 512),
    ("cifar10", "vgg_small"): Recipe(6, 0.2, 512),
    ("openmoji", "resnet20"): Recipe(8, 0.2, 256),
    ("openmoji", "vgg_small"): Recipe(8, 0.1, 256),
}
FIVE = ("natural", "low_pass", "gaussian", "fgsm_rs", "pgd")
KEPT = {  # weights of training 0, within 25 MB
    ("cifar10", "resnet20"): tuple(VARIANTS),
    ("cifar10", "vgg_small"): FIVE,
    ("openmoji", "resnet20"): FIVE,
    ("openmoji", "vgg_small"): (),
}
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
    if not constant:
        changes = changes.clone()
        changes[:, 0, 0] = 0
    return low_share(normalise(changes), LOW_CUTOFF)


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
        "device": torch.cuda.get_device_name() if data.images.is_cuda else "CPU",
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


def done(folder: Path) -> set[tuple[str, ...]]:
    """Keys of the trainings in a folder's tables; rows that an interruption left over are removed.

    `TABLES` are appended to in their order, so that a training in the last is whole in all.
    """
    whole: set[tuple[str, ...]] = set()
    for name in reversed(TABLES):
        path = folder / f"{name}.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if name == TABLES[-1]:
            whole = {_key(row) for row in rows if None not in row.values()}
        kept = [row for row in rows if _key(row) in whole and None not in row.values()]
        if len(kept) < len(rows):
            write_files({path: _text(kept, list(rows[0])).encode()})
    return whole


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("dataset", "architecture", "variant", "training"))


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a table, and see that they are on the disk."""
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(_text(rows, None if file.tell() else list(rows[0])))
        file.flush()
        os.fsync(file.fileno())


def _text(rows: Sequence[dict[str, Any]], header: list[str] | None) -> str:
    """Lines of CSV, numbers with six digits."""
    lines = [header] if header else []
    lines += [[f"{v:.6g}" if isinstance(v, float) else v for v in row.values()] for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _in_time(
    deadline: float, job: Job, *arguments: Any
) -> dict[str, list[dict[str, Any]]] | str | None:
    """`run`, or None once the deadline is over, or what went wrong: the others still count."""
    if time.time() > deadline:
        return None
    try:
        return run(job, *arguments)
    except Exception:
        return traceback.format_exc()


def _begin() -> None:
    """Settings of a process that trains and measures: full single precision where it matters."""
    set_threads()
    torch.backends.cudnn.allow_tf32 = False


def train_all(
    jobs: Sequence[Job], source: Path, folder: Path, commit: str, workers: int, deadline: float
) -> int:
    """Run jobs in order, several at a time, and write each result at once; how many failed.

    Args:
        deadline: seconds since 1970 after which no job is begun.
        jobs, source, folder, commit: as of `run`.
    """
    failed = finished = 0
    began = time.time()
    spawn = get_context("spawn")  # CUDA does not work in a forked process
    with ProcessPoolExecutor(workers, spawn, _begin) as pool:
        futures = {pool.submit(_in_time, deadline, j, source, folder, commit): j for j in jobs}
        for future in as_completed(futures):
            result, job = future.result(), futures[future]
            if result is None:
                continue
            if isinstance(result, str):
                failed += 1
                print(f"{job.key} failed:\n{result}", file=sys.stderr, flush=True)
                continue
            for name in TABLES:
                _append(folder / f"{name}.csv", result[name])
            finished += 1
            row = result["trainings"][0]
            print(
                f"{finished}/{len(jobs)} {time.time() - began:.0f} s: {' '.join(_key(row))} "
                f"{row['accuracy']:.3f} {row['robust_2']:.3f} {row['robust_8']:.3f} "
                f"low {row['low_logit']:.3f}, {row['training_seconds']} + "
                f"{row['measuring_seconds']} s",
                flush=True,
            )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=["cifar10", "openmoji"], required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the tables and weights")
    parser.add_argument("--trainings", type=int, default=5, help="of every variant")
    architectures = sorted({architecture for _, architecture in RECIPES})
    parser.add_argument("--architectures", nargs="+", choices=architectures, default=architectures)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="file with both splits, as this writes it")
    parser.add_argument("--attacked", type=int, default=Job.attacked, help="images a network")
    parser.add_argument("--occluded", type=int, default=Job.occluded, help="images a network")
    parser.add_argument("--workers", type=int, default=1, help="networks at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none later")
    parser.add_argument("--commit", default=os.environ.get("PAPERLIB_COMMIT"))
    options = parser.parse_args()
    deadline = time.time() + 60 * options.minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    there = done(options.folder)
    jobs = []
    for training in range(options.trainings):
        for variant in options.variants:
            for architecture in options.architectures:
                recipe = RECIPES[options.dataset, architecture]
                recipe = replace(recipe, epochs=options.epochs or recipe.epochs)
                names = (options.dataset, architecture, variant, training)
                sizes = (options.seed, options.attacked, options.occluded)
                job = Job(*names, recipe, *sizes)
                if _key(job.key) not in there:
                    jobs.append(job)
    with tempfile.TemporaryDirectory() as temporary:
        source = options.images or Path(temporary) / "images.npz"
        if not source.exists():
            pack(source, *(load_images(options.dataset, split) for split in ("train", "test")))
        commit = options.commit or _commit()
        failed = train_all(jobs, source, options.folder, commit, options.workers, deadline)
    print(f"{len(done(options.folder))} trainings in {options.folder}, {failed} failed")
    sys.exit(bool(failed))


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
