"""Adversarially trained networks of 32 × 32 images, from files as RobustBench keeps them.

Such a file (``models/cifar10/Linf/NAME.pt``) holds a state dict, alone or under ``state_dict`` (or
under ``last`` and ``best``), its keys perhaps behind ``module.`` and ``model.``; the architecture
follows from keys and shapes. Four families have most of the entries:

- wide residual networks of TRADES and what came after it (Zagoruyko and Komodakis, arXiv
  1605.07146), ``block1.layer.0.conv1``; an unused ``sub_block1`` may stand in the file;
- those of DeepMind, ``layer.0.block.0.conv_0``, with SiLU and padding below and at the right;
- residual networks for small images with or without pre-activation (He et al., arXiv 1512.03385
  and 1603.05027), ``layer1.0.conv1``. With a BatchNorm before the last layer (``bn``), the shortcut
  starts behind the first one of a block.

Mean and deviation are those of the file (``mu`` and ``sigma``, ``mean`` and ``std``), or none:
some entries of RobustBench normalise by a constant in its code, which `first_look` finds. Source of
the format: Croce et al., arXiv 2010.09670, and the package ``robustbench``.
"""

from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from paperlib.models.checkpoints import CheckpointError, checked, read_pytorch
from paperlib.models.classifier import Classifier

State = Mapping[str, Tensor]
PREFIXES = ("module.", "model.")
UNUSED = ("sub_block1.", "model_preact_hl1.")
STATISTICS = ("mu", "sigma", "mean", "std", "normalize.mean", "normalize.std")


def load_robustbench(file: Path, key: str = "last") -> Classifier:
    """The network of a file in RobustBench's format, in eval mode.

    Args:
        file: as RobustBench downloads it.
        key: which of several state dicts in it, "last" or "best".

    Raises:
        CheckpointError: it is missing, or no state dict of one of the four families.
    """
    state = _read(file, key)
    statistics = {name: state.pop(name) for name in STATISTICS if name in state}
    if len(statistics) not in (0, 2):
        raise CheckpointError(f"{file} has {', '.join(statistics)}: mean and deviation are needed")
    try:
        network = _built(state, file)
    except (LookupError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{file} has weights of shapes that make no network") from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file} does not fit {type(network).__name__}: {error}") from None
    if not statistics:
        return Classifier(network).eval()
    mean, std = (tuple(value.flatten().tolist()) for value in statistics.values())
    return Classifier(network, mean, std).eval()


def _read(file: Path, key: str) -> dict[str, Tensor]:
    content = read_pytorch(file)
    for name in (key, "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), Mapping):
            content = content[name]
    state = checked(content, file)
    for prefix in PREFIXES:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value for name, value in state.items() if not name.startswith(UNUSED)}


def _built(state: State, file: Path) -> nn.Module:
    """An untrained network with the architecture of a state dict."""
    if "block1.layer.0.conv1.weight" in state:
        width = state["block1.layer.0.conv1.weight"].shape[0] // 16
        bias = "fc.bias" in state
        blocks = _count(state, "block1.layer.")
        return WideResNet(blocks, width, state["fc.weight"].shape[0], bias)
    if "layer.0.block.0.conv_0.weight" in state:
        width = state["layer.0.block.0.conv_0.weight"].shape[0] // 16
        blocks = _count(state, "layer.0.block.")
        return DeepMindResNet(blocks, width, state["logits.weight"].shape[0])
    if "layer1.0.conv1.weight" in state and "linear.weight" in state:
        counts = [_count(state, f"layer{stage}.") for stage in range(1, 5)]
        wide = "layer1.0.conv3.weight" in state
        classes = state["linear.weight"].shape[0]
        if "bn1.weight" in state:
            return ResNet(Bottleneck if wide else BasicBlock, counts, classes)
        if not wide:
            return PreActResNet(counts, classes, "bn.weight" in state)
    raise CheckpointError(
        f"{file} has {', '.join(list(state)[:4])}, …: no network of a family that is known here, "
        "WideResNet, DeepMind's, ResNet and PreActResNet"
    )


def _count(state: State, prefix: str) -> int:
    """How many numbered parts stand behind a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _conv(channels_in: int, channels: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)


class WideBlock(nn.Module):
    """BatchNorm and ReLU before each of two convolutions; a shortcut where channels change."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), _conv(channels_in, channels, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels)
        if channels_in != channels:
            self.convShortcut = _conv(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.convShortcut(out) if hasattr(self, "convShortcut") else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(out))))


