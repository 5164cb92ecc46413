"""The figure of a sweep shows its means, its intervals and its runs, whatever the grid."""

import warnings

import numpy as np
import pytest

from paperlib.intervals import student
from paperlib.notebook.figures import style
from paperlib.sweeps import plots, tables
from tests.sweeps.test_tables import GRIDS, failed, made


@pytest.fixture(autouse=True)
def looks():
    style()


def value(point, seed):
    """Different at each point and seed."""
    return 10.0 * hash(str(point)) % 97 + seed**2


@pytest.mark.parametrize("seeds", [[2], [0, 1, 2, 3]], ids=["one seed", "four seeds"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_grid_is_drawn_without_a_warning(grid, seeds):
    claims = ("one", "two", "three")
    table = tables.per_run(made(grid, seeds, value, claims=claims))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.over_grid(table)
        figure.canvas.draw()
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == [*claims]
    assert {ax.get_ylabel() for ax in shown} == {"points"}
    assert {ax.get_xlabel() for ax in shown} == {[*grid, "all runs"][0]}
    (legend,) = figure.legends or [None]
    assert (legend is None) == (len(grid) < 2)
    if legend:
        assert legend.get_title().get_text() == ", ".join([*grid][1:])


def marks(ax, size):
    """Heights of the large marks of means, or of what else has so many points."""
    return sorted(y for line in ax.lines if line.get_marker() == size for y in line.get_ydata())


def test_means_intervals_and_runs_are_those_of_the_table():
    table = made({"images": [200, 50]}, [0, 1, 3], value)
    (ax,) = plots.over_grid(tables.per_run(table)).axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["50", "200"]
    means = {images: table.value[table.images == images].mean() for images in (50, 200)}
    assert marks(ax, "o") == pytest.approx(sorted(means.values()))
    ends = {round(float(y), 6) for line in ax.lines for y in line.get_ydata() if np.isfinite(y)}
    for images in (50, 200):
        for end in student(table.value[table.images == images]):
            assert round(end, 6) in ends
    points = np.concatenate([np.asarray(group.get_offsets())[:, 1] for group in ax.collections])
    assert sorted(points) == pytest.approx(sorted(table.value))


def test_a_second_size_has_colours_of_its_own():
    grid = {"images": [50, 100], "encoders": ["vit", "resnet"], "steps": [1, 2]}
    figure = plots.over_grid(tables.per_run(made(grid, [0, 1], value)))
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == ["resnet, 1", "resnet, 2", "vit, 1", "vit, 2"]
    colours = {line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert len({*map(tuple, colours)}) == 4


def test_more_sizes_than_colours_are_told_apart():
    grid = {"images": [50, 100], "bands": [*range(1, 13)]}
    figure = plots.over_grid(tables.per_run(made(grid, [0], value)))
    colours = [handle.get_color() for handle in figure.legends[0].legend_handles]
    assert len({*map(tuple, colours)}) == 12


def test_a_point_without_runs_is_left_open():
    whole = made({"images": [50, 100], "bands": [8, 16]}, [0, 1], value)
    where = (whole.images == 100) & (whole.bands == 8)
    (ax,) = plots.over_grid(tables.per_run(failed(whole, where))).axes
    found = [y for y in marks(ax, "o") if np.isfinite(y)]
    assert len(found) == 3
