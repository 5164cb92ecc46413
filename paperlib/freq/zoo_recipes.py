"""The variants of the zoo: what each training differs by, and how long it lasts.

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

`paperlib.freq.zoo_training` trains and measures one of them, `paperlib.freq.zoo` all.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from paperlib.freq.cutoffs import high_passed, low_passed
from paperlib.freq.training import linf_pgd
from paperlib.freq.variants import EPSILON, HIGH_CUTOFF, LOW_CUTOFF
from paperlib.models.training import Prepare, Recipe


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