class WideStage(nn.Module):
    """Blocks under the name ``layer``."""

    def __init__(self, blocks: int, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        others = (WideBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(WideBlock(channels_in, channels, stride), *others)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-(6 blocks + 4)-width; WRN-28-10 has 36,479,194 parameters for ten classes."""

    def __init__(self, blocks: int, width: int, classes: int = 10, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = _conv(3, 16)
        self.block1 = WideStage(blocks, 16, 16 * width, 1)
        self.block2 = WideStage(blocks, 16 * width, 32 * width, 2)
        self.block3 = WideStage(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class DeepMindBlock(nn.Module):
    """As `WideBlock`, with SiLU; a stride of two pads below and at the right alone."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels_in)
        self.conv_0 = nn.Conv2d(channels_in, channels, 3, stride, bias=False)
        self.batchnorm_1, self.conv_1 = nn.BatchNorm2d(channels), _conv(channels, channels)
        self.pad = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        if channels_in != channels:
            self.shortcut = _conv(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.silu(self.batchnorm_0(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv_0(F.pad(out, self.pad))
        return shortcut + self.conv_1(F.silu(self.batchnorm_1(out)))


class DeepMindStage(nn.Module):
    """Blocks under the name ``block``."""

    def __init__(self, blocks: int, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        others = (DeepMindBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.block = nn.Sequential(DeepMindBlock(channels_in, channels, stride), *others)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class DeepMindResNet(nn.Module):
    """Gowal et al., arXiv 2010.03593; also of Rebuffi et al. and Wang et al. in RobustBench."""

    def __init__(self, blocks: int, width: int, classes: int = 10) -> None:
        super().__init__()
        self.init_conv = _conv(3, 16)
        self.layer = nn.Sequential(
            DeepMindStage(blocks, 16, 16 * width, 1),
            DeepMindStage(blocks, 16 * width, 32 * width, 2),
            DeepMindStage(blocks, 32 * width, 64 * width, 2),
        )
        self.batchnorm = nn.BatchNorm2d(64 * width)
        self.logits = nn.Linear(64 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(self.init_conv(x))
        return self.logits(F.silu(self.batchnorm(x)).mean((2, 3)))


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions; the shortcut is a 1 × 1 one with BatchNorm where shapes change."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels_in, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two 1 × 1 ones, the last to four times the channels."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels_in, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = _conv(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels)
        self.shortcut = _shortcut(channels_in, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def _shortcut(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    if channels_in == channels and stride == 1:
        return nn.Sequential()
    return nn.Sequential(_conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))


class ResNet(nn.Module):
    """Four stages from 64 channels; ResNet-18 has 11,173,962 parameters for ten classes."""

    def __init__(self, block: type, counts: list[int], classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 64), nn.BatchNorm2d(64)
        channels_in = 64
        for stage, count in enumerate(counts):
            blocks = []
            for k in range(count):
                stride = 2 if stage and not k else 1
                blocks.append(block(channels_in, 64 * 2**stage, stride))
                channels_in = 64 * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(channels_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each of two convolutions.

    The shortcut is a 1 × 1 convolution of what comes in, or of what the first ReLU gives.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, behind: bool) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), _conv(channels_in, channels, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels)
        self.behind = behind
        if channels_in != channels or stride != 1:
            self.shortcut = nn.Sequential(_conv(channels_in, channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        if hasattr(self, "shortcut"):
            x = self.shortcut(out if self.behind else x)
        return x + self.conv2(F.relu(self.bn2(self.conv1(out))))


class PreActResNet(nn.Module):
    """Four stages from 64 channels; PreActResNet-18 has 11,171,146 parameters for ten classes."""

    def __init__(self, counts: list[int], classes: int = 10, last: bool = False) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64)
        channels_in = 64
        for stage, count in enumerate(counts):
            blocks = []
            for k in range(count):
                stride, channels = 2 if stage and not k else 1, 64 * 2**stage
                blocks.append(PreActBlock(channels_in, channels, stride, last))
                channels_in = channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        if last:
            self.bn = nn.BatchNorm2d(channels_in)
        self.linear = nn.Linear(channels_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        if hasattr(self, "bn"):
            x = F.relu(self.bn(x))
        return self.linear(x.mean((2, 3)))
