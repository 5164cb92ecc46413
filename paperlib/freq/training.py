"""Training of the variants, which differ only in what the model sees: filters, noise, attacks.

`paperlib.freq.variants` names them and says what each is trained on.
``python -m paperlib.freq.training --help`` trains the checkpoints in ``data/checkpoints``.
"""

import os
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.variants import (
    EPSILON,
    FILTERS,
    TRAINED_ON,
    VARIANTS,
    checkpoint_name,
    load_images,
)
from paperlib.models import command
from paperlib.models.checkpoints import load_checkpoint, read_weights
from paperlib.models.cnn import CNNS, build_cnn
from paperlib.models.frozen import frozen
from paperlib.models.resume import Resume
from paperlib.models.training import Prepare, Recipe, accuracy, train
from paperlib.runtime import device, set_threads
from paperlib.seeds import derive

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # or importing foolbox fails without git
import foolbox

NOISE = 0.1


def noisy(images: Tensor) -> Tensor:
    """Images in [0, 1] plus Gaussian noise, clipped to [0, 1]."""
    return (images + NOISE * torch.randn_like(images)).clamp(0, 1)


def linf_pgd(
    model: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    epsilon: float,
    step_size: float,
    steps: int,
    random_start: bool = True,
    autocast: bool = False,
) -> Float[Tensor, "n 3 height width"]:
    """PGD in the L∞ ball, for the inner loop of adversarial training; draws from torch's generator.

    One step of 1.25 epsilon from a random start is FGSM-RS (Wong et al., arXiv 2001.03994). The
    model is in eval mode and without parameter gradients during the attack, and as before after it.

    Args:
        model: takes images in [0, 1], returns logits.
        images: RGB in [0, 1].
        labels: true classes.
        epsilon: largest change of a pixel value, in units of the [0, 1] image.
        step_size: change of a pixel value in one step, same units.
        steps: number of gradient steps.
        random_start: start from a uniform draw in the ball instead of the image.
        autocast: run the model in bfloat16 where torch's autocast does.
    """
    algorithm = foolbox.attacks.LinfPGD(
        abs_stepsize=step_size, steps=steps, random_start=random_start
    )
    with frozen(model):
        seen = _Autocast(model) if autocast else model
        wrapped = foolbox.PyTorchModel(seen, bounds=(0, 1), device=images.device)
        return algorithm.run(wrapped, images, labels, epsilon=epsilon).detach()


class _Autocast(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


def _attacked(steps: int, step_size: float, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return linf_pgd(model, x, y, EPSILON, step_size, steps, autocast=True)


PREPARE: dict[str, Prepare | None] = {  # what the model sees of a batch; None: the batch
    "natural": None,
    "low_pass": lambda model, images, labels: FILTERS["low_pass"](images),
    "high_pass": lambda model, images, labels: FILTERS["high_pass"](images),
    "gaussian": lambda model, images, labels: noisy(images),
    "fgsm_rs": partial(_attacked, 1, 1.25 * EPSILON),
    "pgd": partial(_attacked, 7, EPSILON / 4),
}


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
    model = start if start is not None else build_cnn(architecture, len(data.classes))
    return train(model, data, recipe, seed, PREPARE[variant], resume=resume)


# Epochs and peak learning rate by data set, architecture and kind of training.
RECIPES = {
    ("openmoji", "resnet20"): Recipe(6, 0.2),
    ("openmoji", "vgg_small"): Recipe(6, 0.1),
    ("openmoji", "linear"): Recipe(10, 0.01, shift=2),
    ("cifar10", "resnet20"): Recipe(20, 0.2),
    ("cifar10", "vgg_small"): Recipe(15, 0.1),
    ("cifar10", "linear"): Recipe(10, 0.01, shift=2),
    ("tiny_imagenet", "resnet14"): Recipe(8, 0.2),
}
CHANGEABLE = ("epochs", "learning_rate")  # of a recipe


def load_start(dataset: str, architecture: str, start: str, classes: int = 10) -> nn.Module:
    """What training starts from: a variant that is committed, or a file of published weights."""
    if start in VARIANTS:
        return load_checkpoint(checkpoint_name(dataset, architecture, start))
    return read_weights(build_cnn(architecture, classes), Path(start))


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
    parser.add_argument("--dataset", choices=TRAINED_ON, required=True)
    parser.add_argument("--architecture", choices=list(CNNS), required=True)
    parser.add_argument("--variant", choices=list(VARIANTS), required=True)
    parser.add_argument(
        "--start",
        help="variant, or file of published weights, to start from (default: random weights)",
    )
    options = parser.parse_args()
    set_threads()
    dataset, architecture, variant = options.dataset, options.architecture, options.variant
    if (dataset, architecture) not in RECIPES:
        known = ", ".join(f"{arch} of {name}" for name, arch in RECIPES)
        parser.error(f"no recipe for {architecture} of {dataset}: there are {known}")
    recipe = command.changed(RECIPES[dataset, architecture], options, CHANGEABLE)
    data, test = (load_images(dataset, split).to(device()) for split in ("train", "test"))
    torch.manual_seed(derive(options.seed, "weights"))
    model = build_cnn(architecture, len(data.classes))
    if options.start:
        model = load_start(dataset, architecture, options.start, len(data.classes))
        options.start = Path(options.start).name
    model.to(device())
    name = checkpoint_name(dataset, architecture, variant, options.seed)
    images = f"{data.source}, {len(data):,} training images"
    training = command.Training(__spec__.name, name, model, recipe, images, options)
    train_variant(architecture, variant, data, recipe, options.seed, model, training.resume)
    training.finish(
        lambda: {
            "architecture": architecture,
            "classes": len(data.classes),
            "variant": variant,
            "recipe": {"start": options.start or "random weights"},
            "test": f"{test.source}, {len(test):,} test images",
            "test_accuracy": round(accuracy(model, test.floats(), test.labels), 4),
            "pgd20_accuracy_first_1000": round(
                robust_accuracy_pgd(model, test.subset(torch.arange(1000))), 4
            ),
        }
    )


if __name__ == "__main__":
    main()
