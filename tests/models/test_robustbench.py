"""Files as RobustBench keeps them, run by its networks' formulas over the tensors' own names."""

import pytest
import torch
import torch.nn.functional as F

from paperlib.models.checkpoints import CheckpointError
from paperlib.models.robustbench import (
    BasicBlock,
    Bottleneck,
    DeepMindResNet,
    PreActResNet,
    ResNet,
    WideResNet,
    load_robustbench,
)

MU = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
SIGMA = torch.tensor([0.2471, 0.2435, 0.2616]).view(1, 3, 1, 1)


def tensors(network):
    """Random weights and statistics under a network's names."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            spread = 0.5 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1
            value = spread * torch.randn(value.shape, generator=generator)
            if name.endswith(("running_var", "weight")) and value.ndim == 1:
                value = 1 + value
        found[name] = value
    return found


class Run:
    """What the layers of a state dict do, by name."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, stride=1, padding=None):
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, weight, stride=stride, padding=padding)

    def norm(self, x, name):
        parts = (
            self.state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, *parts)

    def linear(self, x, name):
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def has(self, name):
        return f"{name}.weight" in self.state


def wide(state, x, blocks):
    run = Run(state)
    x = run.conv(x, "conv1")
    for stage in (1, 2, 3):
        for k in range(blocks):
            name, stride = f"block{stage}.layer.{k}", 2 if stage > 1 and k == 0 else 1
            out = F.relu(run.norm(x, f"{name}.bn1"))
            if run.has(f"{name}.convShortcut"):
                x = run.conv(out, f"{name}.convShortcut", stride, 0)
            out = F.relu(run.norm(run.conv(out, f"{name}.conv1", stride), f"{name}.bn2"))
            x = x + run.conv(out, f"{name}.conv2")
    x = F.avg_pool2d(F.relu(run.norm(x, "bn1")), 8).flatten(1)
    return run.linear(x, "fc")


