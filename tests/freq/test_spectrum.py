import pytest
import torch
from torch import nn

from paperlib.freq.bands import radial_mean
from paperlib.freq.dct import dct2
from paperlib.freq.spectrum import (
    between_class_spectrum,
    class_spectra,
    mean_spectrum,
    profiles,
    templates,
    weight_spectrum,
)


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
