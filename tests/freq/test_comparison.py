from dataclasses import replace

import numpy as np
import pytest
import torch

from paperlib.freq import comparison, rct
from paperlib.freq.bands import low_mask
from paperlib.freq.comparison import Measuring, measure
from paperlib.freq.dct import dct2
from paperlib.freq.occlusion import occluded_frequency
from paperlib.freq.sampled import drawn
from paperlib.models.classifier import Classifier

SETTINGS = Measuring(occluded=3, bands=4, share=1.0, epsilon=0.05, steps=5, resamples=50, seed=1)


class Waves(torch.nn.Module):
    """Two classes of 8 × 8 grey images by the sign of one cosine, with a little of another."""

    def __init__(self, high):
        super().__init__()
        low, tall = (torch.cos(np.pi * (2 * torch.arange(8) + 1) * k / 16) for k in (1, 6))
        parts = [(1 - high) * low, high * tall]
        self.weight = torch.nn.Parameter(torch.stack(parts).sum(0)[:, None].expand(8, 8).clone())

    def forward(self, x):
        z = (x[:, 0] * self.weight).sum((1, 2))
        return torch.stack([-z, z], 1)


@pytest.fixture(scope="module")
def pictures():
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return images, Waves(0.1)(images).argmax(1)


@pytest.fixture(scope="module")
def measured(pictures):
    return {name: measure(Classifier(Waves(high)), *pictures, SETTINGS) for name, high in MODELS}


MODELS = (("low", 0.1), ("high", 0.9))


def test_large_images_go_through_a_network_few_at_a_time():
    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.batches = torch.nn.Parameter(torch.ones(1)), []

        def forward(self, x):
            self.batches.append(len(x))
            z = self.weight * (x.mean((1, 2, 3)) - 0.5)
            return torch.stack([-z, z], 1)

    for side, most in ((224, 8), (64, 64)):  # 64 pairs of an image and a band
        network = Counted()
        images = torch.rand(20, 3, side, side, generator=torch.Generator().manual_seed(0))
        labels = (images.mean((1, 2, 3)) > 0.5).long()
        measure(
            Classifier(network), images, labels, replace(SETTINGS, occluded=20, components=False)
        )
        assert max(network.batches) == most


def test_what_is_measured_of_one(pictures, measured):
    images, labels = pictures
    found = measured["low"]
    assert found.right.all() and found.occluded.shape == (3, 8, 8)
    expected = occluded_frequency(Waves(0.1), images[:3], labels[:3])
    torch.testing.assert_close(found.occluded, expected)
    torch.testing.assert_close(found.low, (expected * low_mask(8, 2)).sum((1, 2)))
    torch.testing.assert_close(found.rings.sum(1), torch.ones(3))
    torch.testing.assert_close(found.rings[:, 0], found.low)  # below 2 of 8
    torch.testing.assert_close(found.first, found.low, atol=1e-4, rtol=1e-4)  # it is linear
    change = (found.attacked - images).abs().amax((1, 2, 3))
    assert change.max() == pytest.approx(0.05, abs=1e-5) and found.fooled.any()
    wrong = Waves(0.1)(found.attacked).argmax(1) != labels
    assert torch.equal(found.fooled, wrong)
    other = measured["high"]
    assert not other.right.all()
    assert torch.equal(other.attacked[~other.right], images[~other.right])
    assert not (other.fooled & ~other.right).any()


def test_a_sample_is_the_same_for_every_network(pictures):
    settings = Measuring(12, 4, share=0.3, steps=1, seed=1)
    assert settings.sample(pictures[0]).cutoff == 2  # a quarter of the side
    weights = drawn(12, (8, 8), settings.sample(pictures[0]), 1)
    assert (weights > 0).float().mean() < 0.5
    for _, high in MODELS:
        found = measure(Classifier(Waves(high)), *pictures, settings).occluded
        assert not found[weights == 0].any()
        torch.testing.assert_close(found.sum((1, 2)), torch.ones(12))


