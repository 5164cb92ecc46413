"""Figures of the frequency paper, each a function of its saved table, named as the figure."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.freq.attacks import ATTACKS
from paperlib.freq.controls import CONTROLS
from paperlib.freq.maps import as_map, frequency_map
from paperlib.freq.variants import ARCHITECTURES, VARIANTS
from paperlib.names import DATASETS as TITLES
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
    image_row,
    legend_below,
)

Pixels = Mapping[str, np.ndarray]
ALL = "all"
LINES = dict(zip(ARCHITECTURES, ("-", "--"), strict=True))
CONTROL_LINES = dict(zip(CONTROLS, ("--", ":", "-."), strict=True))
COLOURS = {  # of attacks and variants; a training has that of the attack that it uses
    "fgsm": ORANGE,
    "pgd_linf": VERMILION,
    "pgd_l2": GREY,
    "cw_l2": PURPLE,
    "square": BLUE,
    "simba_pixel": SKY,
    "simba_dct": GREEN,
    "hopskipjump": BLACK,
    "natural": BLUE,
    "low_pass": GREEN,
    "high_pass": PURPLE,
    "gaussian": GREY,
    "fgsm_rs": ORANGE,
    "pgd": VERMILION,
}
KINDS = {  # of training in the zoo: colour, variants
    "natural, weight decay": (BLUE, ("natural", "weight_decay_0", "weight_decay_5e-3")),
    "mixed images": (SKY, ("mixup",)),
    "noise": (GREY, ("gaussian", "gaussian_0.05", "gaussian_0.2")),
    "low-pass, blur": (GREEN, ("low_pass", "low_pass_16", "blur")),
    "high-pass": (PURPLE, ("high_pass",)),
    "adversarial": (VERMILION, ("fgsm_rs", "pgd", "pgd_4")),
}
MARKERS = dict(zip(ARCHITECTURES, ("o", "s"), strict=True))


def classes(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One test image of each class, side by side."""
    figure, axes = plt.subplots(1, len(table), figsize=(8, 1.3))
    image_row(axes, pixels["images"], [name[:8] for name in table["class"]])
    for ax in axes:
        ax.title.set_size(8)
    return figure


def spectrum(table: pd.DataFrame) -> Figure:
    """Magnitudes of the images' DCT: a map, bright at the lowest frequencies, and radial profiles.

    The profiles, one a class, fall on logarithmic axes; their mean is thick.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    frequency_map(left, as_map(table[table.u.notna()]), "mean |X|", label="pixel value", log=True)
    for name, rows in table[table.radius.notna()].groupby("class", sort=False):
        look = {"color": BLUE, "label": "mean of classes", "zorder": 3} if name == ALL else {}
        right.plot(rows.radius, rows.value, **{"color": "0.7", "linewidth": 1} | look)
    right.lines[-1].set_linewidth(2)
    right.set(xscale="log", yscale="log", xlabel="radius (components)", ylabel="mean |X|")
    right.legend()
    return figure


def filters(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """The same images whole and with their low, middle or high frequencies alone, a row each.

    Low frequencies leave blurred colours, high ones outlines on grey.
    """
    count = len(pixels[table["filter"][0]])
    figure, axes = plt.subplots(len(table), count, figsize=(8, 4.2))
    for line, name in zip(axes, table["filter"], strict=True):
        image_row(line, pixels[name], label=name)
    return figure


def transfer(table: pd.DataFrame) -> Figure:
    """Accuracy of ResNet-20s by the filter of training (rows) and of test (columns), as colours."""
    figure, ax = plt.subplots(figsize=(5, 3.6))
    values = table.set_index("trained on")
    sns.heatmap(values, annot=True, fmt=".1f", cmap="viridis", vmin=0, vmax=100, ax=ax)
    ax.set(xlabel="tested on", ylabel="trained on", title="accuracy (%), ResNet-20")
    return figure


def linear(table: pd.DataFrame) -> Figure:
    """Three maps over frequencies: the data's mean, its spread between classes, linear weights."""
    titles = {"mean": "mean |X|", "between": "between, B", "weights": "weights |W|"}
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.9))
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        frequency_map(ax, as_map(table[table["map"] == name]), title, log=True)
        ax.set(xlabel="v", ylabel="u")
    return figure


