"""Sentences with the numbers of this run, whose comparing word follows from the numbers.

Prose that was typed beside a number stays when the number changes; these functions pick the word.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def number(value: float, digits: int = 2) -> str:
    """A number to so many significant digits, without an exponent, with a true minus sign."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", "−")


def compared(
    first: float,
    second: float,
    *,
    more: str = "more than",
    less: str = "less than",
    same: str = "as much as",
    unit: str = "",
    digits: int = 2,
) -> str:
    """Such as "0.41, more than 0.32": both numbers, and between them the word that fits them.

    Args:
        first, second: the numbers; what rounds to the same text is called the same.
        more, less, same: the words for the three cases.
        unit: after each number, such as " %".
        digits: significant ones.
    """
    texts = [number(value, digits) for value in (first, second)]
    word = same if texts[0] == texts[1] else more if first > second else less
    return f"{texts[0]}{unit}, {word} {texts[1]}{unit}"


def counted(holds: Iterable[Any]) -> str:
    """Of how many something holds: such as "none of 4", "3 of 4", "all 4"."""
    found = [bool(one) for one in holds]
    held = "all" if all(found) else f"{sum(found) or 'none'} of"
    return f"{held} {len(found)}"


def ranked(values: Mapping[str, float] | pd.Series, *, unit: str = "", digits: int = 2) -> str:
    """Names from the largest value to the smallest, such as "D4C 78 %, PSE and noise 22 %".

    Args:
        values: by name; those that round to the same text share one place.
        unit: after each number, such as " %".
        digits: significant ones.
    """
    values = dict(values)
    largest_first = sorted(values, key=lambda name: -values[name])
    groups = itertools.groupby(largest_first, lambda name: number(values[name], digits))
    return ", ".join(f"{_together(list(names))} {text}{unit}" for text, names in groups)


def _together(names: list[str]) -> str:
    """Such as "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def beside_zero(
    low: float,
    high: float,
    *,
    more: str = "clearly above zero",
    less: str = "clearly below zero",
    same: str = "not told apart from zero",
) -> str:
    """The word for an interval from `low` to `high` that lies above zero, below it, or holds it."""
    return more if low > 0 else less if high < 0 else same
