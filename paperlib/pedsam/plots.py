"""Figures of PED-SAM, each drawn from its saved table."""

from collections.abc import Iterable, Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
)
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.attacks.unseen import BEST, OTHERS

Pixels = Mapping[str, np.ndarray]

SERVER_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY)  # and from the start
COLOURS = dict(  # of the attacks, in their order
    zip(ATTACKS, (GREY, ORANGE, BLUE, VERMILION, PURPLE, GREEN, SKY, BROWN, BLACK), strict=False)
)
MEASURES = {"PSNR unseen": "PSNR, unseen (dB)", "SSIM image": "SSIM, image"}


def assignments(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """Nine maps of one image, cut into windows that are tinted and numbered by their server.

    Two, four and eight servers from top to bottom; contiguous, interleaved and random assignments
    from left to right. Contiguous servers hold blocks, interleaved ones no two windows side by
    side.
    """
    parts = table.groupby(["servers", "assignment"], sort=False)
    figure, axes = plt.subplots(table.servers.nunique(), table.assignment.nunique())
    figure.set_size_inches(7, 7.2)
    for ax, ((servers, kind), windows) in zip(axes.flat, parts, strict=True):
        assignment_map(ax, pixels["image"], windows, f"{kind}, {servers} servers")
        ax.title.set_fontsize(10)
    return figure


def views(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """What each of four servers sees of the image: a row of four pictures an assignment.

    All but the server's windows is black; above each picture stands the share of the pixels.
    """
    return _views(table, pixels["image"])


def photograph_views(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """What each of four servers sees of a photograph of a cat that is wider than it is high.

    A row of four pictures an assignment; all but the server's windows is black, and above each
    picture stands the share of the pixels.
    """
    return _views(table, pixels["image"])


def neighbours(table: pd.DataFrame) -> Figure:
    """Share of neighbouring windows on one server, by number of servers, a line an assignment.

    Contiguous assignments are highest and fall with the number of servers; interleaved ones are at
    or near zero.
    """
    figure, ax = plt.subplots(figsize=(6, 3.3))
    for kind, part in table.groupby("assignment", sort=False):
        ax.plot(part.servers, part.share, "o-", label=kind)
    _servers_axis([ax], table.servers)
    ax.set(ylabel="neighbouring windows\non one server (share)", ylim=(-0.03, 1))
    ax.legend()
    return figure


def prompts(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One image three times, an object tinted: with its box, with one point, with three points."""
    parts = table.groupby("prompt", sort=False)
    figure, axes = plt.subplots(1, len(parts), figsize=(7, 2.6))
    for ax, (name, places) in zip(axes, parts, strict=True):
        mask_overlay(ax, pixels["image"], pixels["masks"][0], name)
        if name == "box":
            _draw_box(ax, places.x, places.y)
        else:
            ax.plot(places.x, places.y, "o", color="white", markeredgecolor=BLACK, markersize=5)
    return figure


def iou(table: pd.DataFrame) -> Figure:
    """Mean IoU with the true masks as bars, grouped by prompt, a bar for each way to split SAM.

    SAM, whole, comes first in each group; lines on the bars are the standard deviation over the
    draws of the images.
    """
    names, kinds = table.case.unique(), list(table.prompt.unique())
    figure, ax = plt.subplots(figsize=(7, 3.8))
    width = 0.8 / len(names)
    for n, name in enumerate(names):
        part = table[table.case == name]
        places = np.arange(len(kinds)) + (n - (len(names) - 1) / 2) * width
        colour = mpl.colormaps["viridis"](n / len(names))
        ax.bar(places, part.IoU, width, yerr=part.deviation, color=colour, label=name)
    ax.set(xticks=range(len(kinds)), xticklabels=kinds, ylabel="mean IoU", ylim=(0, 1))
    ax.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def masks(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """Masks that answer a box: a row an image, a column a way to split SAM, its IoU above each."""
    return _masks(table, pixels, ORANGE)


def photograph_masks(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """Masks that answer two boxes on a photograph of a cat, around its head and around one eye.

    A row a box, a column a way to split SAM; above each picture stands the IoU with the mask of
    SAM, whole, in the first column. In the exact schedule the masks are the same.
    """
    return _masks(table, pixels, BLUE)


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
    for line, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for ax, kind in zip(line, kinds, strict=True):
            here = table[(table.assignment == kind) & (table.measure == measure)]
            _attack_lines(ax, here, here.servers, "o-")
        line[0].set_ylabel(label)
    for ax, kind in zip(axes[0], kinds, strict=True):
        ax.set_title(kind)
    _servers_axis(axes.flat, table.servers, axes[1])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def over_fill(table: pd.DataFrame) -> Figure:
    """What the best attack gains over the mean colour on unseen pixels, by number of servers.

    PSNR at the left, SSIM at the right; a line an assignment, and a grey one for the null control,
    an attack that looks at another picture. Lines on the points are 95 % intervals over pictures.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    for ax, measure, unit in zip(axes, ("PSNR", "SSIM"), (" (dB)", ""), strict=True):
        here = table[table.measure == f"{measure} unseen"]
        for kind, part in here[here.fill == BEST].groupby("assignment", sort=False):
            _intervals(ax, part, label=kind)
        _intervals(ax, here[here.fill == OTHERS], color=GREY, label=OTHERS)
        ax.set_ylabel(f"gain in {measure}{unit}")
        ax.axhline(0, color="0.6", linewidth=1)
    _servers_axis(axes, table.servers)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def collusion(table: pd.DataFrame) -> Figure:
    """How well colluding servers rebuild an image, by the share of servers that collude.

    PSNR over unseen pixels at the left, SSIM over the image at the right; a colour an attack, solid
    lines with circles for 16 servers, dashed ones with squares for 4.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
    for ax, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for servers, style in {16: "o-", 4: "s--"}.items():
            here = table[(table.servers == servers) & (table.measure == measure)]
            here = here.sort_values("colluding")
            _attack_lines(ax, here, here.colluding / servers, style, named=servers == 16)
        ax.set(ylabel=label, xlabel="share of servers that collude")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def later_rounds(table: pd.DataFrame) -> Figure:
    """What an attack gains over unseen pixels by the tokens of round two, against a line at zero.

    At the left for one server by number of servers, a line an assignment; at the right for
    colluding ones of 16, with their pixels and without.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True)
    alone, joint = (table[table.panel == panel] for panel in table.panel.unique())
    for kind, part in alone.groupby("assignment", sort=False):
        axes[0].plot(part.servers, part.gain, "o-", label=kind)
    _attack_lines(axes[1], joint.rename(columns={"gain": "value"}), joint.colluding, "o-")
    _servers_axis(axes[:1], alone.servers)
    axes[1].set(xlabel="colluding servers")
    axes[0].set_ylabel("gain by tokens, unseen (dB)")
    for ax, title in zip(axes, table.panel.unique(), strict=True):
        ax.set_title(title, fontsize=11)
        ax.axhline(0, color="0.6", linewidth=1)
        ax.legend(fontsize=9)
    return figure


def active(table: pd.DataFrame) -> Figure:
    """What tokens of round two gain one server over its pixels, by number of servers.

    Highest are those of all windows, as if it had been sent them; then random chosen tokens, then
    one token for all places; honest tokens and those of other pictures lie near zero. Lines on the
    points are 95 % intervals over pictures.
    """
    figure, ax = plt.subplots(figsize=(6, 3.4))
    colours = (BLUE, ORANGE, VERMILION, GREY, GREEN)
    for colour, (knows, part) in zip(colours, table.groupby("knows", sort=False), strict=True):
        _intervals(ax, part, color=colour, label=knows)
    ax.axhline(0, color="0.6", linewidth=1)
    _servers_axis([ax], table.servers)
    ax.set_ylabel("gain over pixels (dB)")
    ax.legend(fontsize=9)
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
    _servers_axis(axes, table.servers)
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


def stages(table: pd.DataFrame) -> Figure:
    """CPU seconds of one image as bars of two parts, the edge and the busiest of four servers.

    A panel a SAM; the edge alone comes first, then each schedule and number format.
    """
    parts = table.groupby("SAM", sort=False)
    figure, axes = plt.subplots(1, len(parts), figsize=(7, 3.2), squeeze=False)
    for ax, (name, part) in zip(axes[0], parts, strict=True):
        _stacked(ax, part, {"edge": ("edge", BLUE), "server": ("busiest server", ORANGE)})
        ax.set(title=name, xlabel="CPU seconds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
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
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def assignment_map(ax: Axes, image: np.ndarray, windows: pd.DataFrame, title: str = "") -> None:
    """An image in the colours of the servers that get its windows, each with its server's number.

    Args:
        ax: where to draw, without ticks.
        image: RGB, 0 to 255, (height, width, 3).
        windows: of `paperlib.pedsam.encoding.assignment_table`.
        title: above the map.
    """
    ax.imshow(image, interpolation="nearest")
    for window in windows.itertuples():
        corner = window.left - 0.5, window.top - 0.5
        width, height = window.right - window.left, window.bottom - window.top
        colour = SERVER_COLOURS[window.server % len(SERVER_COLOURS)]
        tint = mpl.colors.to_rgba(colour, 0.45)
        ax.add_patch(Rectangle(corner, width, height, fc=tint, ec="white", linewidth=0.8))
        middle = corner[0] + width / 2, corner[1] + height / 2
        ax.text(*middle, window.server, ha="center", va="center", fontsize=8, color="white")
    _bare(ax, title)


def view(image: np.ndarray, windows: pd.DataFrame) -> np.ndarray:
    """The image, (height, width, 3), black but for these windows."""
    seen = np.zeros_like(image)
    for window in windows.itertuples():
        place = slice(window.top, window.bottom), slice(window.left, window.right)
        seen[place] = image[place]
    return seen


def mask_overlay(
    ax: Axes, image: np.ndarray, mask: np.ndarray, title: str = "", colour: str = ORANGE
) -> None:
    """An image, RGB, 0 to 255, (height, width, 3), with a mask of the same size tinted."""
    tint = np.array(mpl.colors.to_rgb(colour)) * 255
    tinted = np.where(mask[..., None] > 0, 0.4 * image + 0.6 * tint, image)
    ax.imshow(tinted.astype(np.uint8), interpolation="nearest")
    _bare(ax, title)


def _views(table: pd.DataFrame, image: np.ndarray) -> Figure:
    """A row of views an assignment, with the share of the pixels above each."""
    kinds = list(table.assignment.unique())
    figure, axes = plt.subplots(len(kinds), table.server.nunique())
    figure.set_size_inches(7, 0.5 + 1.7 * len(kinds) * image.shape[0] / image.shape[1])
    for line, kind in zip(axes, kinds, strict=True):
        parts = list(table[table.assignment == kind].groupby("server"))
        seen = np.stack([view(image, windows) for _, windows in parts])
        titles = [f"server {k}: {100 * part.share.iloc[0]:.0f} %" for k, part in parts]
        image_row(line, seen, titles, kind)
        for ax in line:
            ax.title.set_fontsize(9)
    return figure


def _masks(table: pd.DataFrame, pixels: Pixels, colour: str) -> Figure:
    """A row of masks an image, a column a way to split SAM, with the IoU above each."""
    names, numbers = list(table.case.unique()), list(table.image.unique())
    shapes = [pixels[f"image{number}"].shape for number in numbers]
    figure, axes = plt.subplots(len(numbers), len(names), squeeze=False)
    figure.set_size_inches(7, 0.2 + sum(0.15 + 1.65 * shape[0] / shape[1] for shape in shapes))
    for line, number in zip(axes, numbers, strict=True):
        rows = table[table.image == number].itertuples()
        found = pixels[f"masks{number}"]
        for ax, row, mask in zip(line, rows, found, strict=True):
            case = row.case.replace(", distilled", ",\ndistilled")
            title = f"{case}\n{row.IoU:.2f}" if number == numbers[0] else f"{row.IoU:.2f}"
            mask_overlay(ax, pixels[f"image{number}"], mask, title, colour)
            _draw_box(ax, (row.x0, row.x1), (row.y0, row.y1))
            ax.title.set_fontsize(9)
    return figure


def _rebuilt(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """A row a number of servers, a column each of the pictures by name."""
    servers, names = list(table.servers.unique()), list(pixels)
    figure, axes = plt.subplots(len(servers), len(names), figsize=(8, 4.9), squeeze=False)
    titles = [_title(name).replace(" ", "\n", 1) for name in names]
    for n, line in enumerate(axes):
        pictures = np.stack([pixels[name][n] for name in names])
        image_row(line, pictures, titles if n == 0 else (), f"1 of {servers[n]}")
    for ax in axes[0]:
        ax.title.set_fontsize(9)
    return figure


def _intervals(ax: Axes, table: pd.DataFrame, **how: str) -> None:
    """Gains by number of servers, with their intervals."""
    ends = [table.gain - table.low, table.high - table.gain]
    ax.errorbar(table.servers, table.gain, ends, fmt="o-", capsize=3, **how)


def _draw_box(ax: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    """A box from two of its corners."""
    (x0, x1), (y0, y1) = x, y
    ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linewidth=1.5)


def _bare(ax: Axes, title: str) -> None:
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


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


def _servers_axis(
    axes: Iterable[Axes], servers: pd.Series, labelled: Iterable[Axes] | None = None
) -> None:
    """A logarithmic axis with the numbers of servers that there are."""
    axes, numbers = list(axes), sorted(servers.unique())
    for ax in axes:
        ax.set(xscale="log", xticks=numbers, xticklabels=numbers)
        ax.minorticks_off()
    for ax in axes if labelled is None else labelled:
        ax.set_xlabel("servers")


def _stacked(ax: Axes, table: pd.DataFrame, parts: Mapping[str, tuple[str, str]]) -> None:
    """A bar a case, made of columns side by side, each with its label and colour."""
    left = np.zeros(len(table))
    for column, (label, colour) in parts.items():
        ax.barh(table.case, table[column], left=left, color=colour, label=label)
        left = left + table[column].to_numpy()
    ax.invert_yaxis()