def attacked_images(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One image after each attack and each control, and below what was changed, made visible."""
    figure, axes = plt.subplots(2, len(table), figsize=(8, 2.1))
    image_row(axes[0], pixels["images"], label="image")
    image_row(axes[1], pixels["changes"], label="change")
    for ax, row in zip(axes[0], table.itertuples(), strict=True):
        lines = [_title(row.change).replace(" ", "\n", 1), "fools" if row.fools else "does not"]
        ax.set_title("\n".join(lines), fontsize=6)
    return figure


def rct_maps(table: pd.DataFrame) -> Figure:
    """Maps of the relative change by frequency, one an attack and one a control, colours alike."""
    names = list(table.change.unique())
    rows = -(-len(names) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(8, 2.2 * rows), sharex=True, sharey=True)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, names, strict=False):
        values = as_map(table[table.change == name])
        image = frequency_map(ax, values, _title(name), log=True, limits=(0.01, 3), bar=False)
        ax.set(xlabel="v", ylabel="u")
        ax.title.set_size(10)
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="RCT", shrink=0.7)
    return figure


def rct_curves(table: pd.DataFrame) -> Figure:
    """Relative change by radius: white-box attacks at the left, black-box at the right.

    The controls are the same, in black, in both panels. Shaded: 95 % intervals over images.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True)
    for ax, access in zip(axes, ("white-box", "black-box"), strict=True):
        for name, rows in table.groupby("change", sort=False):
            if name in CONTROLS:
                style = {"linestyle": CONTROL_LINES[name], "linewidth": 1.2, "color": BLACK}
                ax.plot(rows.radius, rows["mean"], label=CONTROLS[name].title, **style)
            elif ATTACKS[name].access == access:
                look = ATTACKS[name].title, COLOURS[name]
                band_curve(ax, rows.radius, rows["mean"], rows.low, rows.high, *look)
        ax.set(title=access, xlabel="radius (components)", yscale="log")
        ax.legend(fontsize=8)
    axes[0].set_ylabel("RCT, mean over images")
    return figure


def energy_shares(table: pd.DataFrame) -> Figure:
    """Bars of how the energy of each attack and control is shared among four bands."""
    figure, ax = plt.subplots(figsize=(7, 0.7 + 0.3 * table.change.nunique()))
    wide = table.pivot(index="change", columns="band", values="share")
    wide = wide.loc[table.change.unique(), table.band.unique()]
    wide.rename(_title).plot.barh(stacked=True, ax=ax, colormap="viridis", width=0.8)
    ax.set(xlabel="share of the change's energy", ylabel="", xlim=(0, 1))
    ax.invert_yaxis()
    ax.legend(bbox_to_anchor=(0.5, 1.0), loc="lower center", ncols=4, fontsize=9)
    return figure


