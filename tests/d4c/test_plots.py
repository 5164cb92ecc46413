"""Every figure is drawn from a small table."""

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from paperlib.d4c import quantization_plots, synthesis_plots
from paperlib.d4c.ablation import CONTROLS
from paperlib.d4c.difficulty import GAINS, MAPPED
from paperlib.d4c.encoders import ENCODERS as SHOWN
from paperlib.d4c.methods import ABLATION, METHODS, TITLES
from paperlib.d4c.plots import PALETTE
from paperlib.notebook.figures import alt_text

ENCODERS = ("resnet", "vit")
BITS = ("W4A3", "W2A8")
BASELINES = {"resnet": "bns", "vit": "pse"}
DRAWN = {
    name: draw
    for module in (quantization_plots, synthesis_plots)
    for name, draw in inspect.getmembers(module, inspect.isfunction)
    if draw.__module__ == module.__name__
    and inspect.signature(draw).return_annotation is Figure
    and not name.startswith("_")
}


def rows(columns, *parts):
    return pd.DataFrame(itertools.product(*parts), columns=columns)


def pictures(count):
    generator = np.random.default_rng(0)
    return generator.integers(256, size=(count, 8, 8, 3), dtype=np.uint8)


def curves(name, shares):
    table = rows(["encoder", "method", shares], ENCODERS, ("real", "d4c"), np.linspace(0, 1, 5))
    return table.assign(**{name: np.linspace(0.1, 0.9, len(table))})


def accuracies():
    tables = []
    for encoder, baseline in BASELINES.items():
        names = ("real", "gaussian", baseline, "d4c")
        for bits, draws in (("W4A3", range(3)), ("W4A8", range(1))):
            table = rows(["encoder", "bits", "draw", "method"], [encoder], [bits], draws, names)
            tables.append(table.assign(decisive=bits == "W4A3", float=90))
    table = pd.concat(tables)
    return table.assign(top1=np.linspace(20, 80, len(table)))


def worths():
    columns = ["dataset", "encoder", "bits", "draw", "method"]
    parts = ("openmoji", "cifar10"), ENCODERS, BITS, range(2), ("gaussian", "leaves", "real")
    table = rows(columns, *parts)
    return table.assign(top1=np.linspace(20, 80, len(table)))


def pilots():
    choices = [("0.1", "generic"), ("10 / logit scale", "ImageNet")]
    made = rows(["encoder", "choice", "iterations", "bits"], ENCODERS, choices, (100, 3_000), BITS)
    made[["temperature", "names"]] = made.pop("choice").to_list()
    made = made.assign(top1=made.iterations / 100)
    other = rows(["encoder", "bits"], ENCODERS, BITS).assign(temperature="none", names="real")
    table = pd.concat([made, other.assign(iterations=0, top1=90.0)]).assign(dataset="cifar10")
    return pd.concat([table, table.assign(dataset="openmoji", top1=table.top1 + 1)])


TABLES = {
    "examples": lambda: rows(["encoder", "method", "image"], ENCODERS, ("bns", "d4c"), range(3)),
    "semantics": lambda: curves("similarity", "share"),
    "patches": lambda: curves("similarity", "share"),
    "plane": lambda: rows(
        ["encoder", "method", "first", "share of first", "share of second"],
        *(ENCODERS, ("real", "d4c"), (0.1, 0.7), (0.4,), (0.2,)),
    ).assign(second=0.5),
    "views": lambda: rows(["top", "left", "height", "width"], range(3), [0], [4], [4]),
    "snapshots": lambda: rows(
        ["method", "iterations", "image", "prompt"], ABLATION, (0, 9), range(2), ["cat"]
    ),
    "prompt_images": lambda: rows(
        ["image", "prompt", "name"], range(2), ["cat"], ["dog", "cat"]
    ).assign(similarity=[0.4, 0.3, 0.3, 0.2]),
    "losses": lambda: rows(["encoder", "method", "iteration"], ENCODERS, ABLATION, range(4)).assign(
        loss=2.0
    ),
    "pilot": pilots,
    "accuracy": accuracies,
    "gains": lambda: pd.concat(
        [
            rows(["where", "encoder", "bits", "gain"], ["here"], ENCODERS, ["W4A8"], (1, 3)),
            rows(["where", "encoder", "dataset", "gain"], ["paper"], ["RN50"], ["ImageNet"], [2]),
        ]
    ),
    "difficulty": lambda: rows(
        ["model", "bits", "spread", "what", "points", "low", "high"],
        *(MAPPED, ("W4A3", "W4A8"), (0.0, 1.0), GAINS.values(), [3.0], [1.0], [5.0]),
    ),
    "spectra": lambda: rows(
        ["encoder", "method", "frequency", "amplitude"],
        *(ENCODERS, ("gaussian", "spectrum", "real"), (0.1, 0.5), [0.2]),
    ),
    "worth": worths,
    "ablation": lambda: rows(
        ["encoder", "bits", "method", "top1"], ENCODERS, ["W4A3"], (*CONTROLS, *ABLATION), (50, 60)
    ),
    "cost": lambda: rows(
        ["where", "encoder", "method", "s an image"], ("here", "there"), ENCODERS, ("d4c",), [3.0]
    ),
    "deployment": lambda: pd.concat(
        [
            rows(["encoder", "bits", "saved (MB)"], ENCODERS, ("float32", "W4A8"), [3.0]),
            rows(
                ["encoder", "bits", "computes with", "ms an image", "threads"],
                *(ENCODERS, ["W4A8"], ("simulated", "integers"), [0.7], [1]),
            ),
        ]
    ),
    "sensitivity": lambda: rows(
        ["encoder", "layer", "bits", "cost"], ENCODERS, ("first", "last"), (2, 8), [0.1]
    ),
}
PIXELS = {
    "examples": lambda: {"images": pictures(12)},
    "views": lambda: {"image": pictures(3), "foreground": pictures(3)},
    "snapshots": lambda: {"images": pictures(16)},
    "prompt_images": lambda: {"images": pictures(3)},
}


