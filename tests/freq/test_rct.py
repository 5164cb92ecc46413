import pytest
import torch

from paperlib.freq.bands import high_pass, low_pass
from paperlib.freq.dct import dct2, dct_matrix
from paperlib.freq.rct import FLOOR, energy_shares, excess, high_to_low, rct_images, rct_map


@pytest.fixture
def clean():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def wave(u, v, size=8):
    C = dct_matrix(size)
    return C[u][:, None] * C[v][None, :]


def test_one_component_changes_one_place(clean):
    attacked = clean + 0.25 * wave(2, 5)
    of_set, of_images = rct_map(clean, attacked), rct_images(clean, attacked)
    magnitude = dct2(clean).abs().mean(1)[:, 2, 5]
    torch.testing.assert_close(of_set[2, 5], 0.25 / (magnitude.mean() + FLOOR))
    torch.testing.assert_close(of_images[:, 2, 5], 0.25 / (magnitude + FLOOR))
    others = torch.ones(8, 8, dtype=torch.bool)
    others[2, 5] = False
    assert of_set[others].max() < 1e-4
    assert of_images[:, others].max() < 1e-4


def test_plain_loops(clean):
    attacked = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    numerator, denominator = torch.zeros(8, 8), torch.zeros(8, 8)
    for x, y, ours in zip(clean, attacked, rct_images(clean, attacked), strict=True):
        change = sum(dct2(y[c] - x[c]).abs() for c in range(3)) / 3
        magnitude = sum(dct2(x[c]).abs() for c in range(3)) / 3
        torch.testing.assert_close(ours, change / (magnitude + FLOOR), atol=1e-5, rtol=1e-4)
        numerator += change
        denominator += magnitude + FLOOR
    torch.testing.assert_close(
        rct_map(clean, attacked), numerator / denominator, atol=1e-5, rtol=1e-4
    )


def test_a_component_that_is_missing_stays_finite():
    grey = torch.full((2, 3, 8, 8), 0.5)
    attacked = grey + 0.01 * wave(7, 7)
    assert rct_map(grey, attacked)[7, 7] == pytest.approx(0.01 / FLOOR, rel=1e-3)
    assert rct_map(grey, attacked).isfinite().all()


def test_energy_shares(clean):
    attacked = clean.clone()
    attacked[:, 0] += 0.3 * wave(7, 7)
    attacked[:, 1] += 0.1 * wave(0, 1)
    attacked[:, 2] += 0.2 * wave(1, 0)
    attacked[4] = clean[4]
    shares = energy_shares(clean, attacked, 2, "square")
    torch.testing.assert_close(shares[:4], torch.tensor([[5 / 14, 9 / 14]]).expand(4, 2))
    assert shares[4].isnan().all()


def test_high_to_low_of_a_map_by_hand():
    values = torch.arange(16.0).view(4, 4)
    rings = [0, 10 / 3, 35 / 5, 75 / 7]
    assert high_to_low(values) == pytest.approx((rings[2] + rings[3]) / (rings[0] + rings[1]))


def test_an_attack_is_beyond_noise_only_with_more_in_high_frequencies(clean):
    noise = 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    high, low = high_pass(noise, 4), low_pass(noise, 4)
    for change, sign in ((2 * high + low, 1), (high + 2 * low, -1)):
        value, start, end = excess(clean, clean + change, clean + noise, 200, 0)
        maps = [rct_map(clean, clean + part) for part in (change, noise)]
        assert value == pytest.approx(high_to_low(maps[0]) - high_to_low(maps[1]), rel=1e-4)
        assert start <= value <= end and sign * start > 0 and sign * end > 0
    value, start, end = excess(clean, clean + noise, clean + noise, 50, 0)
    assert (value, start, end) == (0, 0, 0)  # the same images for both


def test_grey_rectangles():
    clean = torch.rand(3, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    wide = dct_matrix(8)[6][:, None] * dct_matrix(12)[9][None, :]
    attacked = clean + 0.1 * wide
    assert rct_map(clean, attacked).argmax() == 6 * 12 + 9
    shares = energy_shares(clean, attacked, 4, "square")
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0, 0, 1]]).expand(3, 4))
    assert high_to_low(rct_map(clean, attacked)) > 50
    assert high_to_low(torch.ones(8, 12)) == pytest.approx(1)
