import pytest
import torch

from paperlib.freq.bands import band_energy
from paperlib.freq.controls import CONTROLS, moved
from paperlib.freq.dct import dct2

NORMS = torch.linspace(0.5, 2, 40)


@pytest.fixture
def grey():
    return torch.full((40, 3, 32, 32), 0.5)


def high_share(change):
    energy = band_energy(dct2(change), 2, "square").sum((0, 1))
    return (energy[1] / energy.sum()).item()


@pytest.mark.parametrize(("name", "share"), [("white_noise", 0.75), ("pink_noise", 0.135)])
def test_noise_has_its_norm_and_its_frequencies(grey, name, share):
    change = CONTROLS[name].call(grey, NORMS, 3) - grey
    torch.testing.assert_close(change.flatten(1).norm(dim=1), NORMS, rtol=0.01, atol=0)
    assert high_share(change) == pytest.approx(share, abs=0.02)
    again, other = (CONTROLS[name].call(grey, NORMS, seed) - grey for seed in (3, 4))
    assert torch.equal(again, change) and not torch.equal(other, change)


def test_noise_stays_an_image():
    black = torch.zeros(2, 3, 8, 8)
    noisy = CONTROLS["white_noise"].call(black, torch.full((2,), 50.0), 0)
    assert noisy.min() == 0 and noisy.max() == 1


def test_moved_by_one_pixel():
    images = torch.rand(2, 3, 4, 5)
    shifted = moved(images, torch.ones(2), 0)
    assert torch.equal(shifted[..., 1:], images[..., :-1])
    assert torch.equal(shifted[..., 0], images[..., 0])
