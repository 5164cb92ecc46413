"""Tables of what the figures show: maps and curves, one row a point, and confidence intervals."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from paperlib import intervals


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
    columns = np.moveaxis(values, 0, -1)

    def drawn(chosen: np.ndarray) -> Any:
        if statistic is np.mean:  # numpy adds neighbours in pairs, which keeps more digits
            return columns[..., chosen].mean(-1)
        return statistic(values[chosen])

    return intervals.bootstrap(drawn, [len(values)], resamples, seed)


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


def share_table(
    shares: Mapping[Hashable, Float[Tensor, " _"]], names: Sequence[str], resamples: int, seed: int
) -> pd.DataFrame:
    """A row a key: its parts as columns `names`, the mean over images as "low share", low, high.

    Args:
        shares: one value an image, by key.
        names: of the parts of a key.
        resamples, seed: of the 95 % interval over images, from low to high (see `bootstrap`).
    """
    rows = []
    for key, values in shares.items():
        ends = bootstrap(values.cpu().numpy(), resamples=resamples, seed=seed)
        rows.append([*key, values.mean().item(), *ends])
    return pd.DataFrame(rows, columns=[*names, "low share", "low", "high"])


def wave_table(
    wrong: Mapping[str, np.ndarray], clean: Mapping[str, np.ndarray], periods: Sequence[int]
) -> pd.DataFrame:
    """A row a wave and network: its periods i down and j across, and error rates from 0 to 1.

    Args:
        wrong: whether a network errs, (images, waves down, waves across), by variant.
        clean: the same without noise, (images,).
        periods: of the waves, down and across.
    """
    grid = pd.MultiIndex.from_product([periods, periods], names=["i", "j"]).to_frame(index=False)
    rows = {
        variant: grid.assign(error=found.mean(0).ravel(), clean=clean[variant].mean())
        for variant, found in wrong.items()
    }
    return _long(rows, ["variant"])


def fooled_table(hit: Mapping[str, Mapping[tuple[str, str], Tensor]]) -> pd.DataFrame:
    """A row a variant, how ("attack", "noise") and band: the share of the images that is fooled.

    Args:
        hit: of `paperlib.freq.band_attack.fooled`, by variant.
    """
    rows = [
        {"variant": variant, "how": how, "band": band, "fooled": found.float().mean().item()}
        for variant, outcomes in hit.items()
        for (how, band), found in outcomes.items()
    ]
    return pd.DataFrame(rows)


def band_table(bands: Mapping[Hashable, Float[Tensor, " bands"]], size: int) -> pd.DataFrame:
    """A row a key, a column a band of max(u, v), named by its first and last index below `size`."""
    count = len(next(iter(bands.values())))
    width = size // count
    titles = [f"{width * band} to {width * (band + 1) - 1}" for band in range(count)]
    return pd.DataFrame({key: values.cpu().numpy() for key, values in bands.items()}, titles).T


def share_details(
    occluded: Mapping[Any, Float[Tensor, "n height width"]],
    share: Mapping[Any, Float[Tensor, " n"]],
    without: Mapping[Any, Float[Tensor, " n"]],
    right: Mapping[Any, Bool[Tensor, " n"]],
) -> dict[str, list[float]]:
    """What stands beside the low-frequency shares of networks, as columns, a value a network.

    Args:
        occluded: their maps, an image each.
        share: of low frequencies.
        without: the same without the constant component.
        right: images that each gets right.

    Returns:
        constant: mean share of the constant component; without: mean of that; wrong: images that
        a network gets wrong; share_of_wrong: mean share over these, NaN where there are none.
    """
    return {
        "constant": [maps[:, 0, 0].mean().item() for maps in occluded.values()],
        "without": [low.mean().item() for low in without.values()],
        "wrong": [int((~one).sum()) for one in right.values()],
        "share_of_wrong": [share[key][~one].mean().item() for key, one in right.items()],
    }


def smallest_mean(
    values: Float[np.ndarray, "images columns"], resamples: int, seed: int
) -> tuple[float, float, float]:
    """The smallest of the columns' means, and the ends of its 95 % interval over images."""

    def smallest(rows: np.ndarray) -> float:
        return float(values[rows.astype(int)].mean(0).min())

    images = np.arange(len(values))
    low, high = bootstrap(images, smallest, resamples, seed)
    return smallest(images), float(low), float(high)


def _long(rows: Mapping[Hashable, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Frames one below the other, the parts of their keys as columns `names`."""
    named = [
        frame.assign(**dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True)))
        for key, frame in rows.items()
    ]
    return pd.concat(named, ignore_index=True)[[*names, *named[0].columns.drop(list(names))]]
