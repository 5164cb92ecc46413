"""The published figures are what their functions draw of the published tables."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from paperlib.notebook import figures, provenance
from paperlib.notebook.claims import load_claims
from paperlib.paths import FIGURES, NOTEBOOKS
from paperlib.runs.check import PUBLISHED, saved_figures
from paperlib.runs.pages import load_published
from paperlib.runs.table import read_table

SAVED = [
    (folder, name)
    for profile in PUBLISHED
    for folder in sorted((FIGURES / profile).glob("*"))
    if provenance.load(folder)["parts"]
    for name in saved_figures(folder)
]


def hidden(figure: Figure) -> list[str]:
    """What is drawn where a legend stands, and what does not fit into the figure."""
    figure.canvas.draw()
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    boxes, found, extents = [legend.get_window_extent() for legend in legends if legend], [], []
    for ax in figure.axes:
        for line in ax.lines:
            x, y = line.get_transform().transform(line.get_path().vertices).T
            if line.get_linestyle() != "None":
                at = np.linspace(0, len(x) - 1, 50 * len(x))
                x, y = (np.interp(at, range(len(each)), each) for each in (x, y))
            found += [line.get_label() for box in boxes if inside(box, x, y)]
        for points in (each for each in ax.collections if isinstance(each, PathCollection)):
            x, y = points.get_offset_transform().transform(points.get_offsets()).T
            found += [points.get_label() for box in boxes if inside(box, x, y)]
        bars = [bar for bar in ax.patches if isinstance(bar, Rectangle) and bar.get_height()]
        bars = [bar.get_window_extent() for bar in bars]
        found += ["a bar" for box in boxes if box.count_overlaps(bars)]
        words = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        extents += [word.get_window_extent() for word in words if word.get_text()]
    found += ["a word" for box in boxes if box.count_overlaps(extents)]
    (left, low), (right, high) = figure.bbox.padded(1).get_points()
    for box in boxes + extents:
        if box.x0 < left or box.y0 < low or box.x1 > right or box.y1 > high:
            found.append("beyond the edge")
    return found


def inside(box, x, y) -> bool:
    """Whether any of the points, in pixels, is in a box."""
    return bool(((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any())


@pytest.mark.parametrize(("folder", "name"), SAVED, ids=lambda part: getattr(part, "name", part))
def test_a_published_picture_is_drawn_of_its_table(folder, name, monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(figures.plt, "close", drawn.append)
    published = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"), dtype=int)
    picture = Image.open(io.BytesIO(figures.load_figure(folder, name).render())).convert("RGB")
    picture = np.asarray(picture, dtype=int)
    monkeypatch.undo()
    assert picture.shape == published.shape
    # Fonts are rendered alike by the same version of matplotlib; a line that moves differs by more.
    assert (np.abs(picture - published).max(-1) > 8).mean() < 1e-4
    assert hidden(drawn[0]) == []
    plt.close(drawn[0])


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ax.plot([0, 1], [0, 1], label="drawn"),
        lambda ax: ax.plot([0, 0.5, 1], [0, 0.5, 1], "o", label="drawn"),
        lambda ax: ax.scatter([0, 0.5, 1], [0, 0.5, 1], label="drawn"),
        lambda ax: ax.scatter([0.5], [0.5], label="drawn"),
        lambda ax: ax.bar([0, 0.5, 1], [1, 1, 1], label="drawn"),
    ],
)
def test_what_a_legend_hides_is_noticed(draw):
    figure, (ax, empty) = plt.subplots(1, 2)
    draw(ax)
    empty.legend(*ax.get_legend_handles_labels(), loc="center")
    assert hidden(figure) == []
    ax.legend(loc="center")
    assert hidden(figure) in (["drawn"], ["a bar"])
    plt.close(figure)


def test_words_under_a_legend_and_beyond_the_edge_are_noticed():
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 0], label="drawn")
    ax.legend(loc="upper center")
    assert hidden(figure) == []
    word = ax.text(0.5, 0.95, "a word", ha="center", transform=ax.transAxes)
    assert hidden(figure) == ["a word"]
    word.remove()
    ax.set_ylabel("longer than the figure is high " * 5)
    assert hidden(figure) == ["beyond the edge"]
    plt.close(figure)


def test_no_notebook_took_more_memory_than_its_head_and_its_row_say():
    for name, entry in read_table().items():
        source = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
        (head,) = re.findall(r"^# \| [^|]*\b(?:all|default)\b.* under ([\d.]+) GB", source, re.M)
        peak = provenance.load(entry.published("default"))["cost"]["peak_mb"]
        assert peak < 1024 * float(head), name
        assert peak < 1.05 * entry.row.memory["default"], name  # it varies a little


def test_the_default_column_is_there():
    measured = {claim.notebook for claim in load_claims().values()}
    assert measured <= {folder.name for folder, _ in SAVED if folder.parent.name == "default"}


def test_every_interval_holds_its_value():
    """Where it does not, the two are of different quantities."""
    found = [m for m in load_published(()).measured.values() if m.interval]
    for each in found:
        low, high = each.interval
        assert low <= np.mean(each.values) <= high, each.claim
    assert len(found) > 20


def test_every_paper_is_described_and_its_picture_published():
    shown = load_published(())
    assert None not in shown.papers.values()
    for name, paper in shown.papers.items():
        assert {claim.notebook for claim in shown.of(name).values()} <= set(paper.settings)
        picture = FIGURES / "default" / paper.picture.file
        assert picture.with_suffix(".png").is_file()
        assert picture.with_suffix(".csv").is_file()
