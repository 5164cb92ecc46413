"""Heat maps over the components of a DCT, for `paperlib.freq.plots`; no value passes here."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike


def frequency_map(
    ax: Axes,
    values: ArrayLike,
    title: str,
    *,
    label: str = "",
    log: bool = False,
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    bar: bool = True,
) -> AxesImage:
    """Heat map over the components of a DCT, the lowest frequency at the top left.

    Args:
        ax: where to draw.
        values: (u, v): vertical frequency along the rows, horizontal along the columns.
        title: above the map.
        label: of the colour bar: the quantity with its unit.
        log: logarithmic colours; components that are not above 0 are grey.
        signed: diverging colours with white at 0.
        limits: of the colours, to make maps comparable; from the values if None.
        bar: draw the colour bar; without it, one bar can serve several maps.

    Raises:
        ValueError: `values` is not two-dimensional; `log` with `signed` or with nothing above 0.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"values of {title!r}: shape {values.shape}, expected (u, v)")
    if log and signed:
        raise ValueError(f"map {title!r}: log has no place for negative values; choose one")
    if log:
        values = np.where(values > 0, values, np.nan)
        if np.isnan(values).all():
            raise ValueError(f"values of {title!r}: none above 0, so no logarithm to draw")
    low, high = limits or (np.nanmin(values), np.nanmax(values))
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    colours = mpl.colormaps["RdBu_r" if signed else "viridis"].with_extremes(bad="0.8")
    image = ax.imshow(
        np.ma.masked_invalid(values),
        origin="upper",
        interpolation="nearest",
        cmap=colours,
        norm=LogNorm(low, high) if log else Normalize(low, high),
    )
    ax.set(title=title, xlabel="horizontal frequency v", ylabel="vertical frequency u")
    rows, columns = values.shape
    ax.set(yticks=range(0, rows, -(-rows // 4)), xticks=range(0, columns, -(-columns // 4)))
    if bar:
        ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    return image


def as_map(table: pd.DataFrame) -> np.ndarray:
    """The map (u, v) of a long table with these columns and `value`."""
    return table.pivot(index="u", columns="v", values="value").to_numpy()
