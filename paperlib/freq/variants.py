"""The trained variants: their names and titles, the filters, the images, and loading a model.

| variant   | the model was trained on                                                   |
|-----------|----------------------------------------------------------------------------|
| natural   | the images                                                                 |
| low_pass  | DCT components with max(u, v) < 8 of 32                                    |
| high_pass | DCT components with max(u, v) >= 4 of 32, plus mid-grey                    |
| gaussian  | the images plus noise of standard deviation 0.1                            |
| fgsm_rs   | one step of 1.25 ε from a random start (Wong et al., arXiv 2001.03994)      |
| pgd       | seven steps of ε/4 from a random start (Madry et al., arXiv 1706.06083)     |

ε = 8/255 in the L∞ norm. Filtered and noisy images are clipped to [0, 1].
`paperlib.freq.training` trains them.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from paperlib.data import LabelledImages
from paperlib.data.cifar import load_cifar
from paperlib.data.openmoji import openmoji10
from paperlib.data.tiny_imagenet import load_tiny_imagenet
from paperlib.freq.cutoffs import high_passed, low_passed
from paperlib.models.checkpoints import CheckpointError, load_checkpoint
from paperlib.models.cnn import build_cnn, folded
from paperlib.models.training import accuracy
from paperlib.names import LABELLED
from paperlib.paths import CHECKPOINTS
from paperlib.seeds import derive

VARIANTS = {  # and their titles
    "natural": "natural",
    "low_pass": "low-pass",
    "high_pass": "high-pass",
    "gaussian": "Gaussian noise",
    "fgsm_rs": "FGSM-RS training",
    "pgd": "PGD training",
}
ADVERSARIAL = {"openmoji": "pgd", "cifar10": "fgsm_rs"}  # stands for adversarial training
ARCHITECTURES = {"resnet20": "ResNet-20", "vgg_small": "VGG"}  # and their titles

EPSILON = 8 / 255
LOW_CUTOFF, HIGH_CUTOFF = 8, 4
FILTERS = {
    "full": lambda images: images,
    "low_pass": partial(low_passed, cutoff=LOW_CUTOFF),
    "high_pass": partial(high_passed, cutoff=HIGH_CUTOFF),
}
TRAINED_ON = (*LABELLED, "tiny_imagenet")  # data sets
OPENMOJI_IMAGES = {"train": 12_000, "test": 2_000}


def load_images(dataset: str, split: str) -> LabelledImages:
    """The whole split of a data set that the variants are trained or measured on.

    Raises:
        ValueError: unknown data set.
        FileNotFoundError: CIFAR-10 or Tiny ImageNet is not there; the message says where to put it.
    """
    if dataset == "openmoji":
        return openmoji10(split, OPENMOJI_IMAGES[split])
    if dataset == "cifar10":
        return load_cifar("cifar10", split)
    if dataset == "tiny_imagenet":
        return load_tiny_imagenet({"train": "train", "test": "validation"}[split])
    raise ValueError(f"dataset {dataset!r} is unknown: valid are {', '.join(TRAINED_ON)}")


def checkpoint_name(dataset: str, architecture: str, variant: str, seed: int = 0) -> str:
    """Name of the checkpoint in ``data/checkpoints``, such as ``cifar10-resnet20-pgd``."""
    return f"{dataset}-{architecture}-{variant}" + (f"-seed{seed}" if seed else "")


def load_variant(dataset: str, architecture: str, variant: str, seed: int = 0) -> nn.Module:
    """The committed model of a variant, for measuring: in eval mode, and as fast as a CPU takes it.

    Its BatchNorms are folded into the convolutions, and its weights lie so that the channels of a
    pixel are side by side.

    Raises:
        CheckpointError: it was never trained, with the command that does it, or is damaged.
    """
    name = checkpoint_name(dataset, architecture, variant, seed)
    if not (CHECKPOINTS / f"{name}.json").is_file():
        raise CheckpointError(
            f"no checkpoint {name}: train it with `python -m paperlib.freq.training --dataset "
            f"{dataset} --architecture {architecture} --variant {variant} --seed {seed}`"
        )
    return folded(load_checkpoint(name)).to(memory_format=torch.channels_last)


def untrained(architecture: str, seed: int, index: int = 0) -> nn.Module:
    """A model as it is before training, in eval mode: a null control of what training does.

    Args:
        architecture: of `ARCHITECTURES`.
        seed: of the run.
        index: which of several random starts.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "untrained", index))
        model = build_cnn(architecture)
    return folded(model).to(memory_format=torch.channels_last)


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