def one_component(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """An image, the same without each of three components, and a map of every component's effect.

    The three are those whose removal changes the logit most.
    """
    figure, axes = plt.subplots(1, 5, figsize=(8, 2), width_ratios=[1, 1, 1, 1, 1.5])
    removed = table[table.picture.notna()].sort_values("picture")
    titles = [f"no ({row.u}, {row.v})" for row in removed.itertuples()]
    image_row(axes[:4], pixels["images"], ["all components", *titles])
    for ax in axes[:4]:
        ax.title.set_size(9)
    frequency_map(axes[4], as_map(table), "fall of the logit δ", signed=True)
    axes[4].set(xlabel="", ylabel="")
    return figure


def of_maps(table: pd.DataFrame) -> Figure:
    """Occluded Frequency maps: two architectures, each trained naturally and adversarially."""
    keys = list(table.groupby(["architecture", "variant"], sort=False).groups)
    figure, axes = plt.subplots(2, 2, figsize=(7.5, 6.4))
    for ax, (arch, variant) in zip(axes.flat, keys, strict=True):
        values = as_map(table[(table.architecture == arch) & (table.variant == variant)])
        title = f"{ARCHITECTURES[arch]}, {VARIANTS[variant]}"
        frequency_map(ax, values, title, label="OF", log=True, limits=(1e-4, 3e-2))
    return figure


def of_curves(table: pd.DataFrame) -> Figure:
    """Occluded Frequency of a component by radius, natural and adversarial training in a panel.

    Shaded: 95 % intervals over images. The last ring reaches to the corner.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for ax, (arch, panel) in zip(axes, table.groupby("architecture", sort=False), strict=True):
        for name, rows in panel.groupby("variant", sort=False):
            look = VARIANTS[name], COLOURS[name]
            band_curve(ax, rows.radius, rows["mean"], rows.low, rows.high, *look)
        ax.set(title=ARCHITECTURES[arch], xlabel="radius (components)", yscale="log")
    axes[0].set_ylabel("OF of a component, mean")
    axes[0].legend()
    return figure


def low_shares(table: pd.DataFrame) -> Figure:
    """Bars of the share of Occluded Frequency in low frequencies, one a network.

    The lines are 95 % intervals over images.
    """
    figure, ax = plt.subplots(figsize=(7, 3.4))
    names = table.architecture.map(ARCHITECTURES) + ", " + table.variant.map(_title)
    error = np.abs(table[["low", "high"]].to_numpy().T - table["low share"].to_numpy())
    colours = [COLOURS[name] for name in table.variant]
    ax.barh(names, table["low share"], xerr=error, color=colours)
    ax.set(xlabel="share of OF in max(u, v) < 8", xlim=(0, 1))
    ax.invert_yaxis()
    return figure


def zoo(table: pd.DataFrame) -> Figure:
    """Robust accuracy over low-frequency share, a point a network, by data set and size of attack.

    Circles are ResNet-20s, squares VGGs; the colours are kinds of training.
    """
    names = list(table.dataset.unique())
    figure, axes = plt.subplots(len(names), 2, figsize=(8, 3.6 * len(names)), squeeze=False)
    for line, name in zip(axes, names, strict=True):
        for ax, column in zip(line, ("robust_2", "robust_8"), strict=True):
            panel = table[table.dataset == name]
            for kind, (colour, variants) in KINDS.items():
                for arch, marker in MARKERS.items():
                    rows = panel[panel.variant.isin(variants) & (panel.architecture == arch)]
                    label = kind if marker == "o" else None
                    look = {"linestyle": "", "marker": marker, "color": colour, "markersize": 6}
                    ax.plot(rows.low_logit, 100 * rows[column], label=label, alpha=0.8, **look)
            title = f"{TITLES[name]}, ε = {column.removeprefix('robust_')}/255"
            ax.set(title=title, xlim=(0, 1), ylim=(-3, 103))
        line[0].set_ylabel("robust accuracy (%)")
    for ax in axes[-1]:
        ax.set_xlabel("low-frequency share of OF")
    legend_below(figure, [axes[0, 0]], columns=3)
    return figure


def cutoff_images(table: pd.DataFrame, pixels: Pixels) -> Figure:
    """One image through low-pass filters of rising cut-off, and below through high-pass ones."""
    kinds = list(table["filter"].unique())
    figure, axes = plt.subplots(len(kinds), len(pixels[kinds[0]]), figsize=(7, 3))
    for line, kind in zip(axes, kinds, strict=True):
        titles = [f"c = {cutoff}" for cutoff in table[table["filter"] == kind].cutoff]
        image_row(line, pixels[kind], titles, label=kind)
    return figure


def cutoffs(table: pd.DataFrame) -> Figure:
    """Accuracy by cut-off of a low-pass and of a high-pass filter, a line a network.

    Shaded: the range over the draws of images.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True)
    for ax, (kind, rows) in zip(axes, table.groupby("filter", sort=False), strict=True):
        _accuracies(ax, rows, "cutoff")
        ax.set(xlabel="cut-off c (components)", title=kind)
    axes[0].set_ylabel("accuracy (%)")
    legend_below(figure, [axes[0]], columns=2)
    return figure


def jpeg(table: pd.DataFrame) -> Figure:
    """Accuracy by the quality of JPEG, from none to coarse, a line a network.

    Shaded: the range over the draws of images.
    """
    figure, ax = plt.subplots(figsize=(6, 3.6))
    _accuracies(ax, table.assign(quality=table.quality.astype(str)), "quality")
    ax.set(xlabel="JPEG quality", ylabel="accuracy (%)")
    ax.legend(fontsize=9)
    return figure


