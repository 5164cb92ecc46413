"""Student's interval against scipy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from paperlib.intervals import LEVEL, student


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
