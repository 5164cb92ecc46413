import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import nn

from paperlib.data import LabelledImages
from paperlib.freq import cutoffs
from paperlib.freq.dct import dct2


class Contrast(nn.Module):
    """Class 1 where neighbouring pixels differ: all that it sees is the highest frequency."""

    def forward(self, x):
        checked = ((x[..., ::2, ::2] - x[..., 1::2, ::2]).abs().mean((1, 2, 3)) - 0.05)[:, None]
        return torch.cat([-checked, checked], 1)


@pytest.fixture
def striped():
    """Half of the images flat, half with stripes one pixel wide."""
    images = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    images[4:, :, ::2] = 160
    images[4:, :, 1::2] = 96
    return LabelledImages(images, torch.arange(8) // 4, ("flat", "striped"), "made here")


@pytest.mark.parametrize("cutoff", [1, 5, 31, 32])
def test_filters_are_those_of_scipy(cutoff):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    coefficients = dctn(x.numpy(), axes=(-2, -1), norm="ortho")
    low = coefficients.copy()
    low[..., cutoff:, :] = low[..., :, cutoff:] = 0
    expected = np.clip(idctn(low, axes=(-2, -1), norm="ortho"), 0, 1)
    np.testing.assert_allclose(cutoffs.low_passed(x, cutoff), expected, atol=1e-5)
    rest = idctn(coefficients - low, axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(cutoffs.high_passed(x, cutoff), np.clip(rest + 0.5, 0, 1), atol=1e-5)


def test_nothing_is_cut_at_the_ends():
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(cutoffs.low_passed(x, 32), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(cutoffs.high_passed(x, 0), x, atol=1e-5, rtol=0)


def test_a_sweep_finds_where_the_stripes_are(striped):
    low = cutoffs.sweep(Contrast(), striped, "low-pass", [8, 32])
    high = cutoffs.sweep(Contrast(), striped, "high-pass", [0, 8])
    assert low == [0.5, 1.0]
    assert high == [1.0, 1.0]


def test_jpeg_keeps_low_frequencies_and_loses_high_ones():
    noise = torch.randint(256, (8, 1, 32, 32), generator=torch.Generator().manual_seed(2))
    noise = noise.to(torch.uint8).expand(-1, 3, -1, -1)  # grey, so only brightness is coded
    ours = cutoffs.jpeg(noise, 10)
    assert ours.shape == noise.shape and ours.dtype == torch.uint8
    change = dct2(ours.float() - noise.float()).abs().mean((0, 1))
    assert change[16:, 16:].mean() > 2 * change[:4, :4].mean()
    fine = cutoffs.jpeg(noise, 100).float() - noise.float()
    assert fine.abs().mean() < 2


def test_the_table_of_cutoffs_has_a_row_a_point(striped):
    models = {("contrast", "natural"): Contrast()}
    table = cutoffs.cutoff_table(models, [striped, striped.subset(torch.arange(4))], [8, 32])
    assert list(table.columns) == [
        *("filter", "architecture", "variant", "seed", "cutoff", "accuracy")
    ]
    low = table[table["filter"] == "low-pass"]
    assert low.accuracy.tolist() == [0.5, 1, 1, 1]
    assert low.seed.tolist() == [0, 0, 1, 1] and low.cutoff.tolist() == [8, 32] * 2
    assert set(table.variant) == {"natural"} and len(table) == 6
    assert table[table["filter"] == "high-pass"].seed.tolist() == [0, 0]


@pytest.mark.parametrize("step", [1, 2, 8])
def test_cut_offs_are_dense_where_networks_fall_and_end_with_the_whole_image(step):
    cuts = cutoffs.grid(step)
    below = [cut for cut in cuts if cut <= 16]
    assert below == list(range(step, 17, step)) and cuts[-1] == 32
    assert {b - a for a, b in itertools.pairwise(cuts) if b > 16} == {2 * step}


def test_the_table_of_jpeg_has_the_plain_accuracy_first(striped):
    faint = replace(striped, images=96 + striped.images // 4)  # stripes 16 apart
    table = cutoffs.jpeg_table({("contrast", "natural"): Contrast()}, [faint], [100, 5])
    assert table.quality.tolist() == ["none", 100, 5]
    assert table.accuracy.tolist() == [1, 1, 0.5]


def test_the_share_lost_is_of_what_is_above_chance():
    assert cutoffs.lost_share(0.9, 0.5) == pytest.approx(0.5)
    clean, left = (pd.Series(values, ["a", "b"]) for values in ([0.9, 0.15], [0.1, 0.1]))
    found = cutoffs.lost_share(clean, left)
    assert found["a"] == pytest.approx(1) and np.isnan(found["b"])  # a guess has nothing to lose


def test_who_loses_more_follows_the_images_that_count():
    natural = np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 0, 0])
    robust = np.array([1.0, 0, 1, 1]), np.array([1.0, 0, 0.5, 1])
    every = cutoffs.more_lost(natural, robust, np.arange(4))
    assert every == pytest.approx(0.5 / 0.9 - (0.75 - 0.625) / 0.65)
    assert cutoffs.more_lost(natural, robust, np.array([0, 0])) == 0
    guesses = np.full(4, 0.1), np.full(4, 0.1)
    assert np.isnan(cutoffs.more_lost(natural, guesses, np.arange(4)))


def test_the_table_of_controls_has_nothing_of_who_guesses(striped):
    class Guess(nn.Module):
        def forward(self, x):  # a third class, always
            return torch.tensor([[0.0, 0, 1]]).expand(len(x), -1)

    faint = replace(striped, images=96 + striped.images // 4)
    found = cutoffs.control_table({"stripes": Contrast(), "guess": Guess()}, faint, 5, 8)
    assert list(found.columns) == ["accuracy", "JPEG at 5", "low-pass at 8"]
    assert found.loc["stripes"].tolist() == pytest.approx([1, 0.5 / 0.9, 0.5 / 0.9])
    assert found.loc["guess"].isna().tolist() == [False, True, True]


def test_kept_at_half_by_hand():
    rows = [
        ("natural", 0, 4, 0.1),
        ("natural", 0, 8, 0.5),
        ("natural", 0, 32, 0.9),
        ("pgd", 0, 4, 0.3),
        ("pgd", 0, 8, 0.4),
        ("pgd", 0, 32, 0.5),
        ("natural", 1, 4, 0.7),
        ("natural", 1, 8, 0.8),
        ("natural", 1, 32, 0.9),
        ("pgd", 1, 4, 0.5),
        ("pgd", 1, 8, 0.5),
        ("pgd", 1, 32, 0.5),
    ]
    sweep = pd.DataFrame(rows, columns=["variant", "seed", "cutoff", "accuracy"])
    differences, cuts = cutoffs.kept_at_half(sweep, "natural", "pgd")
    assert cuts == [8, 4]  # the second never loses half: the smallest in the sweep
    assert differences == pytest.approx([0.3 / 0.4 - 0.4 / 0.8, 1 - 0.6 / 0.8])
