r"""The 95 % intervals that every paper and the statistics over runs take.

Student's, of a mean of few values; and the percentiles of a bootstrap, of any statistic of many:
what was measured is drawn anew with replacement, as often as there are resamples, and the interval
has the middle 95 % of what the statistic is of each. What belongs together is drawn together:
whole rows, or clusters first and the rows inside each of them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95
Cells = Sequence[Float[np.ndarray, "_ _"]]  # each of rows that were measured alike


def student(values: Iterable[float]) -> tuple[float, float]:
    """Ends of the interval of the mean at `LEVEL`; NaN of fewer than two values."""
    found = np.asarray(list(values), float)
    if len(found) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(found) - 1) * stats.sem(found)
    return float(found.mean() - half), float(found.mean() + half)


def bootstrap(
    statistic: Callable[..., Any], counts: Sequence[int], resamples: int, seed: int
) -> tuple[Any, Any]:
    """Ends of the interval of a statistic at `LEVEL`.

    Args:
        statistic: of the indices that were drawn, an array for each of the samples; a number or an
            array. A resample in which it is NaN does not count.
        counts: of the rows of each sample; they are drawn one after the other.
        resamples: how many, from 1.
        seed: of the draws, as `paperlib.seeds.derive` gives it.

    Returns:
        Lower and upper end, each as the statistic is; NaN where no resample counts.
    """
    draw = np.random.default_rng(seed)
    indices = ([draw.integers(n, size=n) for n in counts] for _ in range(resamples))
    return _ends([statistic(*chosen) for chosen in indices])


def bootstrap_clusters(
    statistic: Callable[[Cells], Any], clusters: Sequence[Cells], resamples: int, seed: int
) -> tuple[Any, Any]:
    """Ends of the interval of a statistic at `LEVEL`, over clusters and over the rows inside them.

    Args:
        statistic: of the cells of all drawn clusters, whose rows were drawn too; as of `bootstrap`.
        clusters: each of one or more cells.
        resamples, seed: as for `bootstrap`.
    """
    draw, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        some = [clusters[i] for i in draw.integers(len(clusters), size=len(clusters))]
        cells = [cell for cluster in some for cell in cluster]
        found.append(statistic([cell[draw.integers(len(cell), size=len(cell))] for cell in cells]))
    return _ends(found)


def _ends(found: Sequence[Any]) -> tuple[Any, Any]:
    values, tail = np.stack(found), (1 - LEVEL) / 2
    low, high = (
        stats.quantile(values, share, axis=0, nan_policy="omit") for share in (tail, 1 - tail)
    )
    return low, high