def test_bands_where_components_are_too_many(pictures, monkeypatch):
    monkeypatch.setattr(comparison, "LARGEST", 63)
    found = measure(Classifier(Waves(0.9)), *pictures, SETTINGS)
    assert found.occluded.shape == (3, 4)
    torch.testing.assert_close(found.occluded.sum(1), torch.ones(3))
    torch.testing.assert_close(found.low, found.occluded[:, 0])
    assert found.occluded[:, 3].min() > found.low.max()
    whole = measure(Classifier(Waves(0.9)), *pictures, Measuring(1, 4, True, 1.0, steps=1))
    assert whole.occluded.shape == (1, 8, 8)


def test_images_of_64_pixels_are_the_largest_by_component():
    for size, components in ((32, True), (64, True), (65, False)):
        assert Measuring(1).by_component(torch.zeros(1, 3, size, size)) == components


def test_the_summary_says_what_each_rests_on(pictures, measured):
    images, _ = pictures
    table = comparison.summary(measured, images, SETTINGS)
    assert table.accuracy["low"] == 1 and table.accuracy["high"] < 1
    assert table["low share"]["low"] > 0.5 > 0.3 > table["low share"]["high"]
    for name, found in measured.items():
        assert table["low share"][name] == pytest.approx(found.low.mean().item())
        share = found.fooled.sum() / found.right.sum()
        assert table.fooled[name] == pytest.approx(share.item())
    assert (table["low from"] <= table["low share"]).all()
    assert table.RCT["high"] > table.RCT["low"]


def test_differences_are_paired(pictures, measured):
    images, labels = pictures
    names = ["down", "up"]
    table = comparison.differences(measured, images, labels, names, SETTINGS)
    table = table.set_index(["quantity", "group"])
    low = (measured["high"].low - measured["low"].low).numpy()
    row = table.loc["low share", "all"]
    assert (row.model, row.minus, row.images) == ("high", "low", 3)
    assert row.difference == pytest.approx(low.mean())
    assert row["from"] <= row.difference <= row.to
    rounding = 1e-6  # a mean of equal float32 values may round past them
    assert low.min() - rounding <= row["from"]
    assert row.to <= low.max() + rounding
    for label, name in enumerate(names):
        of_class = low[(labels[:3] == label).numpy()]
        if len(of_class):
            assert table.loc["low share", name].difference == pytest.approx(of_class.mean())
    both = (measured["high"].right & measured["low"].right)[:3].numpy()
    assert table.loc["low share", "right by both"].images == both.sum()
    fooled = measured["low"].fooled & measured["high"].fooled
    ratios = [
        rct.high_to_low(rct.rct_map(images[fooled], measured[name].attacked[fooled]))
        for name in ("high", "low")
    ]
    row = table.loc["RCT", "fooled in both"]
    assert row.images == fooled.sum() and row.difference == pytest.approx(ratios[0] - ratios[1])
    rings = [table.loc[f"OF {ring}", "all"].difference for ring in range(4)]
    expected = (measured["high"].rings - measured["low"].rings).mean(0)
    assert rings == pytest.approx(expected.tolist())


def test_a_network_is_no_other_than_itself(pictures, measured):
    images, labels = pictures
    twice = {"first": measured["low"], "second": measured["low"]}
    table = comparison.differences(twice, images, labels, ["down", "up"], SETTINGS)
    assert (table.difference == 0).all() and not table[["from", "to"]].fillna(0).to_numpy().any()


def test_curves_and_maps_stand_beside_white_noise(pictures, measured):
    images, _ = pictures
    curves, side = comparison.curves(measured, images, SETTINGS)
    assert side == 8
    assert [*curves] == [
        *(("OF", "low"), ("OF", "high")),
        *(("RCT", "low"), ("RCT", "high"), ("RCT", "white noise")),
    ]
    torch.testing.assert_close(curves["OF", "low"][:, 0], measured["low"].rings[:, 0] / 4)
    fooled = measured["low"].fooled.sum()
    assert curves["RCT", "white noise"].shape == (fooled, 4)
    maps = comparison.maps(measured, images, SETTINGS)
    assert [*maps] == [*curves]
    torch.testing.assert_close(maps["OF", "high"], measured["high"].occluded.mean(0))
    norms = {
        name: (maps["RCT", name] * dct2(images[measured["low"].fooled]).abs().mean((0, 1)))
        .norm()
        .item()
        for name in ("low", "white noise")
    }
    assert norms["white noise"] == pytest.approx(norms["low"], rel=0.3)


