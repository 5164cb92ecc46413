"""The figures of quantized CLIPs, of notebooks 12 to 14, each a function of its saved table."""

import itertools

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperlib.d4c.ablation import CONTROLS
from paperlib.d4c.encoders import ENCODERS
from paperlib.d4c.methods import ABLATION, METHODS, TITLES
from paperlib.d4c.plots import BROKEN, COLOURS
from paperlib.names import DATASETS
from paperlib.notebook.figures import BLUE, GREY, ORANGE, SKY, VERMILION, legend_below


def accuracy(table: pd.DataFrame) -> Figure:
    """Zero-shot accuracy of the quantized CLIP by calibration images: left at the bit-widths that
    decide, a point a seed; right at the paper's bit-widths; dashed in floating point."""
    encoders = table.encoder.unique()
    shape = {"figsize": (8, 3.6 * len(encoders)), "squeeze": False, "sharey": "row"}
    figure, axes = plt.subplots(len(encoders), 2, **shape)
    for (left, right), encoder in zip(axes, encoders, strict=True):
        mine = table[table.encoder == encoder]
        decisive, beside = mine[mine.decisive], mine[~mine.decisive]
        methods = [method for method in METHODS if method in set(mine.method)]
        widths = list(beside.bits.unique())
        for place, method in enumerate(methods):
            _points(left, place, decisive[decisive.method == method].top1, COLOURS[method])
            style = {"color": COLOURS[method], "label": TITLES[method], "markersize": 8}
            groups = beside[beside.method == method].groupby("bits", sort=False).top1
            at = [x + 0.13 * (place - (len(methods) - 1) / 2) for x in range(len(widths))]
            mean, deviation = (each.reindex(widths) for each in (groups.mean(), groups.std()))
            right.errorbar(at, mean, deviation.fillna(0), fmt="o", **style)
        for ax in (left, right):
            ax.axhline(mine["float"].mean(), color="0.4", linestyle="--", linewidth=1)
        names = [TITLES[method].replace(" ", "\n") for method in methods]
        left.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
        left.tick_params("x", labelsize=9)
        bits = decisive.bits.iloc[0]
        left.set(ylabel="zero-shot Top-1 (%)", title=f"{ENCODERS[encoder]}, {bits}")
        right.set(xticks=range(len(widths)), xticklabels=widths)
        right.set(xlim=(-0.5, len(widths) - 0.5), title="the paper's bit-widths")
    return figure


def _points(ax: Axes, place: int, values: pd.Series, colour: str) -> None:
    """A point a seed, and a line for their mean."""
    ax.plot([place] * len(values), values, "o", color=colour, markersize=8, alpha=0.6)
    ax.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=colour)


