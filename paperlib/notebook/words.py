"""Sentences with the numbers of this run, whose comparing word follows from the numbers.

Prose that was typed beside a number stays when the number changes; `compared` picks the word.
"""

import math


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
