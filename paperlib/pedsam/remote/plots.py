"""Figures of what an image costs, each drawn from its saved table."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.notebook.figures import BLUE, GREY, ORANGE, legend_below


def stages(table: pd.DataFrame) -> Figure:
    """CPU seconds of one image as bars of two parts, the edge and the busiest of four servers.

    A panel a SAM; the edge alone comes first, then each schedule and number format.
    """
    parts = table.groupby("SAM", sort=False)
    figure, axes = plt.subplots(1, len(parts), figsize=(7, 3.2), squeeze=False)
    for ax, (name, part) in zip(axes[0], parts, strict=True):
        _stacked(ax, part, {"edge": ("edge", BLUE), "server": ("busiest server", ORANGE)})
        ax.set(title=name, xlabel="CPU seconds")
    legend_below(figure, [axes[0, 0]], columns=2)
    return figure


def modelled(table: pd.DataFrame) -> Figure:
    """Seconds of one image, modelled, as bars of three parts: edge, servers, transfer.

    A row of panels a SAM, a column a network; a bar for the edge alone, for plain cloud, and for
    each schedule and number format.
    """
    names, networks = table.SAM.unique(), table.network.unique()
    size = (8, 2.6 * len(names))
    figure, axes = plt.subplots(len(names), len(networks), figsize=size, squeeze=False)
    colours = {"edge": BLUE, "servers": ORANGE, "transfer": GREY}
    for line, name in zip(axes, names, strict=True):
        for ax, network in zip(line, networks, strict=True):
            part = table[(name == table.SAM) & (table.network == network)]
            _stacked(ax, part, {stage: (stage, colour) for stage, colour in colours.items()})
            ax.set(title=f"{name}, {network}", xlabel="seconds, modelled")
            ax.title.set_fontsize(10)
        for ax in line[1:]:
            ax.set_yticklabels([])
    legend_below(figure, [axes[0, 0]], columns=3)
    return figure


def _stacked(ax: Axes, table: pd.DataFrame, parts: Mapping[str, tuple[str, str]]) -> None:
    """A bar a case, made of columns side by side, each with its label and colour."""
    left = np.zeros(len(table))
    for column, (label, colour) in parts.items():
        ax.barh(table.case, table[column], left=left, color=colour, label=label)
        left = left + table[column].to_numpy()
    ax.invert_yaxis()