def gains(table: pd.DataFrame) -> Figure:
    """What D4C gains over the data-free baseline, as bars: left measured here, by encoder and
    bit-width; right as the paper reports at W4A8."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
    here = table[table["where"] == "here"].groupby(["encoder", "bits"], sort=False).gain
    labels = [f"{ENCODERS[encoder]}, {bits}" for encoder, bits in here.mean().index]
    axes[0].barh(labels, here.mean(), xerr=here.std().fillna(0), color=COLOURS["d4c"])
    axes[0].set(title="measured here", xlabel="gain of D4C (points)")
    paper = table[table["where"] == "paper"]
    axes[1].barh(paper.encoder + ", " + paper.dataset, paper.gain, color="0.6")
    axes[1].set(title="reported at W4A8", xlabel="gain of D4C (points)")
    for ax in axes:
        ax.axvline(0, color="0.2", linewidth=1)
        ax.invert_yaxis()
    return figure


def difficulty(table: pd.DataFrame) -> Figure:
    """What D4C's images gain over the baseline's and over natural-spectrum noise, and real images
    over white noise, by how far channels differ in size (σ): a row a model, a column a bit-width;
    lines on the points are 95 % intervals over draws."""
    models, widths = table.model.unique(), table.bits.unique()
    shape = {"figsize": (8, 2.6 * len(models)), "squeeze": False, "sharex": True, "sharey": "row"}
    figure, axes = plt.subplots(len(models), len(widths), **shape)
    for line, model in zip(axes, models, strict=True):
        for ax, bits in zip(line, widths, strict=True):
            here = table[(table.model == model) & (table.bits == bits)]
            for colour, (what, part) in zip(
                (VERMILION, BLUE, GREY), here.groupby("what", sort=False), strict=True
            ):
                ends = [part.points - part.low, part.high - part.points]
                ax.errorbar(part.spread, part.points, ends, fmt="o-", color=colour, label=what)
            ax.axhline(0, color="0.6", linewidth=1)
            ax.set_title(bits)
        words = model.replace(", ", ",\n")
        line[0].set_ylabel(f"{words}\ngain (points)")
    for ax in axes[-1]:
        ax.set(xlabel="spread σ", xticks=table.spread.unique())
    legend_below(figure, [axes[0, 0]], columns=3)
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """Zero-shot accuracy with noise, with each part of D4C on or off (PGSI also with the images of
    another draw), with real images; a point a seed, a line for their mean, a panel an encoder."""
    encoders = table.encoder.unique()
    figure, axes = plt.subplots(1, len(encoders), figsize=(10, 4), squeeze=False)
    drawn = set(table.method)
    methods = [method for method in (*CONTROLS, *ABLATION, "real") if method in drawn]
    for ax, encoder in zip(axes[0], encoders, strict=True):
        mine = table[table.encoder == encoder]
        for place, method in enumerate(methods):
            _points(ax, place, mine[mine.method == method].top1, COLOURS[method])
        names = [BROKEN[method] for method in methods]
        ax.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
        title = f"{ENCODERS[encoder]}, {mine.bits.iloc[0]}"
        ax.set(title=title, ylabel="zero-shot Top-1 (%)")
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Seconds to synthesise an image, as bars a method: left here, right as the official README
    reports for full-size models on a GPU."""
    places = table["where"].unique()
    figure, axes = plt.subplots(1, len(places), figsize=(8, 3.8))
    for ax, where in zip(axes, places, strict=True):
        part = table[table["where"] == where]
        names = part.encoder.map(ENCODERS).fillna(part.encoder) + ", " + part.method.map(TITLES)
        bars = ax.barh(names, part["s an image"], color=part.method.map(COLOURS))
        ax.bar_label(bars, fmt=" %.0f")
        ax.set(xlabel="time an image (s)", title=where)
        ax.margins(x=0.15)
        ax.invert_yaxis()
    return figure


