"""The figures of synthesised images, of notebooks 10 and 11, each a function of its saved table."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paperlib.d4c.encoders import ENCODERS
from paperlib.d4c.methods import ABLATION, TITLES
from paperlib.d4c.plots import BROKEN, COLOURS
from paperlib.names import DATASETS
from paperlib.notebook.figures import BLUE, VERMILION, image_row, legend_below


def examples(table: pd.DataFrame, pixels: Mapping[str, np.ndarray]) -> Figure:
    """Calibration images side by side, a row a method: real images, noise, the data-free baseline
    and D4C, the last two for each encoder."""
    rows = table.drop_duplicates(["encoder", "method"])
    shown = len(table) // len(rows)
    figure, axes = plt.subplots(len(rows), shown, figsize=(8, 1.05 * len(rows)), squeeze=False)
    for line, images, (_, row) in zip(
        axes, np.split(pixels["images"], len(rows)), rows.iterrows(), strict=True
    ):
        image_row(line, images)
        label = TITLES[row.method]
        if row.method not in ("real", "gaussian"):
            label = f"{label}\n{ENCODERS[row.encoder]}"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


def semantics(table: pd.DataFrame) -> Figure:
    """Cumulative share of images by their largest similarity to a prompt, a curve a method, a panel
    an encoder."""
    return _cumulative(table, "largest similarity to a prompt")


def patches(table: pd.DataFrame) -> Figure:
    """Cumulative share of pairs of patches by their similarity, a curve a method, a panel an
    encoder."""
    return _cumulative(table, "similarity between patches")


def _cumulative(table: pd.DataFrame, label: str) -> Figure:
    encoders = table.encoder.unique()
    figure, axes = plt.subplots(1, len(encoders), figsize=(7.5, 3.6), squeeze=False, sharey=True)
    for ax, encoder in zip(axes[0], encoders, strict=True):
        for method, part in table[table.encoder == encoder].groupby("method", sort=False):
            style = {"color": COLOURS[method], "label": TITLES[method]}
            ax.plot(part.similarity, 100 * part.share, **style)
        ax.set(xlabel=label, title=ENCODERS[encoder])
    axes[0, 0].set_ylabel("cumulative share (%)")
    legend_below(figure, axes[0], columns=6)
    return figure


def plane(table: pd.DataFrame) -> Figure:
    """Image features of each method as points on the plane of the first two principal components of
    real images' features, a panel an encoder.

    In brackets the component's share of their variance.
    """
    encoders = table.encoder.unique()
    figure, axes = plt.subplots(1, len(encoders), figsize=(7.5, 4.4), squeeze=False)
    for ax, encoder in zip(axes[0], encoders, strict=True):
        mine = table[table.encoder == encoder]
        for method, part in mine.groupby("method", sort=False):
            style = {"color": COLOURS[method], "label": TITLES[method], "linewidth": 0}
            size = 14 if method == "real" else 30
            ax.scatter(part["first"], part["second"], s=size, alpha=0.7, **style)
        shares = mine[["share of first", "share of second"]].iloc[0]
        words = [f"component {k} ({share:.0%})" for k, share in enumerate(shares, 1)]
        ax.set(title=ENCODERS[encoder], xlabel=words[0], ylabel=words[1])
    legend_below(figure, axes[0], columns=6)
    return figure


def views(table: pd.DataFrame, pixels: Mapping[str, np.ndarray]) -> Figure:
    """Real images, and below each its foreground box resized to the whole image, the image without
    that box, and a perturbed view of the foreground."""
    shown = len(table)
    figure, axes = plt.subplots(len(pixels), shown, figsize=(8, 4.6), squeeze=False)
    for line, (what, images) in zip(axes, pixels.items(), strict=True):
        image_row(line, images)
        line[0].set_ylabel(what, rotation=0, ha="right", va="center")
    return figure


def snapshots(table: pd.DataFrame, pixels: Mapping[str, np.ndarray]) -> Figure:
    """Images as the synthesis goes on, from noise on the left to the last iteration on the right, a
    row for each part of D4C that is on."""
    methods = [method for method in ABLATION if method in set(table.method)]
    figure, axes = plt.subplots(len(methods), len(table) // len(methods), figsize=(8, 4.7))
    for line, method in zip(axes, methods, strict=True):
        image_row(line, pixels["images"][(table.method == method).to_numpy()])
        label = BROKEN[method]
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for ax, (_, row) in zip(axes[0], table[table.method == methods[0]].iterrows(), strict=True):
        ax.set_title(f"{row.iterations} it.\n{row.prompt}", fontsize=9)
    return figure


def prompt_images(table: pd.DataFrame, pixels: Mapping[str, np.ndarray]) -> Figure:
    """Synthesised images in a column, and beside each the prompts that it is most similar to, as
    bars; dark is the prompt that it was made for."""
    numbers = list(table.image.unique())
    size = (7, 1.6 * len(numbers))
    figure, axes = plt.subplots(
        len(numbers), 2, figsize=size, width_ratios=[1, 2], squeeze=False, sharex="col"
    )
    for line, number in zip(axes, numbers, strict=True):
        prompt_picture(line, table[table.image == number], pixels["images"][number])
    for ax in axes[:-1, 1]:
        ax.set_xlabel("")
    return figure


def prompt_picture(axes: np.ndarray, rows: pd.DataFrame, picture: np.ndarray) -> None:
    """A picture, titled with its prompt, and bars of its similarity to the prompts in `rows`.

    Args:
        axes: two matplotlib axes, of picture and bars.
        rows: of `paperlib.d4c.tables.similar_prompts`, of this image.
        picture: RGB, 0 to 255, (height, width, 3).
    """
    prompt = rows.prompt.iloc[0]
    image_row(axes[:1], picture[None], [prompt])
    colours = [BLUE if name == prompt else "0.75" for name in rows.name]
    axes[1].barh(rows.name, rows.similarity, color=colours)
    axes[1].set_xlabel("similarity to the image")
    axes[1].tick_params(labelsize=9)
    axes[1].invert_yaxis()


def losses(table: pd.DataFrame) -> Figure:
    """Loss of the first mini-batch by iteration, a curve for each part of D4C that is on, a panel
    an encoder."""
    encoders = table.encoder.unique()
    figure, axes = plt.subplots(1, len(encoders), figsize=(7.5, 3.8), squeeze=False)
    for ax, encoder in zip(axes[0], encoders, strict=True):
        for method, part in table[table.encoder == encoder].groupby("method", sort=False):
            ax.plot(part.iteration, part.loss, color=COLOURS[method], label=TITLES[method])
        ax.set(title=ENCODERS[encoder], xlabel="iteration", ylabel="loss (nats)")
        if table.loss.max() > 3 * table.loss.min():
            ax.set_yscale("log", subs=[])
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
            ax.yaxis.set_major_formatter("{x:g}")
    axes[0, 0].legend(fontsize=9)
    return figure


def pilot(table: pd.DataFrame) -> Figure:
    """Zero-shot accuracy by iteration of the synthesis, a curve for each choice of temperature and
    names, a row an encoder, a column a pair of bit-widths; dotted for images that nobody made."""
    rows, bits = table[["dataset", "encoder"]].drop_duplicates(), table.bits.unique()
    shape = {"figsize": (2.7 * len(bits), 2.7 * len(rows)), "squeeze": False, "sharey": "row"}
    figure, axes = plt.subplots(len(rows), len(bits), sharex=True, **shape)
    for line, (dataset, encoder) in zip(axes, rows.to_numpy(), strict=True):
        line[0].set_ylabel(f"{DATASETS[dataset]}, Top-1 (%)")
        for width, ax in zip(bits, line, strict=True):
            chosen = (table.dataset == dataset) & (table.encoder == encoder) & (table.bits == width)
            _pilot(ax, table[chosen])
            ax.set(xscale="log", title=f"{ENCODERS[encoder]}, {width}")
    for ax in axes[-1]:
        ax.set_xlabel("iterations")
    legend_below(figure, [axes[0, 0]], columns=2)
    return figure


def _pilot(ax: Axes, table: pd.DataFrame) -> None:
    """A panel of `pilot`."""
    made, other = table[table.iterations > 0], table[table.iterations == 0]
    for name, value in other.set_index("names").top1.items():
        ax.axhline(value, color=COLOURS[name], linestyle=":", label=TITLES[name])
    for (temperature, names), part in made.groupby(["temperature", "names"], sort=False):
        style = {"color": VERMILION if names == "generic" else BLUE, "marker": "o"}
        style |= {"linestyle": "-" if temperature == "0.1" else "--"}
        ax.plot(part.iterations, part.top1, label=f"τ {temperature}, {names}", **style)
