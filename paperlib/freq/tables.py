"""Tables of what the figures show: maps and curves, one row a point, and confidence intervals."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Float
from torch import Tensor


def bootstrap(
    values: Any, statistic: Callable[..., Any] = np.mean, resamples: int = 1000, seed: int = 0
) -> tuple[Any, Any]:
    """Ends of the 95 % interval of a statistic by the percentile bootstrap over the first axis.

    Args:
        values: one row an independent observation, such as an image; whole rows are resampled.
        statistic: of such rows; the mean is taken over the first axis.
        resamples: number of them.
        seed: of the resampling.

    Returns:
        Lower and upper end, each as a row; NaN for a single row.
    """
    values = np.asarray(values)
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    mean = statistic is np.mean
    ends = scipy.stats.bootstrap(
        (values,),
        statistic,
        n_resamples=resamples,
        vectorized=mean,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return ends.low, ends.high


def map_table(
    maps: Mapping[Hashable, Float[Tensor, "height width"]], names: Sequence[str] = ("map",)
) -> pd.DataFrame:
    """Maps over components with columns `names` (parts of a map's key), u, v and value."""
    rows = {}
    for key, values in maps.items():
        u, v = np.indices(values.shape)
        columns = {"u": u.ravel(), "v": v.ravel(), "value": values.flatten().cpu().numpy()}
        rows[key] = pd.DataFrame(columns)
    return _long(rows, names)


def curve_table(
    curves: Mapping[Hashable, Float[Tensor, "_ bands"]],
    size: int,
    resamples: int,
    seed: int,
    names: Sequence[str] = ("curve",),
) -> pd.DataFrame:
    """Radial profiles with columns `names`, radius, mean over images, and low and high.

    Args:
        curves: one row an image, by key.
        size: of the images, in pixels; the radius is in component indices, mid-ring.
        resamples, seed: of the 95 % interval over images, from low to high (see `bootstrap`).
        names: of the parts of a key.
    """
    rows = {}
    for key, values in curves.items():
        values = values.cpu().numpy()
        low, high = bootstrap(values, resamples=resamples, seed=seed)
        radius = (np.arange(values.shape[1]) + 0.5) * size / values.shape[1]
        columns = {"radius": radius, "mean": values.mean(0), "low": low, "high": high}
        rows[key] = pd.DataFrame(columns)
    return _long(rows, names)


def _long(rows: Mapping[Hashable, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Frames one below the other, the parts of their keys as columns `names`."""
    named = [
        frame.assign(**dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True)))
        for key, frame in rows.items()
    ]
    return pd.concat(named, ignore_index=True)[[*names, *named[0].columns.drop(list(names))]]