def deployment(table: pd.DataFrame) -> Figure:
    """Bars: left the size of the saved model by bit-width, right the time an image of the image
    tower in floating point, simulated and on integers."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    disk, towers = table[table["saved (MB)"].notna()], table[table["ms an image"].notna()]
    bars = axes[0].barh(
        disk.encoder.map(ENCODERS) + ", " + disk.bits, disk["saved (MB)"], color=BLUE
    )
    axes[0].bar_label(bars, fmt=" %.1f")
    axes[0].set(xlabel="size (MB)", title="both towers, on disk")
    kinds = (towers.bits + " " + towers["computes with"]).str.removeprefix("float32 ")
    bars = axes[1].barh(
        towers.encoder.map(ENCODERS) + ", " + kinds, towers["ms an image"], color=BLUE
    )
    axes[1].bar_label(bars, fmt=" %.2f")
    axes[1].set(
        xlabel="time an image (ms)", title=f"image tower, threads: {towers.threads.iloc[0]:.0f}"
    )
    for ax in axes:
        ax.invert_yaxis()
        ax.margins(x=0.15)
    return figure


def spectra(table: pd.DataFrame) -> Figure:
    """Mean amplitude of calibration images by spatial frequency, both axes logarithmic, a curve a
    method, a panel an encoder: a straight line that falls is a power law, white noise is level."""
    encoders, ticks = table.encoder.unique(), (0.02, 0.1, 0.5)
    shape = {"figsize": (7.5, 4.2), "squeeze": False, "sharey": True}
    figure, axes = plt.subplots(1, len(encoders), **shape)
    for ax, encoder in zip(axes[0], encoders, strict=True):
        for method, part in table[table.encoder == encoder].groupby("method", sort=False):
            style = {"color": COLOURS[method], "label": TITLES[method]}
            style |= {"linestyle": "--" if method == "scrambled" else "-"}  # on real images' curve
            ax.plot(part.frequency, part.amplitude, **style)
        ax.set(title=ENCODERS[encoder], xscale="log", yscale="log")
        ax.set(xlabel="frequency (cycles a pixel)", xticks=ticks, xticklabels=ticks)
        ax.minorticks_off()
    axes[0, 0].set_ylabel("mean amplitude\n(of pixels from 0 to 1)")
    legend_below(figure, axes[0], columns=4)
    return figure


def worth(table: pd.DataFrame) -> Figure:
    """Zero-shot accuracy by calibration images, from those that know least to real ones: a row a
    data set and encoder, a column a bit-width, a point a draw and a line for the mean."""
    rows, widths = table[["dataset", "encoder"]].drop_duplicates(), table.bits.unique()
    shape = {"figsize": (10, 2.5 * len(rows)), "squeeze": False, "sharex": True, "sharey": "row"}
    figure, axes = plt.subplots(len(rows), len(widths), **shape)
    methods = list(table.method.unique())
    for line, (dataset, encoder) in zip(axes, rows.to_numpy(), strict=True):
        mine = table[(table.dataset == dataset) & (table.encoder == encoder)]
        for ax, bits in zip(line, widths, strict=True):
            for place, method in enumerate(methods):
                chosen = (mine.bits == bits) & (mine.method == method)
                _points(ax, place, mine[chosen].top1, COLOURS[method])
            ax.set_title(f"{ENCODERS[encoder]}, {bits}", fontsize=10)
        line[0].set_ylabel(f"{DATASETS[dataset]}, Top-1 (%)", fontsize=10)
    for ax in axes[-1]:
        ax.set(xticks=range(len(methods)), xlim=(-0.5, len(methods) - 0.5))
        names = [BROKEN[method] for method in methods]
        ax.set_xticklabels(names, rotation=40, ha="right", fontsize=9)
    return figure


def sensitivity(table: pd.DataFrame) -> Figure:
    """What quantizing a layer alone costs, on a logarithmic axis: a row a layer in the network's
    order, a point a width of its weights and a bar between them, a panel an encoder."""
    encoders = table.encoder.unique()
    tallest = table.groupby("encoder").layer.nunique().max()
    shape = {"figsize": (9, 1.4 + 0.19 * tallest), "squeeze": False, "sharex": True}
    figure, axes = plt.subplots(1, len(encoders), **shape)
    for ax, encoder in zip(axes[0], encoders, strict=True):
        mine = table[table.encoder == encoder]
        wide = mine.pivot_table(index="layer", columns="bits", values="cost", sort=False)
        ax.hlines(range(len(wide)), wide.min(axis=1), wide.max(axis=1), color="0.8", linewidth=5)
        for bits, colour in zip(wide, itertools.cycle((VERMILION, ORANGE, SKY, BLUE))):
            style = {"color": colour, "label": f"{bits} bits", "markersize": 5}
            ax.plot(wide[bits], range(len(wide)), "o", **style)
        names = wide.index.str.replace(r"transformer.resblocks.|attention\.", "", regex=True)
        ax.set_yticks(range(len(wide)), names, fontsize=8)
        ax.set(xscale="log", ylim=(len(wide) - 0.5, -0.5), title=ENCODERS[encoder])
        ax.set_xlabel("cost (share of the feature's square)")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, title="weights of")
    return figure
