"""Student's interval and the bootstrap's against scipy's own, and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from paperlib.intervals import LEVEL, bootstrap, bootstrap_clusters, student


@pytest.mark.parametrize("size", [2, 3, 5, 30, 1000])
def test_the_interval_is_scipys(size):
    values = np.random.default_rng(size).normal(3, 2, size)
    due = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert student(values) == pytest.approx((due.low, due.high), rel=1e-12)
    assert LEVEL == 0.95


def test_by_hand():
    # mean 2, standard error 1 / sqrt(3), and Student's 4.3027 of two degrees of freedom
    assert student([1, 2, 3]) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)


def test_values_may_be_any_iterable_in_any_order():
    assert student(iter((3, 1, 2))) == pytest.approx(student([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("values", [[], [1.5]])
def test_fewer_than_two_values_have_no_interval(values):
    assert all(map(math.isnan, student(values)))


def test_equal_values_have_an_interval_without_width():
    assert student([2.5] * 4) == (2.5, 2.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_leaves_no_interval(value):
    with np.errstate(invalid="ignore"):
        assert all(map(math.isnan, student([1, 2, value])))


def test_the_bootstrap_is_scipys():
    values = np.random.default_rng(3).normal(size=50)
    due = stats.bootstrap(
        (values,), np.median, n_resamples=200, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    assert bootstrap(lambda rows: np.median(values[rows]), [50], 200, 7) == (due.low, due.high)


def test_samples_are_drawn_one_after_the_other_and_arrays_have_an_interval_each():
    seen = []

    def statistic(first, second):
        seen.append((first.tolist(), second.tolist()))
        return np.array([first.mean(), second.mean(), 1.0])

    low, high = bootstrap(statistic, [4, 9], 20, 5)
    draw = np.random.default_rng(5)
    due = [(draw.integers(4, size=4), draw.integers(9, size=9)) for _ in range(20)]
    assert seen == [(first.tolist(), second.tolist()) for first, second in due]
    assert (low[:2] < high[:2]).all() and low[2] == high[2] == 1


def test_a_resample_without_a_value_does_not_count():
    def statistic(rows):
        return np.nan if 0 in rows else 2.0

    assert bootstrap(statistic, [3], 50, 0) == (2, 2)
    assert all(map(math.isnan, bootstrap(lambda rows: np.nan, [3], 50, 0)))


def test_clusters_are_drawn_first_and_the_rows_inside_each_of_their_cells():
    single = [[np.array([[value]])] for value in (1.0, 5.0, 2.0, 8.0)]
    means = np.array([1.0, 5.0, 2.0, 8.0])
    found = bootstrap_clusters(lambda cells: np.mean([c.mean() for c in cells]), single, 99, 4)
    assert found == bootstrap(lambda rows: means[rows].mean(), [4], 99, 4)
    alike = [[np.array([[0.0], [1.0]]), np.array([[3.0]])]] * 4  # all that differs is inside
    low, high = bootstrap_clusters(lambda cells: np.concatenate(cells).mean(), alike, 200, 4)
    assert 1 <= low < 4 / 3 < high <= 5 / 3
    shapes = set()
    bootstrap_clusters(lambda cells: shapes.add(tuple(map(len, cells))) or 0.0, alike, 5, 4)
    assert shapes == {(2, 1) * 4}
