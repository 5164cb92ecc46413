"""Models with random weights, images for them, and the same models written out plainly."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paperlib.models.cnn import VGG_SMALL, build_cnn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the published checkpoints


def randomised(name: str, seed: int = 0) -> torch.nn.Module:
    """A model whose batch norms differ from the identity, as those of a trained one do."""
    torch.manual_seed(seed)
    model = build_cnn(name)
    for key, value in model.state_dict().items():
        if key.endswith("running_mean") or (value.dim() == 1 and key.endswith("bias")):
            value.normal_(0, 0.3)
        elif key == "linear.weight":
            value.normal_(0, 0.05)
        elif key.endswith("running_var") or value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return model.eval()


def images(n: int = 4, size: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def normalised(x: Tensor) -> Tensor:
    return torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)


def plain_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean, variance, scale, shift = (
        weights[f"{name}.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def plain_resnet(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """ResNets for CIFAR with option A shortcuts, from the published names of the weights."""
    x = normalised(x)
    wide = len(weights["conv1.weight"]) == 32  # its stem halves the image twice
    x = F.conv2d(x, weights["conv1.weight"], padding=1, stride=2 if wide else 1)
    x = plain_norm(x, weights, "bn1").clamp(min=0)
    if wide:
        n, channels, height, width = x.shape
        x = x.reshape(n, channels, height // 2, 2, width // 2, 2).amax((3, 5))
    for stage in (1, 2, 3):
        blocks = {name.split(".")[1] for name in weights if name.startswith(f"layer{stage}.")}
        for block in range(len(blocks)):
            name = f"layer{stage}.{block}"
            first = stage > 1 and block == 0
            y = F.conv2d(x, weights[f"{name}.conv1.weight"], padding=1, stride=2 if first else 1)
            y = plain_norm(y, weights, f"{name}.bn1").clamp(min=0)
            y = F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1)
            y = plain_norm(y, weights, f"{name}.bn2")
            if first:  # every second pixel; a quarter of the channels is zero on either side
                n, channels, height, width = y.shape
                shortcut = torch.zeros(n, channels, height, width)
                shortcut[:, channels // 4 : channels // 4 * 3] = x[:, :, ::2, ::2]
                x = shortcut
            x = (y + x).clamp(min=0)
    x = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    return x @ weights["linear.weight"].T + weights["linear.bias"]


def plain_vgg(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    x = normalised(x)
    layer = 0
    for step in VGG_SMALL:
        if step == "pool":
            n, channels, height, width = x.shape
            x = x.reshape(n, channels, height // 2, 2, width // 2, 2).amax((3, 5))
            layer += 1
        else:
            x = F.conv2d(x, weights[f"features.{layer}.weight"], padding=1)
            x = plain_norm(x, weights, f"features.{layer + 1}").clamp(min=0)
            layer += 3
    return x.mean((2, 3)) @ weights["linear.weight"].T + weights["linear.bias"]


def plain_linear(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    pixels = normalised(x).numpy().reshape(len(x), -1)
    logits = [[np.dot(pixel, row) for row in weights["linear.weight"].numpy()] for pixel in pixels]
    return torch.tensor(np.array(logits)) + weights["linear.bias"]


@pytest.fixture(name="randomised")
def _randomised():
    return randomised


@pytest.fixture(name="images")
def _images():
    return images


@pytest.fixture(name="plain")
def _plain():
    return {
        "resnet14": plain_resnet,
        "resnet20": plain_resnet,
        "resnet32": plain_resnet,
        "vgg_small": plain_vgg,
        "linear": plain_linear,
    }
