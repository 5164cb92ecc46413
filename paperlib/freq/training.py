"""Training variants that differ only in what the model sees: filters, noise, attacks.

| variant   | the model is trained on                                                    |
|-----------|----------------------------------------------------------------------------|
| natural   | the images                                                                 |
| low_pass  | DCT components with max(u, v) < 8 of 32                                    |
| high_pass | DCT components with max(u, v) >= 4 of 32, plus mid-grey                    |
| gaussian  | the images plus noise of standard deviation 0.1                            |
| fgsm_rs   | one step of 1.25 ε from a random start (Wong et al., arXiv 2001.03994)      |
| pgd       | seven steps of ε/4 from a random start (Madry et al., arXiv 1706.06083)     |

ε = 8/255 in the L∞ norm. Filtered and noisy images are clipped to [0, 1].
``python -m paperlib.freq.training --help`` trains the checkpoints in ``data/checkpoints``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.data.cifar import load_cifar
from paperlib.data.openmoji import openmoji10
from paperlib.freq.attacks import linf_pgd
from paperlib.freq.cutoffs import high_passed, low_passed
from paperlib.models import command
from paperlib.models.checkpoints import CheckpointError, load_checkpoint, read_weights
from paperlib.models.cnn import CNNS, build_cnn
from paperlib.models.resume import Resume
from paperlib.models.training import Prepare, Recipe, accuracy, train
from paperlib.paths import CHECKPOINTS
from paperlib.runtime import set_threads
from paperlib.seeds import derive

EPSILON = 8 / 255
LOW_CUTOFF, HIGH_CUTOFF = 8, 4
NOISE = 0.1


FILTERS = {
    "full": lambda images: images,
    "low_pass": partial(low_passed, cutoff=LOW_CUTOFF),
    "high_pass": partial(high_passed, cutoff=HIGH_CUTOFF),
}


def noisy(images: Tensor) -> Tensor:
    """Images in [0, 1] plus Gaussian noise, clipped to [0, 1]."""
    return (images + NOISE * torch.randn_like(images)).clamp(0, 1)


def _attacked(steps: int, step_size: float, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return linf_pgd(model, x, y, EPSILON, step_size, steps, autocast=True)


VARIANTS: dict[str, Prepare | None] = {
    "natural": None,
    "low_pass": lambda model, images, labels: FILTERS["low_pass"](images),
    "high_pass": lambda model, images, labels: FILTERS["high_pass"](images),
    "gaussian": lambda model, images, labels: noisy(images),
    "fgsm_rs": partial(_attacked, 1, 1.25 * EPSILON),
    "pgd": partial(_attacked, 7, EPSILON / 4),
}
ADVERSARIAL = {"openmoji": "pgd", "cifar10": "fgsm_rs"}  # stands for adversarial training
ARCHITECTURES = ("resnet20", "vgg_small")


def train_variant(
    architecture: str,
    variant: str,
    data: LabelledImages,
    recipe: Recipe,
    seed: int = 0,
    start: nn.Module | None = None,
    resume: Resume | None = None,
) -> nn.Module:
    """Train a model on one variant of the images, from `start` if it is given.

    Raises:
        ValueError: unknown architecture or variant, with the valid ones.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown: valid are {', '.join(VARIANTS)}")
    torch.manual_seed(derive(seed, "weights"))
    model = start if start is not None else build_cnn(architecture)
    return train(model, data, recipe, seed, VARIANTS[variant], resume=resume)


# Epochs and peak learning rate by data set, architecture and kind of training.
RECIPES = {
    ("openmoji", "resnet20"): Recipe(6, 0.2),
    ("openmoji", "vgg_small"): Recipe(6, 0.1),
    ("openmoji", "linear"): Recipe(10, 0.01, shift=2),
    ("cifar10", "resnet20"): Recipe(20, 0.2),
    ("cifar10", "vgg_small"): Recipe(15, 0.1),
    ("cifar10", "linear"): Recipe(10, 0.01, shift=2),
}
CHANGEABLE = ("epochs", "learning_rate")  # of a recipe
OPENMOJI_IMAGES = {"train": 12_000, "test": 2_000}


