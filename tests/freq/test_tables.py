import numpy as np
import pytest
import torch

from paperlib.freq.corruptions import loss_table
from paperlib.freq.tables import (
    band_table,
    bootstrap,
    curve_table,
    fooled_table,
    map_table,
    share_details,
    share_table,
    smallest_mean,
    wave_table,
)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    values = np.random.default_rng(0).normal([0, 5], size=(400, 2))
    low, high = bootstrap(values, resamples=4000)
    np.testing.assert_allclose((low + high) / 2, values.mean(0), atol=0.02)
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std(0) / 20, rtol=0.06)


def test_whole_rows_are_resampled_the_same_for_the_same_seed():
    values = np.random.default_rng(0).normal(size=(20, 1)).repeat(3, 1)
    low, high = bootstrap(values, resamples=50, seed=1)
    assert (low == low[0]).all() and (high == high[0]).all()
    np.testing.assert_array_equal(bootstrap(values, resamples=50, seed=1)[0], low)
    assert (bootstrap(values, resamples=50, seed=2)[0] != low).all()


def test_any_statistic_and_a_single_row():
    values = np.arange(50.0)
    low, high = bootstrap(values, lambda chosen: chosen.max() - chosen.min(), 200)
    assert 40 < low <= high <= 49
    low, high = bootstrap(np.ones((1, 3)))
    assert np.isnan(low).all() and high.shape == (3,)


def test_a_map_has_one_row_a_component():
    maps = {("a", "x"): torch.arange(6.0).view(2, 3), ("b", "y"): torch.ones(2, 3)}
    table = map_table(maps, ["one", "two"])
    assert list(table.columns) == ["one", "two", "u", "v", "value"]
    assert len(table) == 12
    row = table[(table.one == "a") & (table.u == 1) & (table.v == 2)]
    assert row.value.item() == 5 and row.two.item() == "x"


def test_a_curve_has_its_radius_its_mean_and_its_band():
    values = torch.tensor([[1.0, 10], [3, 30], [2, 20]])
    table = curve_table({"a": values, "b": 2 * values}, 32, 100, 0)
    assert list(table.columns) == ["curve", "radius", "mean", "low", "high"]
    assert table.radius.tolist() == [8, 24, 8, 24]
    assert table["mean"].tolist() == pytest.approx([2, 20, 4, 40])
    assert (table.low <= table["mean"]).all() and (table["mean"] <= table.high).all()
    assert (table.low < table.high).all()


def test_a_share_has_its_mean_and_its_interval():
    shares = {("a", "x"): torch.tensor([0.2, 0.4]), ("b", "y"): torch.tensor([0.5, 0.5])}
    table = share_table(shares, ["one", "two"], 200, 0)
    assert table["low share"].tolist() == pytest.approx([0.3, 0.5])
    assert table[["low", "high"]].to_numpy() == pytest.approx(np.array([[0.2, 0.4], [0.5, 0.5]]))
    assert table.two.tolist() == ["x", "y"]


def test_the_smallest_mean_is_that_of_one_column_in_every_resample():
    values = np.array([[1.0, 0.0], [3.0, 1.0]])
    assert smallest_mean(values, 200, 0) == (0.5, 0.0, 1.0)
    assert smallest_mean(values[:, ::-1], 200, 0) == (0.5, 0.0, 1.0)


def test_bands_are_named_by_their_indices():
    table = band_table({("a", "x"): torch.tensor([0.7, 0.2, 0.1, 0.0])}, 32)
    assert list(table) == ["0 to 7", "8 to 15", "16 to 23", "24 to 31"]
    assert table.loc[("a", "x"), "8 to 15"] == pytest.approx(0.2)


def test_a_wave_has_its_periods_and_its_errors():
    wrong = np.zeros((4, 2, 2), bool)
    wrong[:3, 0, 1] = True
    table = wave_table({"pgd": wrong}, {"pgd": np.array([True, False, False, False])}, [-8, 0])
    row = table[(table.i == -8) & (table.j == 0)].iloc[0]
    assert (row.variant, row.error, row.clean) == ("pgd", 0.75, 0.25)
    assert table.error.sum() == 0.75


def test_corruptions_and_bands_have_a_row_a_network():
    shares, lost = np.linspace(0, 1, 9), np.linspace(1, 0, 9)
    table = loss_table(shares, {"natural": lost, "pgd": lost / 2})
    assert table.groupby("variant").lost.sum().to_dict() == {"natural": 4.5, "pgd": 2.25}
    assert table.corruption.iloc[[0, -1]].tolist() == ["Gaussian noise", "JPEG"]
    hit = {
        "pgd": {("attack", "all"): torch.tensor([True, False]), ("noise", "all"): torch.zeros(2)}
    }
    assert fooled_table(hit).fooled.tolist() == [0.5, 0.0]


def test_what_stands_beside_the_shares():
    maps = torch.zeros(2, 4, 4)
    maps[:, 0, 0] = torch.tensor([0.2, 0.4])
    share, right = torch.tensor([0.5, 0.9]), torch.tensor([True, False])
    found = share_details({"a": maps}, {"a": share}, {"a": share / 2}, {"a": right})
    values = {name: column[0] for name, column in found.items()}
    assert values == pytest.approx(
        {"constant": 0.3, "without": 0.35, "wrong": 1, "share_of_wrong": 0.9}
    )
