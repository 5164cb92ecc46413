import pytest
import torch

from paperlib.freq.bands import (
    band_energy,
    band_index,
    band_masks,
    filter_components,
    high_pass,
    low_mask,
    low_pass,
    radial_mean,
    radius,
)
from paperlib.freq.dct import dct2

SHAPES = ["radial", "square"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("size", "bands"), [(8, 1), (8, 8), (32, 16), (32, 5), (9, 4)])
def test_bands_cover_everything_once(size, bands, shape):
    masks = band_masks(size, bands, shape)
    assert masks.shape == (bands, size, size)
    assert (masks.sum(0) == 1).all()
    assert masks.flatten(1).any(1).all()  # no empty band


@pytest.mark.parametrize("shape", SHAPES)
def test_band_never_falls_with_the_radius(shape):
    order = radius(16, shape=shape).flatten().argsort()
    assert (band_index(16, 6, shape).flatten()[order].diff() >= 0).all()


@pytest.mark.parametrize("cutoff", [0, 1, 5, 32])
def test_square_low_mask_is_a_corner(cutoff):
    mask = low_mask(32, cutoff)
    assert mask.sum() == cutoff**2
    assert mask[:cutoff, :cutoff].all()


def test_a_radius_of_a_rectangle_is_the_same_frequency_both_ways():
    values = radius(8, 12)
    assert values.shape == (8, 12)
    assert values[4, 0] == values[0, 6] == 4  # half of a period in two pixels
    assert values[3, 6] == 5
    assert radius(8, 12, "square")[1, 6] == 4
    torch.testing.assert_close(radius(12, 8), values.T)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rectangle_has_bands_filters_and_energies(shape):
    x = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    masks = band_masks((12, 20), 6, shape)
    assert masks.shape == (6, 12, 20) and (masks.sum(0) == 1).all() and masks.any((1, 2)).all()
    assert low_mask((12, 20), 6)[:6, :10].all() and low_mask((12, 20), 6).sum() == 60
    torch.testing.assert_close(band_energy(dct2(x), 6, shape).sum(-1), (x**2).sum((-2, -1)))
    parts = [filter_components(x, mask) for mask in masks]
    torch.testing.assert_close(sum(parts), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(low_pass(x, 4, shape), sum(parts[:2]), atol=1e-5, rtol=1e-5)
    means = radial_mean(torch.ones(12, 20), 6, shape)
    torch.testing.assert_close(means, torch.ones(6))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cutoff", [0, 3, 7.5, 99])
def test_low_and_high_pass_add_up(shape, cutoff):
    x = torch.rand(2, 3, 16, 16)
    low, high = low_pass(x, cutoff, shape), high_pass(x, cutoff, shape)
    torch.testing.assert_close(low + high, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((low * high).sum(), torch.zeros(()), atol=1e-3, rtol=0)


def test_filter_keeps_only_what_it_is_told():
    x, keep = torch.rand(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
    keep[2, 3] = True
    X = dct2(filter_components(x, keep))
    torch.testing.assert_close(X[:, 2, 3], dct2(x)[:, 2, 3])
    assert X[:, ~keep].abs().max() < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_band_energies_add_up_to_the_image(shape):
    x = torch.rand(2, 3, 16, 16)
    energy = band_energy(dct2(x), 5, shape)
    assert energy.shape == (2, 3, 5)
    torch.testing.assert_close(energy.sum(-1), (x**2).sum((-2, -1)))


def test_radial_mean_of_a_flat_map():
    torch.testing.assert_close(
        radial_mean(torch.full((2, 16, 16), 3.0), 7), torch.full((2, 7), 3.0)
    )


def test_radial_mean_ring_by_ring():
    values = torch.arange(16.0).view(4, 4)
    by_hand = [0, (1 + 4 + 5) / 3, (2 + 8 + 6 + 9 + 10) / 5, (3 + 7 + 11 + 12 + 13 + 14 + 15) / 7]
    torch.testing.assert_close(radial_mean(values, 4), torch.tensor(by_hand))


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="'radial' and 'square'"):
        radius(8, shape="round")
    with pytest.raises(ValueError, match="bands=9: valid are 1 to 8"):
        band_index((8, 20), 9)
