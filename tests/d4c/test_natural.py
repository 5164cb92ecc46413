"""Images that know neither model nor data: what photographs have in common, found, made again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from paperlib.d4c import natural
from paperlib.d4c.natural import (
    NUMBERS,
    NaturalSpectrum,
    dead_leaves,
    fit,
    natural_spectrum_noise,
    published_spectrum,
    scrambled,
)
from paperlib.data import LabelledImages

CHANNELS = ((1.0, 0.8, 0.5), (0.8, 1.0, 0.6), (0.5, 0.6, 1.0))
MEAN = (1.3, 0.3, -0.2, 0.5, 0.45, 0.4, -2.2, -2.1, -2.4)  # contrasts that clip nothing
DEVIATION = (0.2, 0.1, 0.15, 0.02, 0.03, 0.02, 0.1, 0.1, 0.1)
KNOWN = NaturalSpectrum(MEAN, tuple(map(tuple, np.diag(DEVIATION) ** 2)), CHANNELS, "made here")


def test_what_was_put_in_is_found_again():
    found = fit(natural_spectrum_noise(KNOWN, 600, 32, seed=3), "noise")
    deviation = np.sqrt(np.diag(found.covariance))
    for name, got, put, spread, spread_put in zip(
        NUMBERS, found.mean, MEAN, deviation, DEVIATION, strict=True
    ):
        assert got == pytest.approx(put, abs=0.1), name
        assert spread == pytest.approx(spread_put, rel=0.4, abs=0.03), name
    np.testing.assert_allclose(found.channels, CHANNELS, atol=0.03)


def test_white_noise_has_no_slope_and_no_direction():
    white = 0.5 + 0.1 * torch.randn(300, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = fit(white, "white noise")
    assert np.abs(found.mean[:3]).max() < 0.03
    np.testing.assert_allclose(found.channels, np.eye(3), atol=0.02)


@pytest.mark.parametrize("number", range(len(NUMBERS)))
def test_numbers_vary_together_as_they_are_told_to(number):
    """All variance along one direction of two numbers: the fit sees them move together."""
    other = (number + 4) % len(NUMBERS)
    spread = np.zeros(len(NUMBERS))
    spread[[number, other]] = [0.1, -0.1]
    covariance = np.outer(spread, spread)
    still = replace(KNOWN, covariance=tuple(map(tuple, covariance)))
    found = np.array(fit(natural_spectrum_noise(still, 200, 32, seed=1), "noise").covariance)
    assert found[number, other] < -0.004


def test_noise_is_that_of_its_seed_and_within_pixels():
    first = natural_spectrum_noise(published_spectrum(), 20, 48, seed=5)
    assert torch.equal(first, natural_spectrum_noise(published_spectrum(), 20, 48, seed=5))
    assert not torch.equal(first, natural_spectrum_noise(published_spectrum(), 20, 48, seed=6))
    assert first.shape == (20, 3, 48, 48) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and first.std((1, 2, 3)).min() > 0.01


def test_the_published_spectrum_is_that_of_photographs():
    """Amplitudes fall about as 1/f, and channels are nearly the same."""
    found = published_spectrum()
    assert 0.8 < found.mean[0] < 1.3 and "Tiny ImageNet" in found.source
    assert min(min(row) for row in found.channels) > 0.7
    assert np.linalg.eigvalsh(np.array(found.covariance)).min() > 0


def test_leaves_cover_and_have_edges():
    images = dead_leaves(4, 32, seed=0)
    assert torch.equal(images, dead_leaves(4, 32, seed=0))
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert not (images == 0).all(1).any()
    colours = [len(image.flatten(1).unique(dim=1).T) for image in images]
    assert all(10 < count < 400 for count in colours)  # patches of one colour, of 1,024 pixels
    slope = fit(images.repeat(2, 1, 1, 1), "leaves").mean[0]
    assert slope > 0.7


def test_a_leaf_is_a_disc(monkeypatch):
    """All of one radius: what is seen of a leaf is no wider or higher than it, one is whole."""
    monkeypatch.setattr(natural, "SMALLEST_LEAF", 0.2)
    monkeypatch.setattr(natural, "LARGEST_LEAF", 0.2)
    image = dead_leaves(1, 64, seed=2)[0]
    areas = []
    for colour in image.flatten(1).unique(dim=1).T:
        rows, columns = (image == colour[:, None, None]).all(0).nonzero(as_tuple=True)
        assert max(np.ptp(rows.numpy()), np.ptp(columns.numpy())) <= 2 * 0.2 * 64
        areas.append(len(rows))
    assert max(areas) == pytest.approx(np.pi * (0.2 * 64) ** 2, rel=0.05)


def test_scrambled_images_keep_amplitudes_and_means_alone():
    images = natural_spectrum_noise(KNOWN, 6, 32, seed=2)
    ours = scrambled(images, seed=0)
    torch.testing.assert_close(
        torch.fft.fft2(ours).abs(), torch.fft.fft2(images).abs(), atol=2e-3, rtol=1e-3
    )
    torch.testing.assert_close(ours.mean((2, 3)), images.mean((2, 3)))
    for image, other in zip(images, ours, strict=True):
        both = torch.stack([image[0].flatten(), other[0].flatten()])
        assert both.corrcoef()[0, 1].abs() < 0.5
        channels = image.flatten(1).corrcoef(), other.flatten(1).corrcoef()
        torch.testing.assert_close(*channels, atol=0.01, rtol=0)
    assert not torch.equal(ours, scrambled(images, seed=1))


def test_images_without_contrast_are_left_out():
    flat = torch.full((3, 3, 32, 32), 0.4)
    with pytest.raises(ValueError, match="0 photographs with contrast: valid are two and more"):
        fit(flat, "flat")
    textured = natural_spectrum_noise(KNOWN, 40, 32, seed=1)
    assert fit(torch.cat([textured, flat]), "both").mean == fit(textured, "both").mean


def test_the_command_writes_what_is_read(tmp_path, monkeypatch, capsys):
    pixels = (255 * natural_spectrum_noise(KNOWN, 30, 64, seed=4)).round().byte()
    data = LabelledImages(pixels, torch.zeros(30).long(), ("any",), "Tiny ImageNet", "JPEG")
    monkeypatch.setattr(natural, "load_tiny_imagenet", lambda split: data)
    file = tmp_path / "spectrum.json"
    natural.main(["--images", "20", "--seed", "7", "--file", str(file)])
    expected = fit(
        data.sample(20, 7).floats(), "20 photographs of Tiny ImageNet's training split, 64 px"
    )
    assert published_spectrum(file) == expected
    card = json.loads(file.read_text())
    assert card["command"].endswith("--images 20 --seed 7") and card["altered"] == "JPEG"
    assert "slope 1." in capsys.readouterr().out
