import itertools

import pytest
import torch
from torch import nn

from paperlib.freq import zoo_training
from paperlib.freq.autoattack import standing
from paperlib.freq.bands import band_masks
from paperlib.freq.occlusion import low_share, occluded_frequency
from paperlib.freq.variants import LOW_CUTOFF
from paperlib.freq.zoo_recipes import RECIPES, VARIANTS
from paperlib.models.cnn import build_cnn
from paperlib.models.training import Recipe


class Brightness(nn.Module):
    """Class 1 where the mean of all pixels is above ½, else class 0; never one of the others."""

    def forward(self, x):
        above = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-above, above, *[-100 + 0 * above] * 8], 1)


class Always(nn.Module):
    def forward(self, x):
        return nn.functional.one_hot(torch.full((len(x),), 3), 10) + 0 * x.sum((1, 2, 3))[:, None]


def test_every_training_starts_elsewhere_and_is_the_same_again(job, noise):
    data = noise(8, 0)
    with torch.random.fork_rng():
        starts = [
            zoo_training.train_one(job(i), data).conv1.weight.detach().clone() for i in range(5)
        ]
        again = zoo_training.train_one(job(3), data).conv1.weight
        other = zoo_training.train_one(job(3, "mixup"), data).conv1.weight
    for one, two in itertools.combinations([*starts, other], 2):
        assert (one - two).abs().mean() > 0.05  # of weights whose mean size is about 0.1
    torch.testing.assert_close(again, starts[3], rtol=0, atol=0)


def test_no_two_trainings_share_a_seed():
    seeds = {
        zoo_training.Job(dataset, architecture, variant, training, recipe, seed).derived
        for (dataset, architecture), recipe in RECIPES.items()
        for variant in VARIANTS
        for training in range(5)
        for seed in range(2)
    }
    assert len(seeds) == len(RECIPES) * len(VARIANTS) * 5 * 2


def test_a_variant_trains_with_its_weight_decay_on_what_it_prepares(monkeypatch, job, noise):
    seen = {}

    def train(model, data, recipe, seed, prepare):
        seen.update(recipe=recipe, prepare=prepare)
        return model

    monkeypatch.setattr(zoo_training, "train", train)
    for variant, decay in {"natural": 5e-4, "weight_decay_0": 0.0, "mixup": 5e-4}.items():
        zoo_training.train_one(job(variant=variant, recipe=Recipe(7, 0.1)), noise(8, 0))
        assert seen["recipe"] == Recipe(7, 0.1, weight_decay=decay)
        assert seen["prepare"] is VARIANTS[variant].prepare


@pytest.mark.parametrize("epsilon", zoo_training.RADII.values())
def test_an_image_stands_if_its_distance_to_the_border_is_larger(epsilon):
    away = torch.tensor([0.5, 0.9, 1.1, 2.0, -0.9, -1.1]) * epsilon
    x = (0.5 + away).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    y = (away > 0).long()
    y[3] = 0  # wrong before any attack
    stood = standing(Brightness(), x, y, epsilon)
    assert stood.tolist() == [False, False, True, False, False, True]


def test_a_constant_classifier_is_as_robust_as_it_is_accurate(noise):
    data = noise(20, 1)
    stood = standing(Always(), data.floats(), data.labels, 8 / 255)
    assert torch.equal(stood, data.labels == 3)


def test_shares_are_those_of_the_notebooks(job, noise):
    torch.manual_seed(0)
    model = build_cnn("linear").eval()
    nn.init.normal_(model.linear.weight, std=0.01)
    test = noise(30, 2)
    predicted = model(test.floats()).argmax(-1)
    test.labels[20:] = predicted[20:]
    right = (predicted == test.labels).nonzero().squeeze(1)[:4]
    rows = zoo_training.measure(model, job(occluded=4), test)
    assert [row["image"] for row in rows["images"]] == right.tolist()
    assert rows["trainings"][0]["accuracy"] == pytest.approx(
        (predicted == test.labels).float().mean().item()
    )
    for score in ("logit", "probability"):
        maps = occluded_frequency(model, test.floats()[right], test.labels[right], score)
        share = low_share(maps, LOW_CUTOFF)
        each = torch.tensor([row[f"low_{score}"] for row in rows["images"]])
        torch.testing.assert_close(each, share)
        assert rows["trainings"][0][f"low_{score}"] == pytest.approx(share.mean().item())
        constant = maps[:, 0, 0]
        without = [row[f"low_{score}_without_constant"] for row in rows["images"]]
        expected = (share - constant) / (1 - constant)
        torch.testing.assert_close(torch.tensor(without), expected, rtol=1e-4, atol=1e-5)
        rings = torch.tensor([row[score] for row in rows["curves"]])
        components = band_masks(32, zoo_training.RINGS).sum((-2, -1))
        assert (rings * components).sum().item() == pytest.approx(1, abs=1e-4)
