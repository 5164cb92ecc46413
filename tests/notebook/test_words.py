"""A sentence's comparing word follows from its numbers."""

import pandas as pd
import pytest

from paperlib.notebook.words import beside_zero, compared, counted, number, ranked


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4149, "0.41"), (-0.002468, "−0.0025"), (73.24, "73"), (1234.5, "1234"), (0, "0")],
)
def test_a_number_has_its_digits(value, text):
    assert number(value) == text


def test_swapped_values_change_the_word():
    assert compared(0.41, 0.32) == "0.41, more than 0.32"
    assert compared(0.32, 0.41) == "0.32, less than 0.41"
    words = {"more": "above", "less": "below", "same": "level with", "unit": " %"}
    assert compared(70, 12.3, **words) == "70 %, above 12 %"
    assert compared(12.3, 70, **words) == "12 %, below 70 %"
    assert compared(-0.5, -0.4, **words) == "−0.50 %, below −0.40 %"


def test_what_looks_the_same_is_called_the_same():
    assert compared(0.4101, 0.4098) == "0.41, as much as 0.41"
    assert compared(0.4101, 0.4098, digits=4) == "0.4101, more than 0.4098"


def test_how_many():
    assert [counted(holds) for holds in ([0, 0], [1, 0], [1, 1])] == [
        "none of 2",
        "1 of 2",
        "all 2",
    ]


def test_the_order_follows_the_values():
    assert (
        ranked({"noise": 22.1, "D4C": 78.2, "PSE": 72}, unit=" %")
        == "D4C 78 %, PSE 72 %, noise 22 %"
    )
    assert (
        ranked(pd.Series({"noise": 78.2, "D4C": 22.1, "PSE": 21.9})) == "noise 78, D4C and PSE 22"
    )


@pytest.mark.parametrize(
    ("equal", "text"),
    [("ab", "a and b 22"), ("abc", "a, b and c 22"), ("abcd", "a, b, c and d 22")],
)
def test_names_that_share_a_place_are_listed(equal, text):
    values = {"first": 78.2} | dict.fromkeys(equal, 22.1) | {"last": 3.4}
    assert ranked(values) == f"first 78, {text}, last 3.4"
    assert ranked(dict.fromkeys(equal, 22.1), unit=" %") == f"{text} %"


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        ((0.1, 0.3), "clearly above zero"),
        ((-0.3, -0.1), "clearly below zero"),
        ((-0.1, 0.3), "not told apart from zero"),
        ((float("nan"), float("nan")), "not told apart from zero"),
    ],
)
def test_the_word_for_an_interval(ends, word):
    assert beside_zero(*ends) == word
