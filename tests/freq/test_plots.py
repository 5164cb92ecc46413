"""Every figure is drawn from a small table, and from the published one where there is one."""

import ast
import inspect
import io
import itertools
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from paperlib.code import with_imports
from paperlib.freq import plots, sizes, zoo, zoo_recipes
from paperlib.freq.attacks import ATTACKS
from paperlib.freq.controls import CONTROLS
from paperlib.freq.variants import ARCHITECTURES, VARIANTS
from paperlib.freq.your_model import plots as your_plots
from paperlib.names import notebooks
from paperlib.notebook import figures
from paperlib.paths import FIGURES, NOTEBOOKS

SIDE = 4
U, V = (axis.ravel() for axis in np.indices((SIDE, SIDE)))
MAP = pd.DataFrame({"u": U, "v": V, "value": 0.01 * (1 + U + V)})
CURVE = pd.DataFrame({"radius": [0.5, 1.5], "mean": [2.0, 1.0], "low": [1.0, 0.5], "high": [3, 2]})
DRAWN = {
    name: draw
    for module in (plots, your_plots)
    for name, draw in inspect.getmembers(module, inspect.isfunction)
    if draw.__module__ == module.__name__ and inspect.signature(draw).return_annotation is Figure
}


def each(table, **keys):
    """The table once for every value of the keys, which come in step."""
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*keys.values(), strict=True)]
    return pd.concat([table.assign(**row) for row in rows], ignore_index=True)


def pictures(*counts):
    return [np.full((count, 4, 4, 3), 99, np.uint8) for count in counts]


CHANGES = [*ATTACKS, *CONTROLS]
NETWORKS = {
    "architecture": [name for name in ARCHITECTURES for _ in range(2)],
    "variant": ["natural", "pgd"] * len(ARCHITECTURES),
}
POINTS = pd.DataFrame({"seed": [0, 1], "accuracy": [0.5, 0.7]})
SMALL = {
    "classes": (pd.DataFrame({"class": ["a", "b"]}), {"images": pictures(2)[0]}),
    "spectrum": (
        pd.concat(
            [
                MAP.assign(**{"class": "all"}),
                each(pd.DataFrame({"radius": [1, 2], "value": [2, 1]}), **{"class": ["a", "all"]}),
            ]
        ),
    ),
    "filters": (
        pd.DataFrame({"filter": ["all", "low"], "variance": [1, 2]}),
        dict(zip(["all", "low"], pictures(2, 2), strict=True)),
    ),
    "transfer": (pd.DataFrame({"trained on": ["a", "b"], "a": [1.0, 2], "b": [3.0, 4]}),),
    "linear": (each(MAP, map=["mean", "between", "weights"]),),
    "attacked_images": (
        pd.DataFrame({"change": CHANGES, "fools": True}),
        dict(zip(["images", "changes"], pictures(len(CHANGES), len(CHANGES)), strict=True)),
    ),
    "rct_maps": (each(MAP, change=CHANGES),),
    "rct_curves": (each(CURVE, change=CHANGES),),
    "energy_shares": (
        each(pd.DataFrame({"band": ["low", "high"], "share": [0.25, 0.75]}), change=CHANGES),
    ),
    "one_component": (
        MAP.assign(picture=[1, 2, 3, *[np.nan] * (SIDE**2 - 3)]),
        {"images": pictures(4)[0]},
    ),
    "of_maps": (each(MAP, **NETWORKS),),
    "of_curves": (each(CURVE, **NETWORKS),),
    "low_shares": (
        each(pd.DataFrame({"low share": [0.5], "low": [0.4], "high": [0.6]}), **NETWORKS),
    ),
    "zoo": (
        each(
            each(
                pd.DataFrame({"low_logit": [0.2, 0.4], "robust_2": 0.5, "robust_8": [0, 0.2]}),
                **NETWORKS,
            ),
            dataset=["openmoji", "cifar10"],
        ),
    ),
    "cutoff_images": (
        pd.DataFrame({"filter": ["low-pass", "low-pass", "high", "high"], "cutoff": [2, 4, 0, 2]}),
        dict(zip(["low-pass", "high"], pictures(2, 2), strict=True)),
    ),
    "cutoffs": (
        each(
            each(POINTS, cutoff=[8, 16, 8, 16], filter=["low-pass", "low-pass", "high", "high"]),
            **NETWORKS,
        ),
    ),
    "jpeg": (each(each(POINTS, quality=["none", 95, 10]), **NETWORKS),),
    "fourier_maps": (
        each(
            pd.DataFrame(
                {"i": np.repeat([-1, 0, 1], 3), "j": [-1, 0, 1] * 3, "error": 0.5, "clean": 0.1}
            ),
            variant=["natural", "pgd"],
        ),
    ),
    "corruptions": (
        each(
            pd.DataFrame({"corruption": ["a", "b"], "high share": [0.1, 0.7], "lost": [0.2, 0.4]}),
            variant=["natural", "pgd"],
        ),
    ),
    "band_attacks": (
        each(
            pd.DataFrame({"band": ["low", "high"], "fooled": [0.25, 0.75]}),
            variant=["natural", "natural", "pgd", "pgd"],
            how=["attack", "noise"] * 2,
        ),
    ),
    "your_maps": (each(MAP, quantity=["OF", "RCT", "OF"], model=["a", "a", "b"]),),
    "your_curves": (
        each(CURVE, quantity=["OF", "OF", "RCT", "RCT"], model=["a", "b", "a", "white noise"]),
    ),
    "your_differences": (
        each(
            pd.DataFrame({"difference": [0.1], "from": [0.0], "to": [0.2], "images": 3}),
            quantity=["OF 0", "OF 1", "low share", "low share"],
            group=["all", "all", "all", "cat"],
            model=["b", "b", "b", "b"],
            minus=["a", "a", "a", "a"],
        ),
    ),
}


