"""A sentence's comparing word follows from its numbers."""

import pytest

from paperlib.notebook.words import compared, number


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
