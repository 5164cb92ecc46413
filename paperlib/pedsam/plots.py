"""Figures of how SAM is split and what its masks are, each drawn from its saved table."""

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
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    image_row,
)
from paperlib.pedsam.attacks.plots import servers_axis

Pixels = Mapping[str, np.ndarray]

SERVER_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY)  # and from the start


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
    servers_axis([ax], table.servers)
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


def _draw_box(ax: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    """A box from two of its corners."""
    (x0, x1), (y0, y1) = x, y
    ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linewidth=1.5)


def _bare(ax: Axes, title: str) -> None:
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
