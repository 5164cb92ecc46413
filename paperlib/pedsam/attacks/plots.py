"""Figures of what attacks find out, each drawn from its saved table."""

from collections.abc import Iterable, Mapping
from textwrap import fill

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.notebook.figures import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    image_row,
    legend_below,
)
from paperlib.pedsam.attacks.measures import MEASURES
from paperlib.pedsam.attacks.privacy import ATTACKS, BY_OTHERS, SHOWN
from paperlib.pedsam.attacks.unseen import BEST, OTHERS, UNSEEN

Pixels = Mapping[str, np.ndarray]

COLOURS = dict(  # of the attacks, in their order
    zip(ATTACKS, (GREY, ORANGE, BLUE, VERMILION, PURPLE, GREEN, SKY, BROWN, BLACK), strict=False)
)


def rebuilt(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One server's view of four scenes, what each attack makes of it, and the scene itself.

    A row a number of servers: the more there are, the less a server sees, and the coarser are all
    rebuilt pictures.
    """
    return _rebuilt(table, pixels)


def rebuilt_photographs(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One server's view of four photographs, what each attack makes of it, and the photograph.

    An astronaut with two servers, a cat with four, a cup of coffee with eight, a rocket with 16:
    what was never seen is filled with soft colours, without the objects that are there.
    """
    return _rebuilt(table, pixels)


def reconstruction(table: pd.DataFrame) -> Figure:
    """How well one server rebuilds an image, by number of servers, a line an attack.

    PSNR over unseen pixels above, SSIM over the image below; contiguous, interleaved and random
    assignments from left to right.
    """
    kinds = list(table.assignment.unique())
    figure, axes = plt.subplots(2, len(kinds), figsize=(8, 5.2), sharex=True, sharey="row")
    for line, measure in zip(axes, SHOWN, strict=True):
        for ax, kind in zip(line, kinds, strict=True):
            here = table[(table.assignment == kind) & (table.measure == measure)]
            _attack_lines(ax, here, here.servers, "o-")
        line[0].set_ylabel(MEASURES[measure])
    for ax, kind in zip(axes[0], kinds, strict=True):
        ax.set_title(kind)
    servers_axis(axes.flat, table.servers, axes[1])
    legend_below(figure, [axes[0, 0]], columns=3)
    return figure


def over_fill(table: pd.DataFrame) -> Figure:
    """What the best attack gains over the mean colour on unseen pixels, by number of servers.

    PSNR at the left, SSIM at the right; a line an assignment, and a grey one for the null control,
    an attack that looks at another picture. Lines on the points are 95 % intervals over pictures.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    for ax, measure in zip(axes, UNSEEN, strict=True):
        here = table[table.measure == measure]
        for kind, part in here[here.fill == BEST].groupby("assignment", sort=False):
            _intervals(ax, part, label=kind)
        _intervals(ax, here[here.fill == OTHERS], color=GREY, label=OTHERS)
        ax.set_ylabel(f"gain in {MEASURES[measure]}")
        ax.axhline(0, color="0.6", linewidth=1)
    servers_axis(axes, table.servers)
    legend_below(figure, [axes[0]], columns=4)
    return figure


def collusion(table: pd.DataFrame) -> Figure:
    """How well colluding servers rebuild an image, by the share of servers that collude.

    PSNR over unseen pixels at the left, SSIM over the image at the right; a colour an attack, solid
    lines with circles for 16 servers, dashed ones with squares for 4.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
    for ax, measure in zip(axes, SHOWN, strict=True):
        for servers, style in {16: "o-", 4: "s--"}.items():
            here = table[(table.servers == servers) & (table.measure == measure)]
            here = here.sort_values("colluding")
            _attack_lines(ax, here, here.colluding / servers, style, named=servers == 16)
        ax.set(ylabel=MEASURES[measure], xlabel="share of servers that collude")
    legend_below(figure, [axes[0]], columns=3)
    return figure


def later_rounds(table: pd.DataFrame) -> Figure:
    """What an attack gains over unseen pixels by the tokens of round two, against a line at zero.

    First for one server by number of servers, of networks that know drawn scenes and of one that
    knows photographs, a line an assignment, and dashed and grey that of tokens of another picture;
    at the right for colluding ones of 16, with their pixels and without.
    """
    *alone, joint = (table[table.panel == panel] for panel in table.panel.unique())
    figure, axes = plt.subplots(1, len(alone) + 1, figsize=(10, 4.3), sharey=True)
    for ax, here in zip(axes, alone, strict=False):
        for kind, part in here.groupby("assignment", sort=False):
            look = {"color": GREY, "linestyle": "--"} if kind == BY_OTHERS else {}
            ax.plot(part.servers, part.gain, marker="o", label=kind, **look)
        servers_axis([ax], here.servers)
    _attack_lines(axes[-1], joint.rename(columns={"gain": "value"}), joint.colluding, "o-")
    axes[-1].set(xlabel="colluding servers", xticks=sorted(joint.colluding.unique()))
    axes[0].set_ylabel("gain over unseen pixels (dB)")
    for ax, title in zip(axes, table.panel.unique(), strict=True):
        ax.set_title(title, fontsize=11)
        ax.axhline(0, color="0.6", linewidth=1)
        ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def active(table: pd.DataFrame) -> Figure:
    """What tokens of round two gain one server over its pixels, by number of servers.

    Highest are those of all windows, as if it had been sent them; then random chosen tokens, then
    one token for all places; honest tokens and those of other pictures lie near zero. Lines on the
    points are 95 % intervals over pictures.
    """
    figure, ax = plt.subplots(figsize=(6, 4.2))
    colours = (BLUE, ORANGE, VERMILION, GREY, GREEN)
    for colour, (knows, part) in zip(colours, table.groupby("knows", sort=False), strict=True):
        _intervals(ax, part, color=colour, label=knows)
    ax.axhline(0, color="0.6", linewidth=1)
    servers_axis([ax], table.servers)
    ax.set_ylabel("gain over pixels (dB)")
    legend_below(figure, [ax], columns=2)
    return figure


def active_defences(table: pd.DataFrame) -> Figure:
    """What random chosen tokens gain one of two servers beside each defence, as bars.

    The first bar is without any; lines on the bars are 95 % intervals over pictures.
    """
    figure, ax = plt.subplots(figsize=(6, 3.4))
    ends = [table.gain - table.low, table.high - table.gain]
    ax.barh(table.defence, table.gain, xerr=ends, color=VERMILION, capsize=3)
    ax.axvline(0, color="0.6", linewidth=1)
    ax.invert_yaxis()
    ax.set_xlabel("gain over pixels (dB)")
    return figure


def recognition(table: pd.DataFrame) -> Figure:
    """What one server recognises, by number of servers: accuracy at the left, SAM's IoU at right.

    A classifier's accuracy falls to that of guessing, 10 %; the IoU of SAM's mask on a view falls
    below that of the box that it is told.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    for kind, part in table[table.measure == "accuracy"].groupby("assignment", sort=False):
        axes[0].plot(part.servers, part.value, "o-", label=kind)
    axes[0].axhline(10, color="0.6", linewidth=1, label="guessing")
    found, box = (table[table.measure == measure] for measure in ("IoU", "box"))
    axes[1].plot(found.servers, found.value, "o-", label="SAM on a view, random")
    axes[1].plot(box.servers, box.value, color="0.6", linewidth=1, label="the box alone")
    axes[0].set(ylabel="accuracy (%)", ylim=(0, 103))
    axes[1].set(ylabel="IoU of the mask", ylim=(0, 1))
    servers_axis(axes, table.servers)
    for ax in axes:
        ax.legend(fontsize=9)
    return figure


def video(table: pd.DataFrame) -> Figure:
    """Share of a static scene's windows that a server has seen after some frames.

    A colour a number of servers; rising lines by the formula for a fresh assignment a frame,
    circles as measured on the lines, dotted level lines for an assignment that is kept.
    """
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, table.servers.nunique()))
    figure, ax = plt.subplots(figsize=(6, 3.4))
    for colour, (servers, part) in zip(colours, table.groupby("servers"), strict=True):
        ax.plot(part.frames, part.fresh, color=colour, label=f"{servers} servers")
        ax.plot(part.frames, part.measured, "o", color=colour, markersize=4)
        ax.plot(part.frames, part.kept, ":", color=colour)
    ax.set(xlabel="frames T", ylabel="share of the windows seen", ylim=(0, 1.03))
    figure.legend(loc="outside right center", fontsize=10)
    return figure


def servers_axis(
    axes: Iterable[Axes], servers: pd.Series, labelled: Iterable[Axes] | None = None
) -> None:
    """A logarithmic axis with the numbers of servers that there are."""
    axes, numbers = list(axes), sorted(servers.unique())
    for ax in axes:
        ax.set(xscale="log", xticks=numbers, xticklabels=numbers)
        ax.minorticks_off()
    for ax in axes if labelled is None else labelled:
        ax.set_xlabel("servers")


def _rebuilt(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """A row a number of servers, a column each of the pictures by name."""
    servers, names = list(table.servers.unique()), list(pixels)
    figure, axes = plt.subplots(len(servers), len(names), figsize=(8, 4.2), squeeze=False)
    titles = [fill(_title(name), 12) for name in names]
    for n, line in enumerate(axes):
        pictures = np.stack([pixels[name][n] for name in names])
        image_row(line, pictures, titles if n == 0 else (), f"1 of {servers[n]}")
    for ax in axes[0]:
        ax.title.set_fontsize(7)
    return figure


def _intervals(ax: Axes, table: pd.DataFrame, **how: str) -> None:
    """Gains by number of servers, with their intervals."""
    ends = [table.gain - table.low, table.high - table.gain]
    ax.errorbar(table.servers, table.gain, ends, fmt="o-", capsize=3, **how)


def _title(name: str) -> str:
    return ATTACKS[name].title if name in ATTACKS else name


def _attack_lines(
    ax: Axes, table: pd.DataFrame, x: pd.Series, style: str, named: bool = True
) -> None:
    """A line an attack of column `value` over `x`."""
    for name, part in table.groupby("attack", sort=False):
        label = _title(name) if named else None
        places = x.loc[part.index]
        ax.plot(places, part.value, style, color=COLOURS[name], label=label, markersize=5)
