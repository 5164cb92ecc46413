"""Small CNNs: ResNet-20 and -32, a VGG with BatchNorm and a linear classifier for 32 × 32 images,
ResNet-14 for 64 × 64.

Every model takes RGB in [0, 1], normalises it itself and returns logits, so that attacks and
filters work in pixel space.

Sources: He et al., arXiv 1512.03385, section 4.2 (ResNets with option A shortcuts; parameter
names of the checkpoints published in akamaster/pytorch_resnet_cifar10); Simonyan and Zisserman,
arXiv 1409.1556 (VGG); the stem of ResNet-14 halves the image twice, as those for ImageNet do.
"""

import copy
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
VGG_SMALL = (32, "pool", 64, 64, "pool", 128, 128, "pool", 256, 256)


class Normalised(nn.Module):
    """A classifier that shifts and scales pixels in [0, 1] by the published mean and deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n classes"]:
        """Logits of RGB images in [0, 1]."""
        return self.logits((images - self.mean) / self.std)

    def logits(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions; the shortcut subsamples and pads channels with zeros (option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels_in, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.stride, self.pad = stride, (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.pad or self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out.add_(x), inplace=True)


class ResNet20(Normalised):
    """Three stages of three blocks, 16, 32 and 64 channels; 269,722 parameters for ten classes."""

    blocks, width, stem = 3, 16, 1  # blocks a stage, channels of the first, stride of the stem

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        width = self.width
        self.conv1, self.bn1 = _conv(3, width, self.stem), nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, 1)
        self.layer2 = self._stage(width, 2 * width, 2)
        self.layer3 = self._stage(2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, classes)

    def _stage(self, channels_in: int, channels: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels, stride)
        others = (BasicBlock(channels, channels, 1) for _ in range(self.blocks - 1))
        return nn.Sequential(first, *others)

    def logits(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.stem > 1:
            x = F.max_pool2d(x, self.stem)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class ResNet32(ResNet20):
    """The same with five blocks a stage; 464,154 parameters for ten classes."""

    blocks = 5


class ResNet14(ResNet20):
    """For 64 × 64 images: a convolution and a pooling of stride 2, then two blocks a stage.

    32, 64 and 128 channels; 685,994 parameters for ten classes. An epoch is cheap, as the stages
    work on a sixteenth of the pixels.
    """

    blocks, width, stem = 2, 32, 2


class SmallVGG(Normalised):
    """Seven 3 × 3 convolutions with BatchNorm in four stages (`VGG_SMALL`), then a linear layer."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for step in VGG_SMALL:
            if step == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [_conv(channels, step), nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
                channels = step
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, classes)

    def logits(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).mean((2, 3)))


class Linear(Normalised):
    """One weight a pixel, channel and class: its spectrum can be read off directly."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, classes)
        nn.init.zeros_(self.linear.weight)  # convex: any start will do, and this one adds no noise
        nn.init.zeros_(self.linear.bias)

    def logits(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


CNNS: dict[str, Callable[[int], Normalised]] = {
    "resnet20": ResNet20,
    "resnet32": ResNet32,
    "resnet14": ResNet14,
    "vgg_small": SmallVGG,
    "linear": Linear,
}


def build_cnn(name: str, classes: int = 10) -> Normalised:
    """A model with random weights.

    Raises:
        ValueError: `name` is not in `CNNS`.
    """
    if name not in CNNS:
        raise ValueError(f"model {name!r} is unknown: valid are {', '.join(CNNS)}")
    return CNNS[name](classes)


def folded(model: Normalised) -> Normalised:
    """A copy in eval mode whose BatchNorms are folded into the convolutions before them.

    Logits are the same but for rounding, at about seven eighths of the time on a CPU, gradients of
    the pixels included. For measuring alone: it has nothing left to train a BatchNorm with.
    """
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        for (name, first), (norm, second) in itertools.pairwise(list(module.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, norm, nn.Identity())
    return model
