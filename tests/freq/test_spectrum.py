from dataclasses import replace

import pytest
import torch
from torch import nn

from paperlib.data import LabelledImages
from paperlib.freq import bands
from paperlib.freq.bands import radial_mean
from paperlib.freq.dct import dct2, idct2
from paperlib.freq.spectrum import (
    between_class_spectrum,
    beyond_shuffled,
    class_spectra,
    mean_spectrum,
    planted,
    profiles,
    templates,
    weight_spectrum,
)
from paperlib.freq.training import RECIPES, train_variant


def test_plain_loops(colours):
    images, labels = colours
    X = [dct2(x) for x in images]
    expected = sum(value.abs().mean(0) for value in X) / len(X)
    torch.testing.assert_close(mean_spectrum(images), expected, atol=1e-5, rtol=1e-4)
    spectra = class_spectra(images, labels, 4)
    for k in range(4):
        mine = torch.stack([x for x, y in zip(X, labels, strict=True) if y == k])
        torch.testing.assert_close(spectra[k], mine.abs().mean((0, 1)), atol=1e-5, rtol=1e-4)


def test_between_classes(colours):
    images, labels = colours
    means = torch.stack([dct2(images[labels == k]).mean(0) for k in range(4)])
    expected = ((means - means.mean(0)) ** 2).mean(0).sqrt().mean(0)
    ours = between_class_spectrum(images, labels, 4)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    same = between_class_spectrum(images[:1].repeat(4, 1, 1, 1), torch.arange(4), 4)
    assert same.max() < 1e-5


def test_an_empty_class_is_an_error(colours):
    with pytest.raises(ValueError, match=r"counts \[16, 16, 16, 16, 0\]"):
        class_spectra(*colours, 5)
    with pytest.raises(ValueError, match="each of 3 classes"):
        between_class_spectrum(*colours, 3)


@pytest.fixture
def noise():
    """Two sets of 600 images of 1/f noise in ten classes that it knows nothing of."""
    random = torch.Generator().manual_seed(0)
    waves = torch.randn(1200, 3, 32, 32, generator=random) / bands.radius(32, 32).clamp(min=1)
    pixels = (255 * (0.5 + idct2(waves) / 12).clamp(0, 1)).to(torch.uint8)
    data = LabelledImages(pixels, torch.arange(1200) % 10, tuple("abcdefghij"), "made here")
    return data.subset(torch.arange(600)), data.subset(torch.arange(600, 1200))


@pytest.mark.parametrize(("norm", "planted_in"), [(0, False), (2, True)])
def test_weights_follow_classes_beyond_shuffled_ones_only_where_there_are_some(
    noise, norm, planted_in
):
    square = bands.radius(32, shape="square")
    mask = (square >= 16) & (square < 24)
    first, second = (planted(each, mask, norm, 0) for each in noise)
    assert sorted(first.labels.tolist()) == sorted(noise[0].labels.tolist())
    recipe = replace(RECIPES["openmoji", "linear"], shift=0, flip=False)
    model = train_variant("linear", "natural", first, recipe)
    found = beyond_shuffled(weight_spectrum(model), [second], 30, 0)
    assert found.shape == (1, 30)
    if planted_in:
        assert found.min() > 0.04
    else:
        assert abs(found.mean()) < 0.03 and found.min() < 0


def test_what_is_planted_is_in_the_band_and_of_the_norm(noise):
    mask = bands.radius(32, shape="square") < 4
    plain, found = planted(noise[0], mask, 0, 1), planted(noise[0], mask, 1, 1)
    assert torch.equal(plain.images, noise[0].images) and torch.equal(plain.labels, found.labels)
    change = dct2(found.floats() - plain.floats())
    assert change[..., mask].square().sum() > 0.9 * change.square().sum()
    assert change.flatten(1).norm(dim=1).median() == pytest.approx(1, abs=0.1)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x):
        return self.layer(((x - 0.4) / 0.2).flatten(1))


def test_templates_hold_the_normalisation():
    model = Scaled()
    W = model.layer.weight.detach().view(4, 3, 8, 8) / 0.2
    expected = W - W.mean(0)
    torch.testing.assert_close(templates(model, 8, 8), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        weight_spectrum(model, 8, 8), dct2(expected).abs().mean((0, 1)), atol=1e-5, rtol=1e-4
    )


def test_templates_need_an_affine_model(trained):
    with pytest.raises(ValueError, match="affine"):
        templates(trained, 16, 16)


def test_profiles_of_the_classes_and_their_mean(colours):
    images, labels = colours
    table = profiles(images, labels, "abcd", 8)
    wide = table.pivot(index="radius", columns="class", values="value")
    assert wide.index.tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    expected = radial_mean(class_spectra(images, labels, 4), 8)
    torch.testing.assert_close(torch.tensor(wide[list("abcd")].to_numpy().T), expected)
    torch.testing.assert_close(torch.tensor(wide["all"].to_numpy()), expected.mean(0))