def deep_mind(state, x, blocks):
    run = Run(state)
    x = run.conv(x, "init_conv")
    for stage in (0, 1, 2):
        for k in range(blocks):
            name, stride = f"layer.{stage}.block.{k}", 2 if stage and k == 0 else 1
            out = run.norm(x, f"{name}.batchnorm_0")
            out = out * torch.sigmoid(out)
            if run.has(f"{name}.shortcut"):
                x = run.conv(out, f"{name}.shortcut", stride, 0)
            out = F.pad(out, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
            out = run.norm(run.conv(out, f"{name}.conv_0", stride, 0), f"{name}.batchnorm_1")
            x = x + run.conv(out * torch.sigmoid(out), f"{name}.conv_1")
    x = run.norm(x, "batchnorm")
    return run.linear(F.avg_pool2d(x * torch.sigmoid(x), 8).flatten(1), "logits")


def residual(state, x, counts):
    run = Run(state)
    x = F.relu(run.norm(run.conv(x, "conv1"), "bn1"))
    for stage, count in enumerate(counts, 1):
        for k in range(count):
            name, stride = f"layer{stage}.{k}", 2 if stage > 1 and k == 0 else 1
            three = run.has(f"{name}.conv3")
            out = F.relu(
                run.norm(run.conv(x, f"{name}.conv1", 1 if three else stride), f"{name}.bn1")
            )
            out = run.norm(run.conv(out, f"{name}.conv2", stride if three else 1), f"{name}.bn2")
            if three:
                out = run.norm(run.conv(F.relu(out), f"{name}.conv3"), f"{name}.bn3")
            if run.has(f"{name}.shortcut.0"):
                x = run.norm(run.conv(x, f"{name}.shortcut.0", stride, 0), f"{name}.shortcut.1")
            x = F.relu(out + x)
    return run.linear(F.avg_pool2d(x, 4).flatten(1), "linear")


def before_activation(state, x, counts):
    run = Run(state)
    x = run.conv(x, "conv1")
    for stage, count in enumerate(counts, 1):
        for k in range(count):
            name, stride = f"layer{stage}.{k}", 2 if stage > 1 and k == 0 else 1
            out = F.relu(run.norm(x, f"{name}.bn1"))
            if run.has(f"{name}.shortcut.0"):
                x = run.conv(out if run.has("bn") else x, f"{name}.shortcut.0", stride, 0)
            out = run.conv(out, f"{name}.conv1", stride)
            x = x + run.conv(F.relu(run.norm(out, f"{name}.bn2")), f"{name}.conv2")
    x = F.relu(run.norm(x, "bn")) if run.has("bn") else x
    return run.linear(F.avg_pool2d(x, 4).flatten(1), "linear")


CASES = {  # an architecture, what its tensors do, and how a file of RobustBench holds them
    "wide": (
        lambda: WideResNet(2, 2, 7),
        lambda state, x: wide(state, x, 2),
        lambda state: {
            "epoch": 200,
            "state_dict": {f"module.{name}": value for name, value in state.items()}
            | {"module.sub_block1.layer.0.bn1.weight": torch.ones(16)},
        },
    ),
    "deep mind": (
        lambda: DeepMindResNet(1, 1, 7),
        lambda state, x: deep_mind(state, (x - MU) / SIGMA, 1),
        lambda state: state | {"mean": MU[0], "std": SIGMA[0]},
    ),
    "residual": (
        lambda: ResNet(BasicBlock, [1, 2, 1, 1], 7),
        lambda state, x: residual(state, (x - MU) / SIGMA, (1, 2, 1, 1)),
        lambda state: {"mu": MU, "sigma": SIGMA} | state,
    ),
    "bottleneck": (
        lambda: ResNet(Bottleneck, [2, 1, 1, 1], 7),
        lambda state, x: residual(state, x, (2, 1, 1, 1)),
        lambda state: {f"model.{name}": value for name, value in state.items()},
    ),
    "before activation": (
        lambda: PreActResNet([2, 1, 1, 1], 7),
        lambda state, x: before_activation(state, x, (2, 1, 1, 1)),
        lambda state: {"last": state, "best": {}},
    ),
    "before activation, last": (
        lambda: PreActResNet([1, 1, 1, 1], 7, last=True),
        lambda state, x: before_activation(state, x, (1, 1, 1, 1)),
        dict,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_the_logits_of_its_formula(name, tmp_path):
    build, formula, packed = CASES[name]
    state = tensors(build())
    torch.save(packed(state), tmp_path / "model.pt")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = load_robustbench(tmp_path / "model.pt")
    assert not model.training
    with torch.no_grad():
        found, expected = model(x), formula(state, x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (WideResNet(4, 10), 36_479_194),  # WRN-28-10
        (WideResNet(5, 10), 46_160_474),  # WRN-34-10
        (ResNet(BasicBlock, [2, 2, 2, 2]), 11_173_962),
        (ResNet(Bottleneck, [3, 4, 6, 3]), 23_520_842),
        (PreActResNet([2, 2, 2, 2]), 11_171_146),
    ],
)
def test_published_numbers_of_parameters(network, parameters):
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_what_is_no_such_file_is_named(tmp_path):
    file = tmp_path / "model.pt"
    with pytest.raises(CheckpointError, match="no weights at"):
        load_robustbench(file)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="no whole PyTorch file"):
        load_robustbench(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        load_robustbench(file)
    torch.save({"patch_embed.weight": torch.ones(2)}, file)
    with pytest.raises(CheckpointError, match="has patch_embed.weight, …: no network of a family"):
        load_robustbench(file)
    torch.save({"block1.layer.0.conv1.weight": torch.ones(16, 1, 1, 1)}, file)
    with pytest.raises(CheckpointError, match="model.pt has weights of shapes that make no"):
        load_robustbench(file)
    torch.save({"mu": torch.ones(3)}, file)
    with pytest.raises(CheckpointError, match="model.pt has mu: mean and deviation are needed"):
        load_robustbench(file)
    state = tensors(WideResNet(1, 1))
    torch.save(state | {"fc.bias": torch.full((10,), torch.nan)}, file)
    with pytest.raises(CheckpointError, match="not finite, in fc.bias"):
        load_robustbench(file)
    del state["bn1.bias"]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="does not fit WideResNet"):
        load_robustbench(file)
