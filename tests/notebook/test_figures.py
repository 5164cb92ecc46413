"""One style, one way to save a figure, and the drawings that papers share."""

import json

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from paperlib.files import FileError
from paperlib.notebook import figures
from paperlib.notebook.figures import (
    as_pixels,
    band_curve,
    image_row,
    redraw,
    save_figure,
)

VALUES = pd.DataFrame({"radius": [0, 1], "energy": [1 / 3, 2e-9]})
PIXELS = {"first": np.full((2, 4, 4, 3), 200, np.uint8)}
PARAMETERS = {"profile": "smoke", "dataset": "openmoji", "seed": 0}


@pytest.fixture
def ax():
    figures.style()
    return plt.subplots(figsize=(3, 2))[1]


def curve(table: pd.DataFrame, colour: str = "black") -> Figure:
    """A curve that rises
    and falls.

    More words.
    """
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.plot(table.radius, table.energy, color=colour)
    return figure


def grid(table: pd.DataFrame, pixels: dict[str, np.ndarray]) -> Figure:
    """Two pictures."""
    figure, axes = plt.subplots(1, 2, figsize=(3, 2))
    image_row(axes, pixels["first"])
    return figure


def save(folder, draw=curve, table=VALUES, pixels=None, parameters=PARAMETERS):
    save_figure(draw, table, pixels, folder, parameters, "digest")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_image_of_200_dpi_its_values_and_where_it_comes_from(tmp_path):
    folder = tmp_path / "new" / "folder"
    save(folder)
    assert names(folder) == ["curve.csv", "curve.json", "curve.png"]
    image = Image.open(folder / "curve.png")
    assert image.size == (600, 400)
    assert image.info["dpi"] == pytest.approx((200, 200), rel=1e-4)
    assert np.asarray(image.convert("L")).std() > 0
    assert (folder / "curve.csv").read_bytes() == b"radius,energy\n0,0.333333\n1,2e-09\n"
    written = json.loads((folder / "curve.json").read_text())
    assert written["parameters"] == PARAMETERS
    assert (written["figure"], written["drawn_by"]) == ("curve", __name__)
    assert written["inputs"] == "digest"
    assert not plt.get_fignums()


def test_pixels_are_kept_beside_and_go_with_them(tmp_path):
    save(tmp_path, grid, pixels=PIXELS)
    assert names(tmp_path) == ["grid.csv", "grid.json", "grid.npz", "grid.png"]
    with np.load(tmp_path / "grid.npz") as kept:
        np.testing.assert_array_equal(kept["first"], PIXELS["first"])
    (tmp_path / "curve.npz").touch()  # of an earlier run
    save(tmp_path)
    assert "curve.npz" not in names(tmp_path)


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        save(folder)
        save(folder, grid, pixels=PIXELS)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        plt.rcParams["lines.linewidth"] = 9  # what a notebook sets changes no saved figure
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": VALUES[:0]}, "values of curve: no rows"),
        ({"table": VALUES.set_index("radius")}, "index would be lost"),
        ({"parameters": {"profile": "smoke"}}, "parameters of curve: no seed"),
        ({"parameters": {"seed": 0, "x": float("nan")}}, "not JSON compliant"),
        ({"pixels": {"x": np.zeros((2, 2))}}, "pixels of curve: valid are arrays of uint8"),
    ],
)
def test_a_figure_that_would_lose_something_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path, **changes)
    assert names(tmp_path) == []


def test_it_is_drawn_again_from_what_was_saved(tmp_path, monkeypatch):
    save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(figures.importlib, "import_module", lambda name: module)
    module = type("module", (), {"curve": staticmethod(curve)})
    redraw(tmp_path, "curve")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "curve.csv").write_text("radius,energy\n0,1\n1,0\n")
    saved = figures.load_figure(tmp_path, "curve")
    assert saved.looks() != saved.about["looks"]
    redraw(tmp_path, "curve")
    assert (tmp_path / "curve.png").read_bytes() != before["curve.png"]
    (tmp_path / "curve.json").write_text("{")
    with pytest.raises(FileError, match="curve: cannot be drawn again .*: run its notebook"):
        redraw(tmp_path, "curve")


def test_a_figure_that_nothing_draws_any_more_is_named(tmp_path):
    save(tmp_path)
    text = (tmp_path / "curve.json").read_text()
    (tmp_path / "curve.json").write_text(text.replace(__name__, "paperlib.gone"))
    with pytest.raises(FileError, match="curve: cannot be drawn again"):
        redraw(tmp_path, "curve")


def test_alt_text_and_preview(tmp_path):
    assert figures.alt_text(curve) == "A curve that rises and falls."
    save(tmp_path)
    (tmp_path / "small.png").write_bytes(figures.preview(tmp_path, "curve"))
    assert Image.open(tmp_path / "small.png").size == (300, 200)


def test_a_band_lies_between_low_and_high_in_the_curve_s_colour(ax):
    x, mean = np.arange(3), np.array([1.0, 2.0, 3.0])
    band_curve(ax, x, mean, mean - 0.5, mean + 1, "natural", "#0173b2")
    (line,), (band,) = ax.get_lines(), ax.collections
    assert line.get_ydata().tolist() == [1, 2, 3]
    assert ax.get_legend_handles_labels()[1] == ["natural"]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.5, 4)
    assert tuple(band.get_facecolor()[0][:3]) == to_rgb(line.get_color())
    for low, high in ((None, None), (mean, None), (None, mean)):
        band_curve(ax, x, mean, low, high, "other", "k")
    assert len(ax.collections) == 1


def test_images_stand_upright_with_their_titles(ax):
    _, axes = plt.subplots(1, 2)
    images = np.zeros((2, 3, 4, 6))
    images[0, 0, 0, :] = 2  # the top row of the first is red, and more than red
    image_row(axes, images, ["a", "b"], "natural")
    drawn = axes[0].get_images()[0].get_array()
    assert drawn.shape == (4, 6, 3)
    assert drawn[0, 0].tolist() == [255, 0, 0] and drawn[1:].max() == 0
    image_row(axes, as_pixels(images), ["a", "b"], "natural")
    assert (axes[0].get_images()[-1].get_array() == drawn).all()
    assert [one.get_title() for one in axes] == ["a", "b"]
    assert [one.get_ylabel() for one in axes] == ["natural", ""]
    with pytest.raises(ValueError, match="2 axes, 1 images, 0 titles"):
        image_row(axes, images[:1])
    with pytest.raises(ValueError, match="2 axes, 2 images, 1 titles"):
        image_row(axes, images, ["a"])
    with pytest.raises(ValueError, match="expected"):
        image_row(axes, images[:, :1])
    with pytest.raises(ValueError, match="expected"):
        image_row(axes, np.zeros((2, 3, 4, 6), np.uint8))