def drawn(name):
    pixels = [PIXELS[name]()] if name in PIXELS else []
    return DRAWN[name](TABLES[name](), *pixels)


@pytest.mark.parametrize("name", TABLES)
def test_a_figure_is_drawn_and_described(name):
    figure = drawn(name)
    assert figure.axes and all(ax.has_data() for ax in figure.axes)
    figure.canvas.draw()
    assert len(alt_text(DRAWN[name])) > 50


def test_every_figure_has_a_table():
    assert set(TABLES) == set(DRAWN)


def colours(ax):
    return {line.get_label(): to_hex(line.get_color()) for line in ax.lines}


@pytest.mark.parametrize("name", ["semantics", "losses"])
def test_curves_have_the_colours_of_their_methods(name):
    figure = drawn(name)
    expected = {TITLES[m]: PALETTE[list(METHODS).index(m)] for m in TABLES[name]().method.unique()}
    assert all(colours(ax) == expected for ax in figure.axes)


def test_the_accuracies_of_a_method_stand_above_its_name():
    figure = drawn("accuracy")
    table = accuracies()
    left = figure.axes[0]
    for place, method in enumerate(("real", "gaussian", "bns", "d4c")):
        mine = table[(table.encoder == "resnet") & (table.method == method) & table.decisive]
        points = [line for line in left.lines if list(line.get_xdata()) == [place] * 3]
        assert [list(line.get_ydata()) for line in points] == [list(mine.top1)]
        assert left.get_xticklabels()[place].get_text().replace("\n", " ") == TITLES[method]


def test_pictures_stand_in_the_row_of_their_method():
    figure = drawn("snapshots")
    images = pictures(16)
    assert len(figure.axes) == 16
    for ax, image in zip(figure.axes, images, strict=True):
        assert np.array_equal(ax.images[0].get_array(), image)
    labels = [ax.get_ylabel().replace("\n", " ") for ax in figure.axes[::4]]
    assert labels == [TITLES[method] for method in ABLATION]


def test_the_pilot_is_a_curve_a_choice_and_a_line_an_image_that_nobody_made():
    figure = drawn("pilot")
    titles = [f"{encoder}, {bits}" for encoder in ("ResNet", "ViT") for bits in BITS]
    assert [ax.get_title() for ax in figure.axes] == 2 * titles
    for number, ax in enumerate(figure.axes):
        more = number // len(titles)  # the second data set below the first
        real, *curves = ax.get_lines()
        assert real.get_ydata() == [90 + more] * 2 and real.get_linestyle() == ":"
        assert [tuple(line.get_xdata()) for line in curves] == [(100, 3_000)] * 2
        assert [tuple(line.get_ydata()) for line in curves] == [(1 + more, 30 + more)] * 2
        assert [line.get_linestyle() for line in curves] == ["-", "--"]


def test_the_worth_of_a_method_stands_above_its_name_in_the_panel_of_its_row():
    table, figure = worths(), drawn("worth")
    panels = iter(figure.axes)
    for dataset, encoder, bits in itertools.product(("openmoji", "cifar10"), ENCODERS, BITS):
        ax = next(panels)
        assert ax.get_title() == f"{SHOWN[encoder]}, {bits}"
        of = (table.dataset == dataset) & (table.encoder == encoder) & (table.bits == bits)
        for place, method in enumerate(("gaussian", "leaves", "real")):
            mine = table[of & (table.method == method)].top1
            points, mean = (line.get_ydata() for line in ax.lines[2 * place : 2 * place + 2])
            assert list(points) == list(mine) and list(mean) == [mine.mean()] * 2
    names = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert names == ["noise", "dead leaves", "real"]


def test_spectra_are_curves_over_both_axes_as_logarithms():
    figure = drawn("spectra")
    for ax in figure.axes:
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert list(colours(ax)) == [TITLES[m] for m in ("gaussian", "spectrum", "real")]
        assert all(list(line.get_xdata()) == [0.1, 0.5] for line in ax.lines)
