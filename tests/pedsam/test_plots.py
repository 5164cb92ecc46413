"""Figures of the split and of masks, drawn from small tables: what is in them is in the picture."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from paperlib.notebook.figures import alt_text
from paperlib.pedsam import plots
from paperlib.pedsam.encoding import assignments
from paperlib.pedsam.split.partition import KINDS, WindowGrid
from tests.figures import lines, titles

GRID = WindowGrid(5, 2)  # 3 × 3 windows of 8 pixels, cut at the end
IMAGE = np.random.default_rng(0).integers(1, 256, (20, 20, 3), dtype=np.uint8)
WINDOWS = assignments(GRID, (2, 4), b"secret", patch=4)


def test_assignments():
    figure = plots.assignments(WINDOWS, {"image": IMAGE})
    assert titles(figure) == [f"{kind}, {k} servers" for k in (2, 4) for kind in KINDS]
    here = WINDOWS[(WINDOWS.servers == 4) & (WINDOWS.assignment == "random")]
    ax = figure.axes[-1]
    assert [int(text.get_text()) for text in ax.texts] == here.server.tolist()
    for patch, window in zip(ax.patches, here.itertuples(), strict=True):
        assert patch.get_xy() == (window.left - 0.5, window.top - 0.5)
        assert patch.get_height() == window.bottom - window.top
        assert patch.get_facecolor()[:3] == to_rgb(plots.SERVER_COLOURS[window.server])


def test_views():
    figure = plots.views(WINDOWS[WINDOWS.servers == 4], {"image": IMAGE})
    assert len(figure.axes) == 12
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
    for k in range(3):  # a row shows every pixel once
        np.testing.assert_array_equal(sum(shown[4 * k : 4 * k + 4]), IMAGE)
    share = (shown[0] > 0).mean()
    assert figure.axes[0].get_title() == f"server 0: {100 * share:.0f} %"


def test_views_of_a_photograph_show_what_those_of_a_scene_show():
    here = WINDOWS[WINDOWS.servers == 4], {"image": IMAGE}
    drawn = [draw(*here).axes for draw in (plots.views, plots.photograph_views)]
    for one, other in zip(*drawn, strict=True):
        assert one.get_title() == other.get_title()
        np.testing.assert_array_equal(*(ax.images[0].get_array() for ax in (one, other)))


def test_neighbours():
    rows = [(kind, k, 1 / k) for kind in KINDS for k in (2, 4)]
    table = pd.DataFrame(rows, columns=["assignment", "servers", "share"])
    (ax,) = plots.neighbours(table).axes
    assert lines(ax) == {kind: [[2, 0.5], [4, 0.25]] for kind in KINDS}


def test_prompts():
    places = [("box", 2, 3), ("box", 9, 8), ("1 point", 4, 5)]
    table = pd.DataFrame(places, columns=["prompt", "x", "y"])
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 5, 4] = 1
    figure = plots.prompts(table, {"image": IMAGE, "masks": mask})
    assert titles(figure) == ["box", "1 point"]
    frame, point = (ax.lines[0].get_xydata().tolist() for ax in figure.axes)
    assert frame == [[2, 3], [9, 3], [9, 8], [2, 8], [2, 3]] and point == [[4, 5]]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert (shown != IMAGE).any(2).nonzero() == (np.array([5]), np.array([4]))


def test_iou():
    rows = [(case, prompt, 0.1 * n + 0.3, 0.05) for n, case in enumerate("ab") for prompt in "xyz"]
    table = pd.DataFrame(rows, columns=["case", "prompt", "IoU", "deviation"])
    (ax,) = plots.iou(table).axes
    assert [bar.get_height() for bar in ax.patches] == table.IoU.tolist()
    assert len(ax.containers) == 4  # bars and their deviations


def test_masks():
    box = {"x0": 1, "y0": 2, "x1": 5, "y1": 6}
    rows = [
        {"image": image, "case": case, "IoU": 0.25 * (image + 1)} | box
        for image in (0, 1)
        for case in ("SAM, whole", "once, distilled")
    ]
    pixels = {f"image{n}": IMAGE for n in (0, 1)}
    pixels |= {f"masks{n}": np.zeros((2, 20, 20), np.uint8) for n in (0, 1)}
    figure = plots.masks(pd.DataFrame(rows), pixels)
    assert titles(figure) == ["SAM, whole\n0.25", "once,\ndistilled\n0.25", "0.50", "0.50"]
    assert figure.axes[3].lines[0].get_xydata()[0].tolist() == [1, 2]


def test_photograph_masks():
    box = {"x0": 1, "y0": 2, "x1": 5, "y1": 6}
    rows = [{"image": n, "case": case, "IoU": 0.5} | box for n in (0, 1) for case in "ab"]
    pixels = {f"image{n}": IMAGE for n in (0, 1)}
    pixels |= {f"masks{n}": np.ones((2, 20, 20), np.uint8) for n in (0, 1)}
    figure = plots.photograph_masks(pd.DataFrame(rows), pixels)
    tinted = np.asarray(figure.axes[3].images[0].get_array())
    np.testing.assert_allclose(tinted, 0.4 * IMAGE + 153 * np.array(to_rgb(plots.BLUE)), atol=1)


@pytest.mark.parametrize("name", ["assignments", "views", "iou"])
def test_alternative_texts_are_sentences(name):
    assert alt_text(getattr(plots, name)).endswith(".")
