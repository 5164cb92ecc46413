"""Figures of your own networks, each a function of its saved table, named as the figure."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from paperlib.freq.maps import as_map, frequency_map
from paperlib.notebook.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    band_curve,
    style,
)


def your_maps(table: pd.DataFrame) -> Figure:
    """Maps over frequencies, a column a network: Occluded Frequency, and the RCT of PGD on it.

    White noise, which knows no network, has the last column. Grey: components that were not drawn.
    """
    quantities, names = list(table.quantity.unique()), list(table.model.unique())
    size = 1.4 + 2.8 * len(names), 2.8 * len(quantities)
    figure, axes = plt.subplots(len(quantities), len(names), figsize=size, squeeze=False)
    for line, quantity in zip(axes, quantities, strict=True):
        rows = table[table.quantity == quantity]
        positive = rows.value[rows.value > 0]
        limits = float(positive.quantile(0.01)), float(positive.max())
        for ax, name in zip(line, names, strict=True):
            one = rows[rows.model == name]
            ax.set_visible(len(one) > 0)
            if len(one):
                look = {"log": True, "limits": limits, "bar": False}
                image = frequency_map(ax, as_map(one), _short(name), **look)
                ax.set(xlabel="v", ylabel="u")
                ax.title.set_size(9)
        figure.colorbar(image, ax=line, label=quantity, shrink=0.8)
    return figure


def your_curves(table: pd.DataFrame) -> Figure:
    """Occluded Frequency by radius, and the RCT of PGD by radius beside white noise, in black.

    Shaded: 95 % intervals over images.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.8))
    colours = _colours(table.model)
    for ax, quantity in zip(axes, ("OF", "RCT"), strict=True):
        for name, rows in table[table.quantity == quantity].groupby("model", sort=False):
            look = _short(name), colours[name]
            band_curve(ax, rows.radius, rows["mean"], rows.low, rows.high, *look)
        ax.set(xlabel="max(u, v) (components)", yscale="log")
    axes[0].set_ylabel("OF of a component, mean")
    axes[1].set_ylabel("RCT of PGD, mean")
    for ax in axes:
        if ax.lines:
            ax.legend(fontsize=8)
    return figure


def your_differences(table: pd.DataFrame) -> Figure:
    """Networks minus the first: Occluded Frequency by band, and the low share by class.

    Lines are 95 % intervals over images; grey is no difference.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), width_ratios=[1, 1.3])
    colours = _colours(pd.concat([table.minus, table.model]))
    largest = table[table.quantity == "low share"].groupby("group", sort=False).images.max()
    shown = largest.nlargest(14).index  # of many classes, those with the most images
    groups = [group for group in largest.index if group in shown][::-1]
    for k, (name, rows) in enumerate(table.groupby("model", sort=False)):
        look = {"color": colours[name]}
        bands = rows[rows.quantity.str.startswith("OF ")]
        at = bands.quantity.str.removeprefix("OF ").astype(int)
        axes[0].plot(at, bands.difference, label=_short(name), **look)
        axes[0].fill_between(at, bands["from"], bands["to"], alpha=0.2, linewidth=0, **look)
        low = rows[(rows.quantity == "low share") & rows.group.isin(shown)]
        places = [groups.index(group) - 0.15 * k for group in low.group]
        axes[1].hlines(places, low["from"], low["to"], **look)
        axes[1].plot(low.difference, places, "o", markersize=4, **look)
    axes[0].axhline(0, color="0.6", linewidth=1, zorder=0)
    axes[1].axvline(0, color="0.6", linewidth=1, zorder=0)
    axes[0].set(xlabel="band, low to high", ylabel="difference of the share of OF")
    axes[1].set(xlabel="difference of the low share", yticks=range(len(groups)))
    axes[1].set_yticklabels([group[:14] for group in groups], fontsize=8)
    axes[0].legend(title=f"minus {_short(table.minus.iloc[0])}", fontsize=8, title_fontsize=8)
    return figure


def write(draw: Callable[[pd.DataFrame], Figure], table: pd.DataFrame, folder: Path) -> None:
    """Write a table and its figure, named as the function that draws it, outside of a notebook."""
    style()
    table.to_csv(folder / f"{draw.__name__}.csv", index=False)
    draw(table).savefig(folder / f"{draw.__name__}.png", bbox_inches="tight")


def _short(name: str) -> str:
    """The end of a network's name, which tells checkpoints apart."""
    return name if len(name) < 28 else f"…{name[-26:]}"


def _colours(names: pd.Series) -> dict[str, str]:
    """A colour for each network in the order of the table; white noise is black."""
    cycle = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
    own = [name for name in names.unique() if name != "white noise"]
    found = {name: cycle[k % len(cycle)] for k, name in enumerate(own)}
    return found | {"white noise": BLACK}
