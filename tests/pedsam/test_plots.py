"""Every figure of PED-SAM, drawn from a small table: what is in the table is in the picture."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from paperlib.notebook.figures import alt_text
from paperlib.pedsam import plots
from paperlib.pedsam.attacks import unseen
from paperlib.pedsam.attacks.active import EVERYWHERE, HONEST, OTHERS, RANDOM
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.encoding import assignments
from paperlib.pedsam.split.partition import KINDS, WindowGrid

GRID = WindowGrid(5, 2)  # 3 × 3 windows of 8 pixels, cut at the end
IMAGE = np.random.default_rng(0).integers(1, 256, (20, 20, 3), dtype=np.uint8)
WINDOWS = assignments(GRID, (2, 4), b"secret", patch=4)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(ax):
    """Points of every line by its label."""
    return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def by_attack(measures, coalitions):
    rows = [
        {"assignment": kind, "servers": servers, "colluding": colluding}
        | {"measure": measure, "attack": name, "value": 10.0 * number + servers + colluding}
        for measure in measures
        for kind, servers, colluding in coalitions
        for number, name in enumerate(ATTACKS)
    ]
    return pd.DataFrame(rows)


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


def test_rebuilt():
    names = ["view", *ATTACKS, "image"]
    pixels = {name: np.full((2, 4, 4, 3), n, np.uint8) for n, name in enumerate(names)}
    figure = plots.rebuilt(pd.DataFrame({"servers": [2, 4]}), pixels)
    assert titles(figure)[:3] == ["view", "mean\nfill", "biharmonic"]
    assert [ax.images[0].get_array().max() for ax in figure.axes] == [*range(7)] * 2


def test_reconstruction():
    coalitions = [(kind, servers, 1) for kind in KINDS for servers in (2, 4)]
    figure = plots.reconstruction(by_attack(plots.MEASURES, coalitions))
    assert titles(figure) == [*KINDS, "", "", ""]
    for ax in figure.axes:
        assert lines(ax)["biharmonic"] == [[2, 13], [4, 15]]


def test_over_fill():
    lines_drawn = [*((unseen.BEST, kind) for kind in KINDS), (unseen.OTHERS, "random")]
    rows = [
        {"measure": measure, "fill": fill, "assignment": kind, "servers": k}
        | {"gain": n / k, "low": n / k - 0.5, "high": n / k + 0.25}
        for measure in unseen.MEASURES
        for n, (fill, kind) in enumerate(lines_drawn)
        for k in (2, 4)
    ]
    figure = plots.over_fill(pd.DataFrame(rows))
    for ax in figure.axes:
        assert [bars.get_label() for bars in ax.containers] == [*KINDS, unseen.OTHERS]
        points, _, (ends,) = ax.containers[2]
        assert points.get_xydata().tolist() == [[2, 1], [4, 0.5]]
        assert ends.get_segments()[1].tolist() == [[4, 0], [4, 0.75]]


def test_figures_of_photographs_show_what_those_of_scenes_show():
    names = ["view", *ATTACKS, "image"]
    pixels = {name: np.full((2, 4, 4, 3), n, np.uint8) for n, name in enumerate(names)}
    pairs = [(plots.views, plots.photograph_views, WINDOWS[WINDOWS.servers == 4], {"image": IMAGE})]
    table = pd.DataFrame({"servers": [2, 4]})
    pairs.append((plots.rebuilt, plots.rebuilt_photographs, table, pixels))
    for scenes, photographs, table, pixels in pairs:
        drawn = [draw(table, pixels).axes for draw in (scenes, photographs)]
        for one, other in zip(*drawn, strict=True):
            assert one.get_title() == other.get_title()
            np.testing.assert_array_equal(*(ax.images[0].get_array() for ax in (one, other)))


def test_photograph_masks():
    box = {"x0": 1, "y0": 2, "x1": 5, "y1": 6}
    rows = [{"image": n, "case": case, "IoU": 0.5} | box for n in (0, 1) for case in "ab"]
    pixels = {f"image{n}": IMAGE for n in (0, 1)}
    pixels |= {f"masks{n}": np.ones((2, 20, 20), np.uint8) for n in (0, 1)}
    figure = plots.photograph_masks(pd.DataFrame(rows), pixels)
    tinted = np.asarray(figure.axes[3].images[0].get_array())
    np.testing.assert_allclose(tinted, 0.4 * IMAGE + 153 * np.array(to_rgb(plots.BLUE)), atol=1)


def test_collusion():
    coalitions = [("random", 4, 2), ("random", 16, 4), ("random", 16, 12)]
    figure = plots.collusion(by_attack(plots.MEASURES, coalitions))
    for ax in figure.axes:
        assert lines(ax)["mean fill"] == [[0.25, 20], [0.75, 28]]
        assert [[0.5, 6]] in lines(ax).values()


def test_later_rounds():
    names = ["panel", "assignment", "servers", "colluding", "attack", "gain"]
    rows = [("one server", "contiguous", k, 1, "inversion", 0.1 * k) for k in (2, 4)]
    rows += [("of 16 servers", "random", 16, c, "tokens", -c) for c in (1, 8)]
    figure = plots.later_rounds(pd.DataFrame(rows, columns=names))
    assert titles(figure) == ["one server", "of 16 servers"]
    assert lines(figure.axes[0])["contiguous"] == [[2, 0.2], [4, 0.4]]
    assert lines(figure.axes[1])[ATTACKS["tokens"].title] == [[1, -1], [8, -8]]


def test_active():
    kinds = [HONEST, "one chosen token", RANDOM, OTHERS, EVERYWHERE]
    rows = [
        {"servers": k, "knows": knows, "gain": n + k, "low": n + k - 0.5, "high": n + k + 0.25}
        for k in (2, 8)
        for n, knows in enumerate(kinds)
    ]
    ax = plots.active(pd.DataFrame(rows)).axes[0]
    for n, (bars, knows) in enumerate(zip(ax.containers, kinds, strict=True)):
        assert bars.get_label() == knows
        points, _, (lines,) = bars
        assert points.get_xydata().tolist() == [[2, n + 2], [8, n + 8]]
        assert lines.get_segments()[1].tolist() == [[8, n + 7.5], [8, n + 8.25]]


def test_active_defences():
    table = pd.DataFrame(
        {"defence": ["none", "pixels once"], "gain": [2.0, 0.0], "low": [1.5, 0], "high": [2.25, 0]}
    )
    ax = plots.active_defences(table).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["none", "pixels once"]
    assert [bar.get_width() for bar in ax.patches] == [2, 0]
    assert ax.containers[0].lines[2][0].get_segments()[0].tolist() == [[1.5, 0], [2.25, 0]]


def test_recognition():
    rows = [("accuracy", "random", k, 100 / k) for k in (1, 2)]
    rows += [(what, "random", k, 1 / k) for what in ("IoU", "box") for k in (1, 2)]
    table = pd.DataFrame(rows, columns=["measure", "assignment", "servers", "value"])
    left, right = plots.recognition(table).axes
    assert lines(left)["random"] == [[1, 100], [2, 50]]
    assert lines(right)["the box alone"] == [[1, 1], [2, 0.5]]


def test_video():
    rows = [(k, t, 0.1 * t, 0.2 * t, 1 / k) for k in (2, 4) for t in (1, 2)]
    table = pd.DataFrame(rows, columns=["servers", "frames", "measured", "fresh", "kept"])
    (ax,) = plots.video(table).axes
    assert lines(ax)["4 servers"] == [[1, 0.2], [2, 0.4]] and len(ax.lines) == 6


def test_bars_of_stages_stand_side_by_side():
    rows = [("small", "edge alone", 3.0, 0.0), ("small", "exact", 1.0, 0.5)]
    figure = plots.stages(pd.DataFrame(rows, columns=["SAM", "case", "edge", "server"]))
    edge, server = figure.axes[0].containers
    assert [bar.get_width() for bar in edge] == [3, 1]
    assert [bar.get_x() for bar in server] == [3, 1] and server[1].get_width() == 0.5


def test_modelled():
    rows = [
        (sam, network, case, 1.0, 2.0, 4.0)
        for sam in ("small", "vit_b")
        for network in ("5G", "wired")
        for case in ("edge alone", "exact")
    ]
    names = ["SAM", "network", "case", "edge", "servers", "transfer"]
    figure = plots.modelled(pd.DataFrame(rows, columns=names))
    assert titles(figure) == ["small, 5G", "small, wired", "vit_b, 5G", "vit_b, wired"]
    assert [bar.get_x() for bar in figure.axes[3].containers[2]] == [3, 3]


def test_attacks_have_colours_unlike_each_other():
    colours = np.array([to_rgb(plots.COLOURS[name]) for name in ATTACKS])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 0.15
    assert len({attack.title for attack in ATTACKS.values()}) == len(ATTACKS)


@pytest.mark.parametrize("name", ["assignments", "rebuilt", "collusion", "modelled"])
def test_alternative_texts_are_sentences(name):
    assert alt_text(getattr(plots, name)).endswith(".")
