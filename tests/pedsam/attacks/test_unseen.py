"""What attacks gain over the mean colour: by hand, and where there is nothing to be found."""

import pandas as pd
import pytest
import torch

from paperlib.models.sam import WIDTH
from paperlib.pedsam.attacks import privacy, unseen
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.networks import GRID, SIZE

FOUND = {"mean_fill": (10.0, 12.0), "biharmonic": (11.0, 12.0), "tokens": (10.0, 15.0)}


@pytest.fixture
def gained():
    """Two pictures: biharmonic gains 1 and 0, tokens 0 and 3 with two servers; nothing with four.

    A coalition that sees more is there and does not count.
    """
    rows = [
        {"assignment": "random", "servers": servers, "colluding": colluding, "draw": 0}
        | {"picture": picture, "attack": name, "SSIM unseen": 0.5}
        | {"PSNR unseen": value if servers == 2 else 9.0 + colluding}
        for servers, colluding in [(2, 1), (4, 1), (4, 3)]
        for name, values in FOUND.items()
        for picture, value in enumerate(values)
    ]
    return unseen.over_fill(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def draws():
    """Pictures of one colour each, of which the mean fill knows all, with a coarse grain."""
    draw = torch.Generator().manual_seed(0)
    colours = torch.rand(3, 3, 1, 1, generator=draw)
    grain = torch.randn(3, 3, SIZE // 16, SIZE // 16, generator=draw)  # 3 × 3 in a window
    grain = grain.repeat_interleave(16, 2).repeat_interleave(16, 3)
    images = (colours + 0.1 * grain).clamp(0, 1)
    return [Targets(images, torch.randn(3, WIDTH, GRID.tokens, GRID.tokens, generator=draw))]


def test_gains_are_of_the_same_picture_and_view(gained):
    assert len(gained) == 2 * 2 * 2 and set(gained.attack) == {"biharmonic", "tokens"}
    two = gained[gained.servers == 2].set_index(["attack", "picture"])["PSNR unseen"]
    assert two.to_dict() == {
        ("biharmonic", 0): 1, ("biharmonic", 1): 0, ("tokens", 0): 0, ("tokens", 1): 3
    }  # fmt: skip
    assert (gained[gained.servers == 4]["PSNR unseen"] == 0).all()
    assert (gained["SSIM unseen"] == 0).all()


def test_the_best_attack_counts_and_is_chosen_anew_in_each_resample(gained):
    values, (low, high) = unseen.largest(gained, seed=0)
    assert values.name == ("random", 2, "tokens") and values.tolist() == [1.5]
    assert (low, high) == (1, 3)  # twice the first picture: biharmonic; twice the second: tokens


def test_the_smallest_fall_of_the_best_attack(gained):
    """From two servers to four 1.5 dB are lost; with 16 that gain 2 more, they come back."""
    lost, ends = unseen.smallest_fall(gained, seed=0)
    assert lost.name == (2, 4) and lost.tolist() == [1.5] and ends == (1, 3)
    many = gained[gained.servers == 4].assign(servers=16)
    many["PSNR unseen"] = 2.0
    other = gained[gained.servers == 4].assign(assignment="contiguous", servers=8)
    other["PSNR unseen"] = 9.0  # another assignment does not count
    table = pd.concat([gained, many, other])
    lost, ends = unseen.smallest_fall(table, seed=0)
    assert lost.name == (4, 16) and lost.tolist() == [-2] and ends == (-2, -2)
    together = table[table.servers == 2].assign(servers=4, colluding=3)  # nor do coalitions
    table = pd.concat([table.assign(colluding=1), together])
    assert unseen.smallest_fall(table, seed=0)[0].tolist() == [-2]


def test_falls_are_means_of_the_draws():
    """Three pictures and two draws; one of the pictures is an outlier."""
    rows = [
        {"assignment": "random", "servers": k, "attack": "unet", "draw": draw, "picture": n}
        | {"PSNR unseen": value if k == 2 else 1.0}
        for draw, values in enumerate([(2, 2, 8), (4, 4, 4)])
        for n, value in enumerate(values)
        for k in (2, 4)
    ]
    assert unseen.smallest_fall(pd.DataFrame(rows), seed=0)[0].tolist() == [3, 3]
    rows[0]["PSNR unseen"] = -1
    assert unseen.smallest_fall(pd.DataFrame(rows), seed=0)[0].tolist() == [2, 3]


def test_a_summary_has_a_row_a_point(gained):
    control = gained[gained.attack == "tokens"].assign(attack=unseen.OTHERS)
    table = unseen.summary(gained, control, seed=0).set_index(["measure", "fill", "servers"])
    assert len(table) == 2 * 2 * 2
    best = table.loc[("PSNR unseen", unseen.BEST, 2)]
    assert (best.gain, best.low, best.high) == (1.5, 1, 3)
    assert table.loc[("PSNR unseen", unseen.OTHERS, 2)].low == 0
    assert (table.loc["SSIM unseen"][["gain", "low", "high"]] == 0).all(axis=None)


def test_of_a_grain_nothing_is_found_but_by_who_is_given_it(draws):
    found = unseen.controls(draws, (2, 16), seed=0)
    assert len(found) == 2 * 3 * 2
    means = found.groupby("attack")["PSNR unseen"].mean()
    assert means[unseen.WHOLE] > 1 and means[unseen.OTHERS] < means[unseen.WHOLE]
    measured = privacy.measure(draws, [("random", 4, 1)], seed=0)
    values, (low, high) = unseen.largest(unseen.over_fill(measured), seed=0)
    assert low <= values.mean() <= high and values.mean() < 0.3