def load_images(dataset: str, split: str) -> LabelledImages:
    """The whole split of a data set that the variants are trained or measured on.

    Raises:
        ValueError: unknown data set.
        FileNotFoundError: CIFAR-10 is not there; the message says where to put it.
    """
    if dataset == "openmoji":
        return openmoji10(split, OPENMOJI_IMAGES[split])
    if dataset == "cifar10":
        return load_cifar("cifar10", split)
    raise ValueError(f"dataset {dataset!r} is unknown: valid are openmoji, cifar10")


def checkpoint_name(dataset: str, architecture: str, variant: str) -> str:
    """Name of the checkpoint in ``data/checkpoints``, such as ``cifar10-resnet20-pgd``."""
    return f"{dataset}-{architecture}-{variant}"


def load_variant(dataset: str, architecture: str, variant: str) -> nn.Module:
    """The committed model of a variant, in eval mode.

    Raises:
        CheckpointError: it was never trained, with the command that does it, or is damaged.
    """
    name = checkpoint_name(dataset, architecture, variant)
    if not (CHECKPOINTS / f"{name}.json").is_file():
        raise CheckpointError(
            f"no checkpoint {name}: train it with `python -m paperlib.freq.training --dataset "
            f"{dataset} --architecture {architecture} --variant {variant}`"
        )
    return load_checkpoint(name)


def load_start(dataset: str, architecture: str, start: str) -> nn.Module:
    """What training starts from: a variant that is committed, or a file of published weights."""
    if start in VARIANTS:
        return load_variant(dataset, architecture, start)
    return read_weights(build_cnn(architecture), Path(start))


def trained(dataset: str) -> list[tuple[str, str]]:
    """Architecture and variant of every CNN that has a card for this data set."""
    return [
        (architecture, variant)
        for architecture in ARCHITECTURES
        for variant in VARIANTS
        if (CHECKPOINTS / f"{checkpoint_name(dataset, architecture, variant)}.json").is_file()
    ]


def transfer_matrix(models: Sequence[nn.Module], data: LabelledImages) -> np.ndarray:
    """Accuracy of every model (rows) on the images through each of `FILTERS` (columns), 0 to 1."""
    images = data.floats()
    return np.array(
        [
            [accuracy(model, through(images), data.labels) for through in FILTERS.values()]
            for model in models
        ]
    )


def robust_accuracy_pgd(model: nn.Module, data: LabelledImages, steps: int = 20) -> float:
    """Accuracy under PGD with ε = 8/255, from a random start; a figure for the card."""
    correct = 0
    for images, labels in zip(data.floats().split(250), data.labels.split(250), strict=True):
        attacked = linf_pgd(model, images, labels, EPSILON, 2.5 * EPSILON / steps, steps)
        with torch.inference_mode():
            correct += (model(attacked).argmax(-1) == labels).sum().item()
    return correct / len(data)


def main() -> None:
    parser = command.parser("Train one variant and save it with its card.", Recipe, CHANGEABLE)
    parser.add_argument("--dataset", choices=["openmoji", "cifar10"], required=True)
    parser.add_argument("--architecture", choices=list(CNNS), required=True)
    parser.add_argument("--variant", choices=list(VARIANTS), required=True)
    parser.add_argument(
        "--start",
        help="variant, or file of published weights, to start from (default: random weights)",
    )
    options = parser.parse_args()
    set_threads()
    dataset, architecture, variant = options.dataset, options.architecture, options.variant
    recipe = command.changed(RECIPES[dataset, architecture], options, CHANGEABLE)
    data, test = load_images(dataset, "train"), load_images(dataset, "test")
    torch.manual_seed(derive(options.seed, "weights"))
    model = build_cnn(architecture)
    if options.start:
        model = load_start(dataset, architecture, options.start)
        options.start = Path(options.start).name
    name = checkpoint_name(dataset, architecture, variant)
    images = f"{data.source}, {len(data):,} training images"
    resume = command.begin(name, model, recipe, images, options)
    train_variant(architecture, variant, data, recipe, options.seed, model, resume)
    command.finish(
        "paperlib.freq.training",
        name,
        model,
        recipe,
        lambda: {
            "architecture": architecture,
            "variant": variant,
            "data": images,
            "recipe": {"start": options.start or "random weights"},
            "test": f"{test.source}, {len(test):,} test images",
            "test_accuracy": round(accuracy(model, test.floats(), test.labels), 4),
            "pgd20_accuracy_first_1000": round(
                robust_accuracy_pgd(model, test.subset(torch.arange(1000))), 4
            ),
        },
        options,
        resume,
    )


if __name__ == "__main__":
    main()
