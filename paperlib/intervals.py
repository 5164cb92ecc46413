"""Student's interval of a mean, which every paper and the statistics over runs take."""

import math
from collections.abc import Iterable

import numpy as np
from scipy import stats

LEVEL = 0.95


def student(values: Iterable[float]) -> tuple[float, float]:
    """Ends of the interval of the mean at `LEVEL`; NaN of fewer than two values."""
    found = np.asarray(list(values), float)
    if len(found) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(found) - 1) * stats.sem(found)
    return float(found.mean() - half), float(found.mean() + half)
