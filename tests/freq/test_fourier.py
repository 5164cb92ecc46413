import numpy as np
import pytest
import torch
from torch import nn

from paperlib.freq.fourier import errors, frequencies, high, wave, with_wave


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 0), (3, -2), (4, 6), (-2, 5)])
def test_a_wave_has_one_frequency_and_norm_one(i, j):
    values = wave(8, 12, i, j).double().numpy()
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)
    spectrum = np.abs(np.fft.fft2(values))
    places = {tuple(map(int, place)) for place in np.argwhere(spectrum > 1e-4 * spectrum.max())}
    assert places == {(i % 8, j % 12), (-i % 8, -j % 12)}


def test_frequencies_have_nothing_in_the_middle_and_go_to_the_highest():
    assert frequencies(8) == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    assert frequencies(32, 2) == list(range(-16, 17, 2))
    assert frequencies(10, 2) == [-4, -2, 0, 2, 4]


def test_a_wave_is_added_with_a_sign_for_each_channel():
    images = torch.full((50, 3, 8, 12), 0.5)
    change = (with_wave(images, 2, 3, 0.4, 0) - images) / 0.4
    signs = torch.einsum("nchw,hw->nc", change, wave(8, 12, 2, 3))
    torch.testing.assert_close(signs.abs(), torch.ones(50, 3), atol=1e-4, rtol=0)
    assert 0.3 < (signs > 0).float().mean() < 0.7
    assert (signs[:, 0] != signs[:, 1]).any() and (signs[0] != signs).any()
    assert torch.equal(with_wave(images, 2, 3, 0.4, 0), with_wave(images, 2, 3, 0.4, 0))
    clipped = with_wave(images, 0, 0, 100, 0)
    assert clipped.min() == 0 and clipped.max() == 1


class Deaf(nn.Module):
    """Class 1 if an image has much of the waves with three periods across and one down."""

    def forward(self, x):
        size = (x.mean(1) * wave(8, 12, 1, 3)).sum((1, 2)).abs()
        return torch.stack([0.05 - size, size - 0.05], 1)


def test_the_map_shows_what_a_network_hears():
    images, labels = torch.full((30, 1, 8, 12), 0.5), torch.zeros(30, dtype=torch.int64)
    wrong = errors(Deaf(), images, labels, norm=1.0)
    assert wrong.shape == (30, 9, 13) and not torch.is_inference(wrong)
    found = wrong.float().mean(0)
    middle = (4, 6)
    heard = {tuple(place) for place in found.nonzero().tolist()}
    assert heard == {(middle[0] + s, middle[1] + 3 * s) for s in (-1, 1)}
    assert found.max() == 1
    coarse = errors(Deaf(), images, labels, step=2, norm=1.0)
    assert coarse.shape == (30, 5, 7) and not coarse.any()


def test_high_is_a_quarter_of_a_period_a_pixel():
    expected = torch.tensor(
        [[max(abs(i) / 8, abs(j) / 12) >= 0.25 for j in range(-6, 7)] for i in range(-4, 5)]
    )
    assert torch.equal(high(8, 12), expected)
    assert high(32, 32, 2).shape == (17, 17)
