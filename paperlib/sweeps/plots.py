"""Figure of a sweep, a function of its saved table."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from paperlib.intervals import student
from paperlib.notebook.figures import BLUE
from paperlib.sweeps.tables import axes, levels

PANELS = 2  # side by side
LONG = 24  # letters of an axis' values, together, that stand level
FEW = 10  # colours that can be told apart


def over_grid(table: pd.DataFrame) -> Figure:
    """Values of a sweep over its grid: a dash a run, a point the mean over seeds.

    Bars are 95 % intervals over seeds. The first size lies on the axis, others
    have the colours.

    Args:
        table: of `paperlib.sweeps.tables.per_run`.
    """
    first, *others = axes(table) or ["all runs"]
    shown = table if first in table else table.assign(**{first: ""})
    hue, key = None, ""
    if others:
        hue, key = "colours", ", ".join(others)
        words = shown[others].astype(str).agg(", ".join, axis=1)
        shown = shown.assign(colours=words).sort_values(others, kind="stable")
    order = levels(shown[first])
    claims = list(table.claim.unique())
    rows = -(-len(claims) // PANELS)
    size = 4 * min(PANELS, len(claims)), 3.4 * rows
    figure, places = plt.subplots(rows, min(PANELS, len(claims)), figsize=size, squeeze=False)
    for ax, claim in zip(places.flat, claims, strict=False):
        one = shown[shown.claim == claim]
        given = {"data": one, "x": first, "y": "value", "order": order, "ax": ax, "hue": hue}
        if hue:
            names = list(shown[hue].unique())
            palette = "colorblind" if len(names) <= FEW else "viridis"
            given |= {"hue_order": names, "palette": sns.color_palette(palette, len(names))}
        colour = {} if hue else {"color": BLUE}
        apart = 0.4 if hue else False
        sns.stripplot(  # without jitter, so that a table has one picture
            **given, **colour, marker="_", size=10, linewidth=1.2, alpha=0.6, jitter=False,
            dodge=bool(hue), legend=False,
        )  # fmt: skip
        sns.pointplot(
            **given, **colour, errorbar=_interval, dodge=apart, capsize=0.1, err_kws={"lw": 1.5},
            markersize=6, linewidth=1.2, legend=bool(hue) and claim == claims[0],
        )  # fmt: skip
        ax.set(xlabel=first, ylabel=one.unit.iloc[0])
        ax.set_title(claim, fontsize=11)
        if sum(len(str(value)) for value in order) > LONG:
            ax.tick_params(axis="x", rotation=30)
    for ax in places.flat[len(claims) :]:
        ax.set_visible(False)
    if hue and (legend := places.flat[0].get_legend()):
        handles, labels = places.flat[0].get_legend_handles_labels()
        legend.remove()
        columns = min(4, len(labels))
        figure.legend(handles, labels, title=key, loc="outside lower center", ncols=columns)
    return figure


def _interval(values: pd.Series) -> tuple[float, float]:
    """Student's interval, as `seaborn` asks for it."""
    return student(values)
