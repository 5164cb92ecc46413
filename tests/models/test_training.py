import json
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from torch import nn

from paperlib.data import LabelledImages
from paperlib.models.cnn import build_cnn
from paperlib.models.resume import Resume
from paperlib.models.training import (
    Recipe,
    accuracy,
    adamw,
    augment,
    batch,
    fit,
    predict,
    rate,
    train,
)
from paperlib.paths import CHECKPOINTS


@pytest.fixture
def colours():
    """Ten colours with noise: a linear model can tell them apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(26)
    palette = torch.rand(10, 3, generator=generator) * 200
    images = palette[labels][:, :, None, None] + 40 * torch.rand(
        260, 3, 32, 32, generator=generator
    )
    names = tuple(f"colour {k}" for k in range(10))
    return LabelledImages(images.to(torch.uint8), labels, names, "made here")


def trained(data, seed, **options):
    torch.manual_seed(0)
    return train(build_cnn("linear"), data, Recipe(12, 0.003, batch_size=26), seed, **options)


def test_training_learns_and_repeats(colours):
    first, again, other = (trained(colours, seed) for seed in (0, 0, 1))
    assert accuracy(first, colours.floats(), colours.labels) > 0.9
    assert torch.equal(first.linear.weight, again.linear.weight)
    assert not torch.equal(first.linear.weight, other.linear.weight)
    assert not first.training


def test_the_model_sees_what_prepare_returns(colours):
    seen = []

    def prepare(model, images, labels):
        seen.append((model.training, images.shape, images.min() >= 0, images.max() <= 1))
        return torch.zeros_like(images)

    model = trained(colours, 0, prepare=prepare)
    assert len(seen) == 12 * 10
    assert seen[0] == (True, (26, 3, 32, 32), True, True)
    found = accuracy(model, colours.floats(), colours.labels)
    assert found < 0.5  # black images teach nothing of the colours


def test_too_few_images_are_refused(colours):
    with pytest.raises(ValueError, match="260 images: batch_size=300 needs at least as many"):
        train(build_cnn("linear"), colours, Recipe(1, 0.1, batch_size=300), 0)


def test_augmentation_moves_and_mirrors_whole_images():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32)
    moved = augment(images, flip=True, shift=4)
    padded = torch.nn.functional.pad(images, (4,) * 4, mode="replicate")
    for before, after in zip(padded, moved, strict=True):
        windows = before.unfold(1, 32, 1).unfold(2, 32, 1)  # (3, 9, 9, 32, 32)
        candidates = torch.cat([windows, windows.flip(-1)], 1).flatten(1, 2)
        assert (candidates == after[:, None]).all((0, 2, 3)).sum() >= 1
    assert torch.equal(augment(images, flip=False, shift=0), images)


def test_predict_does_not_depend_on_the_batch(colours):
    model = build_cnn("vgg_small")
    images = colours.floats()[:20]
    assert torch.equal(predict(model, images, 3), predict(model, images, 20))
    assert model.training  # as it was


# --- the loop of every network ----------------------------------------------------------------


def optimisers_of(model):
    """Of each kind that a training takes, all of which remember earlier steps."""
    matrix = model[0].weight
    return [
        adamw(list(model[1].parameters()), 0.1, 0.05),
        torch.optim.Muon([matrix], 0.05),
        torch.optim.SGD([model[0].bias], 0.1, momentum=0.9, nesterov=True),
    ]


def fitted(resume=None, steps=6, stop=None, seed=5, **options):
    """A small network with a norm whose running means are buffers; what it drew, step by step."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    drawn = []

    def loss(step):
        if step == stop:
            raise KeyboardInterrupt
        drawn.append(step)
        return (model(torch.randn(8, 4)) - 3).square().mean()

    fit(model, loss, optimisers_of(model), steps, seed, resume=resume, **options)
    return model, drawn


def test_a_training_that_goes_on_equals_one_that_was_never_interrupted(tmp_path, capsys):
    whole, drawn = fitted()
    assert drawn == list(range(6)) and not whole.training
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fitted(Resume(path, {"seed": 5}, every=0), stop=4)
    torch.manual_seed(99)
    again, drawn = fitted(Resume(path, {"seed": 5}))
    assert drawn == [4, 5]
    assert "step 4 of 6: loss" in capsys.readouterr().out
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"run\.pt is of another run \(seed differ\)"):
        fitted(Resume(path, {"seed": 6}))


def test_the_loss_draws_by_seed_and_step():
    first, again, other = (fitted(seed=seed)[0][0].weight for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_gradients_are_clipped_and_rates_follow_the_schedule():
    """SGD from 0 with a gradient of (3, 4): each step is as long as its rate."""
    model, places = nn.Linear(2, 1, bias=False), []
    nn.init.zeros_(model.weight)

    def loss(step):
        places.append(model.weight.detach().norm().item())
        return -(model.weight * torch.tensor([[3.0, 4.0]])).sum()

    sgd = torch.optim.SGD(model.parameters(), 0.5)
    fit(model, loss, [sgd], 10, 0, warmup=0.2, clip=1.0)
    places.append(model.weight.detach().norm().item())
    steps = [after - before for before, after in pairwise(places)]
    assert steps == pytest.approx([0.5 * rate(step, 10, 0.2) for step in range(10)], abs=1e-5)


def test_momentum_is_less_where_the_steps_are_long():
    model, found = nn.Linear(2, 1), []
    sgd = torch.optim.SGD(model.parameters(), 0.1, 0.95)

    def loss(step):
        found.append(sgd.param_groups[0]["momentum"])
        return model(torch.ones(1, 2)).sum()

    fit(model, loss, [sgd], 9, 0, momentum=(0.95, 0.85))
    shares = [rate(step, 9, 0.1) for step in range(8)]
    assert found == pytest.approx([0.95, *(0.95 - 0.1 * share for share in shares)])


def test_rates_rise_and_fall():
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[55] == pytest.approx(0.5) and 0 < rates[-1] < 0.001
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rate(0, 1, 0.1) == 1


def test_a_pass_takes_each_once_and_every_pass_has_its_order():
    passes = [torch.cat([batch(11, 3, 3 * k + i, 7) for i in range(3)]) for k in range(3)]
    for order in passes:
        assert len(order) == 9 and len(order.unique()) == 9 and 0 <= order.min() <= order.max() < 11
    assert not torch.equal(passes[0], passes[1]) and not torch.equal(passes[1], passes[2])
    assert torch.equal(batch(11, 3, 4, 7), passes[1][3:6])
    assert not torch.equal(batch(11, 11, 0, 7), batch(11, 11, 0, 8))


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    decayed, plain = adamw(list(model.parameters()), 0.1, 0.05).param_groups
    assert [p.shape for p in decayed["params"]] == [(6, 4)] and decayed["weight_decay"] == 0.05
    assert len(plain["params"]) == 3 and plain["weight_decay"] == 0


def test_the_defaults_are_what_the_committed_networks_were_trained_with():
    card = json.loads((CHECKPOINTS / "openmoji-resnet20-natural.json").read_text())
    recipe = {name: value for name, value in card["recipe"].items() if name != "start"}
    assert asdict(Recipe(recipe["epochs"], recipe["learning_rate"])) == recipe