@pytest.fixture(autouse=True)
def looks():
    figures.style()


def drawn(name):
    """The figure drawn from the small table as it is read back from a file."""
    table, *pixels = SMALL[name]
    content = io.BytesIO(table.to_csv(index=False).encode())
    return DRAWN[name](pd.read_csv(content), *pixels)


@pytest.mark.parametrize("name", DRAWN)
def test_a_small_table_is_drawn_and_described(name):
    figure = drawn(name)
    figure.canvas.draw()
    assert np.asarray(figure.canvas.buffer_rgba()).std() > 0
    assert len(figures.alt_text(DRAWN[name]).split()) > 6


@pytest.mark.parametrize("name", DRAWN)
def test_the_published_tables_are_drawn(name):
    places = [file.parent for file in FIGURES.glob(f"*/[01][1-5]_*/{name}.json")]
    for folder in places:
        if b"drawn_by" in (folder / f"{name}.json").read_bytes():
            assert len(figures.load_figure(folder, name).render()) > 5000


def test_every_attack_and_control_has_a_map_and_a_curve_in_the_panel_of_its_access():
    figure = drawn("rct_maps")
    titles = {ax.get_title() for ax in figure.axes if ax.get_title()}
    assert titles == {row.title for row in (ATTACKS | CONTROLS).values()}
    for ax in drawn("rct_curves").axes:
        lines = {line.get_label(): line.get_color() for line in ax.lines}
        own = {
            kind.title: plots.COLOURS[name]
            for name, kind in ATTACKS.items()
            if kind.access == ax.get_title()
        }
        assert own and own == {title: lines[title] for title in own}
        assert set(lines) == set(own) | {control.title for control in CONTROLS.values()}


def test_colours_differ_in_a_figure_and_agree_between_attack_and_training():
    for names in (ATTACKS, VARIANTS):
        colours = np.array([to_rgb(plots.COLOURS[name]) for name in names])
        distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
        assert distances[~np.eye(len(colours), dtype=bool)].min() > 0.15
        assert (colours @ [0.2126, 0.7152, 0.0722] < 0.75).all(), "too pale on white"
    assert plots.COLOURS["fgsm"] == plots.COLOURS["fgsm_rs"]
    assert plots.COLOURS["pgd_linf"] == plots.COLOURS["pgd"]