def fourier_maps(table: pd.DataFrame) -> Figure:
    """Error rate under noise of one frequency, a map a network, no frequency in the middle.

    The title says the error rate without noise.
    """
    names = list(table.variant.unique())
    figure, axes = plt.subplots(1, len(names), figsize=(1 + 3.4 * len(names), 3.4), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        rows = table[table.variant == name]
        values = 100 * rows.pivot(index="i", columns="j", values="error")
        ends = values.columns.min(), values.columns.max(), values.index.max(), values.index.min()
        image = ax.imshow(values, vmin=0, vmax=100, extent=ends, interpolation="nearest")
        ax.set_title(f"{_title(name)}, {100 * rows.clean.iloc[0]:.0f} % without", fontsize=11)
        ax.set(xlabel="periods across", ylabel="periods down")
    figure.colorbar(image, ax=axes, label="error rate (%)", shrink=0.8)
    return figure


def corruptions(table: pd.DataFrame) -> Figure:
    """Accuracy lost to each corruption over the share of its change in high frequencies.

    A point a corruption and network; a line joins the two networks under the same corruption.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4))
    for _, rows in table.groupby("corruption"):
        ax.plot(rows["high share"], 100 * rows.lost, color="0.8", linewidth=1, zorder=0)
    tops = table.sort_values("lost").groupby("corruption").last().sort_values("high share")
    apart, lines = 0.03, 0.06 * (table.lost.max() - table.lost.min())
    for _, close in tops.groupby((tops["high share"].diff() > apart).cumsum()):
        height = -math.inf  # names of points that are close stand in lines at their left
        for title, top in close.sort_values("lost").iterrows():
            point, look = (top["high share"], 100 * top.lost), {"fontsize": 8}
            if len(close) == 1:
                beside = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
            else:
                height = max(top.lost, height + lines)
                left = close["high share"].min() - apart, 100 * height
                beside = {"xytext": left, "textcoords": "data", "ha": "right", "va": "center"}
                look["arrowprops"] = {"arrowstyle": "-", "color": "0.8", "relpos": (1, 0.5)}
            ax.annotate(title, point, **beside, **look)
    for name, rows in table.groupby("variant", sort=False):
        look = {"color": COLOURS[name], "label": _title(name)}
        ax.plot(rows["high share"], 100 * rows.lost, "o", **look)
    ax.axhline(0, color="0.6", linewidth=1, zorder=0)
    ax.set(xlabel="share of the change's energy in max(u, v) ≥ 16", ylabel="accuracy lost (points)")
    ax.margins(x=0.08)
    legend_below(figure, [ax], columns=2)
    return figure


def band_attacks(table: pd.DataFrame) -> Figure:
    """Bars of how often PGD within a band of frequencies fools each network; noise is pale."""
    figure, ax = plt.subplots(figsize=(7, 3.6))
    bands, names = list(table.band.unique()), list(table.variant.unique())
    for k, (name, how) in enumerate((n, h) for n in names for h in ("attack", "noise")):
        rows = table[(table.variant == name) & (table.how == how)].set_index("band").loc[bands]
        places = np.arange(len(bands)) + 0.2 * (k - 1.5)
        pale = {"alpha": 1.0 if how == "attack" else 0.35}
        label = f"{_title(name)}, {how}"
        ax.bar(places, 100 * rows.fooled, 0.19, color=COLOURS[name], label=label, **pale)
    ax.set(xlabel="max(u, v)", ylabel="fooled (%)", ylim=(0, 103))
    ax.set_xticks(range(len(bands)), bands)
    legend_below(figure, [ax], columns=2)
    return figure


def _title(name: str) -> str:
    return VARIANTS[name] if name in VARIANTS else (ATTACKS | CONTROLS)[name].title


def _accuracies(ax: Axes, table: pd.DataFrame, x: str) -> None:
    """Mean accuracy in percent over `x`, in the order of the table, and its range over draws."""
    for (arch, variant), rows in table.groupby(["architecture", "variant"], sort=False):
        drawn = 100 * rows.groupby(x, sort=False).accuracy.agg(["mean", "min", "max"])
        colour = COLOURS[variant]
        label = f"{ARCHITECTURES[arch]}, {VARIANTS[variant]}"
        ax.plot(drawn.index, drawn["mean"], LINES[arch], color=colour, label=label)
        ax.fill_between(drawn.index, drawn["min"], drawn["max"], color=colour, alpha=0.15)