def test_maps_do_not_show_how_often_a_component_was_drawn(pictures):
    settings = Measuring(12, 4, share=0.3, steps=1, seed=1)
    found = measure(Classifier(Waves(0.5)), *pictures, settings)
    weights = drawn(12, (8, 8), settings.sample(pictures[0]), 1)
    even = replace(found, occluded=weights / 64)
    shown = comparison.maps({"even": even}, pictures[0], settings)["OF", "even"]
    torch.testing.assert_close(shown, (weights.mean(0) > 0) / 64)


def test_without_fooled_images_there_is_no_rct(pictures):
    images, labels = pictures
    found = {"same": measure(Classifier(Waves(0.1)), images, 1 - labels, SETTINGS)}
    assert not found["same"].right.any() and torch.equal(found["same"].attacked, images)
    table = comparison.summary(found, images, SETTINGS)
    assert table.loc["same", ["fooled", "RCT", "RCT from", "RCT to"]].isna().all()
    assert ("RCT", "same") not in comparison.curves(found, images, SETTINGS)[0]


def test_the_cost_is_said_before(pictures):
    images = torch.rand(2, 3, 224, 224)
    model = Classifier(torch.nn.Sequential(torch.nn.AvgPool2d(224), torch.nn.Flatten()))
    every = comparison.cost(model, images, Measuring(1000, components=True, share=1.0))
    assert "by components: 100,352 forward passes a network" in every
    hours = comparison.cost(model, images, Measuring(1000, components=True))
    assert "by components: 20,382 forward passes a network" in hours
    assert "by bands: 32 forward passes" in comparison.cost(model, images, Measuring(1000))
    assert (
        comparison._words(7200) == "about 2.0 hours"
        and comparison._words(90) == "about 1.5 minutes"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"bands": 6}, "bands=6: multiples of 4 are valid"),
        ({"steps": 0}, "steps=0: whole numbers from 1"),
        ({"epsilon": 0.0}, "epsilon=0.0: numbers above 0"),
        ({"occluded": 0}, "occluded=0: whole numbers from 1"),
        ({"share": 0.0}, "share=0.0: above 0"),
        ({"seed": -1}, "seed=-1: whole numbers from 0"),
    ],
)
def test_what_cannot_be_measured_is_said_when_it_is_asked(words, message):
    with pytest.raises(ValueError, match=message):
        Measuring(**{"occluded": 3} | words)


def test_small_images_have_fewer_bands():
    bands = [Measuring(1).fitting(torch.zeros(1, 3, 20, side)).bands for side in (30, 16, 11, 4)]
    assert bands == [16, 16, 8, 4]
    with pytest.raises(ValueError, match="images are 20 x 3: a side of 4 pixels"):
        Measuring(1).fitting(torch.zeros(1, 3, 20, 3))


def test_a_constant_network_has_a_summary_and_no_curves(pictures, measured):
    images, _ = pictures
    labels = torch.ones(12, dtype=torch.int64)

    def constant(x):
        return 0 * x.sum((1, 2, 3))[:, None] + torch.tensor([[0.0, 1.0]])

    found = {"same": measure(Classifier(constant), images, labels, SETTINGS)}
    assert comparison.summary(found, images, SETTINGS).accuracy["same"] == 1
    assert comparison.curves(found, images, SETTINGS)[0] == {}
    assert comparison.maps(found, images, SETTINGS) == {}
    beside = found | {"low": measured["low"]}
    assert ("RCT", "white noise") in comparison.curves(beside, images, SETTINGS)[0]
    assert comparison.lacking(found) == [
        "same: no Occluded Frequency, since no frequency changes its logits",
        "same: no RCT, since PGD fools 0 of the 12 images that it gets right, and 2 are needed",
    ]


def test_what_is_there_is_not_lacking(measured):
    assert comparison.lacking(measured) == []
    bands = replace(measured["low"], occluded=measured["low"].rings)
    assert comparison.lacking({"low": bands}) == [
        "low: no map of Occluded Frequency, since whole bands were removed"
    ]