def test_no_code_that_decides_values_names_a_colour():
    own = [NOTEBOOKS / f"{name}.py" for name in notebooks() if name in sizes.SIZES]
    deciding = with_imports([*own, Path(zoo.__file__)])
    assert Path(plots.__file__) not in deciding
    named = [
        (file.name, node.value)
        for file in deciding
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and re.fullmatch("#[0-9a-fA-F]{3,8}", str(node.value))
    ]
    assert own and named == []


def test_curves_and_bands_are_those_of_the_table():
    ax = drawn("of_curves").axes[0]
    line, band = ax.lines[0], ax.collections[0]
    assert line.get_ydata().tolist() == [2, 1]
    assert line.get_color() == plots.COLOURS["natural"]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.5, 3)


def test_every_network_of_the_zoo_is_a_point_in_the_panels_of_its_data_set():
    figure = drawn("zoo")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "OpenMoji, ε = 2/255" and titles[3] == "CIFAR-10, ε = 8/255"
    points = [line for line in figure.axes[3].lines if len(line.get_xdata())]
    assert sorted(y for line in points for y in line.get_ydata()) == [0] * 4 + [20] * 4
    assert {line.get_marker() for line in points} == {"o", "s"}
    colours = {line.get_color() for line in points}
    assert colours == {plots.COLOURS["natural"], plots.COLOURS["pgd"]}


def test_every_variant_of_the_zoo_is_of_one_kind():
    drawn_variants = [name for _, variants in plots.KINDS.values() for name in variants]
    assert sorted(drawn_variants) == sorted(zoo_recipes.VARIANTS)


def test_the_bars_of_energy_end_at_one_in_the_order_of_the_table():
    ax = drawn("energy_shares").axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        row.title for row in (ATTACKS | CONTROLS).values()
    ]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert max(ends) == pytest.approx(1)


def test_accuracies_are_means_over_draws_in_the_order_of_the_table():
    ax = drawn("jpeg").axes[0]
    assert ax.lines[0].get_xdata().tolist() == ["none", "95", "10"]
    assert ax.lines[0].get_ydata() == pytest.approx([60] * 3)


def test_names_of_corruptions_that_are_close_do_not_overlap():
    rows = [(f"noise {k}", 0.74 + 0.001 * k, 0.04 * (3 - k)) for k in range(4)] + [
        ("blur", 0.5, 0.5)
    ]
    both = [(network, *row) for network in ("natural", "pgd") for row in rows]
    columns = ["variant", "corruption", "high share", "lost"]
    figure = plots.corruptions(pd.DataFrame(both, columns=columns))
    figure.canvas.draw()
    words = figure.axes[0].texts
    boxes = {x.get_text(): Text.get_window_extent(x) for x in words}  # without their lines
    assert set(boxes) == {row[0] for row in rows}
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)


def test_bars_and_points_of_the_last_parts_are_those_of_the_table():
    bars = drawn("band_attacks").axes[0].patches
    assert [bar.get_height() for bar in bars] == [25, 75] * 4
    points = [line for line in drawn("corruptions").axes[0].lines if line.get_marker() == "o"]
    assert [line.get_ydata().tolist() for line in points] == [[20, 40]] * 2
    maps = drawn("fourier_maps").axes
    assert maps[0].images[0].get_array().max() == 50
    assert "10 % without" in maps[0].get_title()


def test_your_networks_have_a_colour_each_and_white_noise_is_black():
    left, right = drawn("your_curves").axes
    lines = {line.get_label(): line.get_color() for line in [*left.lines, *right.lines]}
    assert lines["white noise"] == plots.BLACK and len(set(lines.values())) == 3
    assert left.lines[0].get_color() == right.lines[0].get_color()
    apart, groups = drawn("your_differences").axes
    assert apart.lines[0].get_color() == lines["b"]
    assert [tick.get_text() for tick in groups.get_yticklabels()] == ["cat", "all"]
