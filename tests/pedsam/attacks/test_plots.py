"""Figures of attacks, drawn from small tables: what is in them is in the picture."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from paperlib.notebook.figures import alt_text
from paperlib.pedsam.attacks import plots, unseen
from paperlib.pedsam.attacks.active import EVERYWHERE, HONEST, OTHERS, RANDOM
from paperlib.pedsam.attacks.measures import MEASURES
from paperlib.pedsam.attacks.privacy import ATTACKS, BY_OTHERS, OF_PHOTOGRAPHS, SHOWN
from paperlib.pedsam.split.partition import KINDS
from tests.figures import lines, titles


def by_attack(coalitions):
    rows = [
        {"assignment": kind, "servers": servers, "colluding": colluding}
        | {"measure": measure, "attack": name, "value": 10.0 * number + servers + colluding}
        for measure in SHOWN
        for kind, servers, colluding in coalitions
        for number, name in enumerate(ATTACKS)
    ]
    return pd.DataFrame(rows)


def test_rebuilt():
    names = ["view", *ATTACKS, "image"]
    pixels = {name: np.full((2, 4, 4, 3), n, np.uint8) for n, name in enumerate(names)}
    figure = plots.rebuilt(pd.DataFrame({"servers": [2, 4]}), pixels)
    assert titles(figure)[:3] == ["view", "mean fill", "biharmonic"]
    assert titles(figure)[8] == "transformer\nof\nphotographs"  # none touches the next
    assert [ax.images[0].get_array().max() for ax in figure.axes] == [*range(len(names))] * 2


def test_rebuilt_photographs_stand_as_rebuilt_scenes_do():
    names = ["view", *ATTACKS, "image"]
    pixels = {name: np.full((2, 4, 4, 3), n, np.uint8) for n, name in enumerate(names)}
    table = pd.DataFrame({"servers": [2, 4]})
    drawn = [draw(table, pixels).axes for draw in (plots.rebuilt, plots.rebuilt_photographs)]
    for one, other in zip(*drawn, strict=True):
        assert one.get_title() == other.get_title()
        np.testing.assert_array_equal(*(ax.images[0].get_array() for ax in (one, other)))


def test_reconstruction():
    coalitions = [(kind, servers, 1) for kind in KINDS for servers in (2, 4)]
    figure = plots.reconstruction(by_attack(coalitions))
    assert titles(figure) == [*KINDS, "", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == [MEASURES[name] for name in SHOWN]
    for ax in figure.axes:
        assert lines(ax)["biharmonic"] == [[2, 13], [4, 15]]


def test_over_fill():
    lines_drawn = [*((unseen.BEST, kind) for kind in KINDS), (unseen.OTHERS, "random")]
    rows = [
        {"measure": measure, "fill": fill, "assignment": kind, "servers": k}
        | {"gain": n / k, "low": n / k - 0.5, "high": n / k + 0.25}
        for measure in unseen.UNSEEN
        for n, (fill, kind) in enumerate(lines_drawn)
        for k in (2, 4)
    ]
    figure = plots.over_fill(pd.DataFrame(rows))
    for ax in figure.axes:
        assert [bars.get_label() for bars in ax.containers] == [*KINDS, unseen.OTHERS]
        points, _, (ends,) = ax.containers[2]
        assert points.get_xydata().tolist() == [[2, 1], [4, 0.5]]
        assert ends.get_segments()[1].tolist() == [[4, 0], [4, 0.75]]


def test_collusion():
    coalitions = [("random", 4, 2), ("random", 16, 4), ("random", 16, 12)]
    figure = plots.collusion(by_attack(coalitions))
    for ax in figure.axes:
        assert lines(ax)["mean fill"] == [[0.25, 20], [0.75, 28]]
        assert [[0.5, 6]] in lines(ax).values()


def test_later_rounds():
    names = ["panel", "assignment", "servers", "colluding", "attack", "gain"]
    panels = [*OF_PHOTOGRAPHS.values(), "of 16 servers"]
    rows = []
    for panel, attack, gain in zip(panels, ("inversion", "unet_tokens"), (0.1, 0.2), strict=False):
        rows += [(panel, "contiguous", k, 1, attack, gain * k) for k in (2, 4)]
        rows += [(panel, BY_OTHERS, k, 1, attack, -k) for k in (2, 4)]
    rows += [(panels[-1], "random", 16, c, "tokens", -c) for c in (1, 8)]
    figure = plots.later_rounds(pd.DataFrame(rows, columns=names))
    assert titles(figure) == panels
    for ax, gain in zip(figure.axes, (0.1, 0.2), strict=False):
        assert lines(ax)["contiguous"] == [[2, 2 * gain], [4, 4 * gain]]
        assert lines(ax)[BY_OTHERS] == [[2, -2], [4, -4]]
    assert lines(figure.axes[-1])[ATTACKS["tokens"].title] == [[1, -1], [8, -8]]


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


def test_attacks_have_colours_unlike_each_other():
    colours = np.array([to_rgb(plots.COLOURS[name]) for name in ATTACKS])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 0.15
    assert len({attack.title for attack in ATTACKS.values()}) == len(ATTACKS)


@pytest.mark.parametrize("name", ["rebuilt", "collusion", "video"])
def test_alternative_texts_are_sentences(name):
    assert alt_text(getattr(plots, name)).endswith(".")
