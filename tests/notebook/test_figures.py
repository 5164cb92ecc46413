import json

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm, to_rgb
from PIL import Image

from paperlib.d4c import pipeline
from paperlib.notebook import figures, provenance
from paperlib.notebook.figures import (
    as_pixels,
    assignment_map,
    band_curve,
    frequency_map,
    image_row,
    mask_overlay,
    save_figure,
)
from paperlib.pedsam.attacks import privacy

VALUES = pd.DataFrame({"radius": [0, 1], "energy": [1 / 3, 2e-9]})
PARAMETERS = {"profile": "smoke", "dataset": "openmoji", "seed": 0}


@pytest.fixture
def ax():
    figures.style()
    figure, ax = plt.subplots(figsize=(3, 2))
    yield ax
    plt.close(figure)


def test_an_image_of_200_dpi_its_values_and_where_it_comes_from(ax, tmp_path):
    ax.plot([0, 1])
    save_figure(ax.figure, tmp_path / "new" / "folder", "curve", VALUES, PARAMETERS)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "curve.csv",
        "curve.json",
        "curve.png",
    ]
    image = Image.open(folder / "curve.png")
    assert image.size == (600, 400)
    assert image.info["dpi"] == pytest.approx((200, 200), rel=1e-4)
    assert np.asarray(image.convert("L")).std() > 0
    assert (folder / "curve.csv").read_bytes() == b"radius,energy\n0,0.333333\n1,2e-09\n"
    written = json.loads((folder / "curve.json").read_text())
    assert written["parameters"] == PARAMETERS
    assert {"python", "paperlib", "torch", "numpy", "matplotlib"} <= set(written["versions"])
    assert written["versions"]["numpy"] == np.__version__
    assert written["code"] == provenance.source_hash()


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        figures.style()
        figure, ax = plt.subplots()
        frequency_map(ax, np.arange(1, 65).reshape(8, 8), "map", label="energy", log=True)
        save_figure(figure, folder, "map", VALUES, PARAMETERS)
        plt.close(figure)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, "name='../x'"),
        ({"name": "x.png"}, "valid are lower-case"),
        ({"values": VALUES[:0]}, "values of curve: no rows"),
        ({"values": VALUES.set_index("radius")}, "index would be lost"),
        ({"parameters": {"profile": "smoke"}}, "no seed"),
        ({"parameters": {"seed": 0, "x": {1, 2}}}, "not writable as JSON"),
        ({"parameters": {"seed": 0, "x": float("nan")}}, "not writable as JSON"),
    ],
)
def test_a_figure_that_would_lose_something_is_refused(ax, tmp_path, changes, message):
    arguments = {"name": "curve", "values": VALUES, "parameters": PARAMETERS} | changes
    with pytest.raises(ValueError, match=message):
        save_figure(ax.figure, tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_files_and_nothing_else(tmp_path, monkeypatch):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    provenance.write_files({first: b"old", second: b"old"})
    write = type(tmp_path).write_bytes

    def full(path, content):
        if path.name.startswith(".b"):
            raise OSError("disk full")
        return write(path, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        provenance.write_files({first: b"new", second: b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.txt": b"old",
        "b.txt": b"old",
    }


def test_the_hash_is_of_names_and_text_and_not_of_line_endings(tmp_path):
    def tree(name, files):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return provenance.source_hash(tmp_path / name)

    one = tree("one", {"a.py": b"x = 1\n", "b/c.py": b"y\n"})
    assert tree("same", {"a.py": b"x = 1\r\n", "b/c.py": b"y\r\n", "notes.txt": b"n"}) == one
    assert tree("text", {"a.py": b"x = 2\n", "b/c.py": b"y\n"}) != one
    assert tree("name", {"a.py": b"x = 1\n", "b/d.py": b"y\n"}) != one
    assert tree("moved", {"a.py": b"x = 1\ny\n", "b/c.py": b""}) != one


@pytest.mark.parametrize("group", [figures.VARIANTS, figures.ATTACKS, figures.CALIBRATION])
def test_every_method_has_a_name_and_a_colour_unlike_the_others(group):
    colours = np.array([to_rgb(figures.METHOD_COLOURS[method]) for method in group])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(len(group), dtype=bool)].min() > 0.15
    assert (colours @ [0.2126, 0.7152, 0.0722] < 0.75).all(), "too pale on white"
    assert len({figures.LABELS[method] for method in group}) == len(group)


def test_the_methods_are_all_there_and_an_attack_has_the_colour_of_its_training():
    calibration = figures.CALIBRATION
    assert calibration == pipeline.METHODS
    groups = (*figures.VARIANTS, *figures.ATTACKS, *privacy.ATTACKS, *calibration)
    assert set(figures.METHOD_COLOURS) == set(groups)
    assert figures.METHOD_COLOURS["fgsm"] == figures.METHOD_COLOURS["fgsm_rs"]
    assert figures.METHOD_COLOURS["pgd_linf"] == figures.METHOD_COLOURS["pgd"]


def test_the_lowest_frequency_is_drawn_at_the_top_left(ax):
    values = np.ones((8, 8))
    values[0, 0] = 100
    frequency_map(ax, values, "map")
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba()).astype(int)
    box = ax.get_window_extent()
    left, right = int(box.x0) + 4, int(box.x1) - 4
    top, bottom = len(pixels) - int(box.y1) + 4, len(pixels) - int(box.y0) - 4
    others = [pixels[top, right], pixels[bottom, left], pixels[bottom, right]]
    assert all((pixels[top, left] != other).any() for other in others)
    assert all((others[0] == other).all() for other in others)
    assert ax.get_xlabel() == "horizontal frequency v"
    assert ax.get_ylabel() == "vertical frequency u"


def test_logarithmic_colours_leave_out_what_is_not_above_0(ax):
    image = frequency_map(ax, np.array([[100.0, 1.0], [0.0, -1.0]]), "map", log=True)
    assert isinstance(image.norm, LogNorm)
    assert image.get_array().mask.tolist() == [[False, False], [True, True]]
    assert (image.norm.vmin, image.norm.vmax) == (1, 100)


def test_signed_colours_are_white_at_0_and_limits_are_kept(ax):
    for values in ([[-1.0, 3.0]], [[-3.0, 1.0]]):
        image = frequency_map(ax, np.array(values), "map", signed=True)
        assert (image.norm.vmin, image.norm.vmax) == (-3, 3)
        assert min(image.cmap(image.norm(0.0))[:3]) > 0.95
    image = frequency_map(ax, np.array([[-1.0, 3.0]]), "map", limits=(0.0, 2.0))
    assert (image.norm.vmin, image.norm.vmax) == (0, 2)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones(4), {}, "expected"),
        (np.zeros((2, 2)), {"log": True}, "none above 0"),
        (np.ones((2, 2)), {"log": True, "signed": True}, "choose one"),
    ],
)
def test_a_map_that_cannot_be_drawn_says_why(ax, values, options, message):
    with pytest.raises(ValueError, match=message):
        frequency_map(ax, values, "map", **options)


def test_a_band_lies_between_low_and_high_in_the_curve_s_colour(ax):
    x, mean = np.arange(3), np.array([1.0, 2.0, 3.0])
    band_curve(ax, x, mean, mean - 0.5, mean + 1, "natural", "#0173b2")
    (line,), (band,) = ax.get_lines(), ax.collections
    assert line.get_ydata().tolist() == [1, 2, 3]
    assert ax.get_legend_handles_labels()[1] == ["natural"]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.5, 4)
    assert tuple(band.get_facecolor()[0][:3]) == to_rgb(line.get_color())
    band_curve(ax, x, mean, None, None, "other", "k")
    assert len(ax.collections) == 1


def test_images_stand_upright_with_their_titles(ax):
    figure, axes = plt.subplots(1, 2)
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
    plt.close(figure)


def test_assignment_map(ax):
    owner = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 8]])  # windows of two pixels, cut at the end
    assignment_map(ax, np.zeros((3, 3, 3)), owner, 2, "who")
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown[0, 2], 0.45 * np.array(to_rgb(figures.SERVER_COLOURS[1])))
    np.testing.assert_array_equal(shown[2, 2], shown[0, 0])  # colours start again
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "8"]
    assert [text.get_position() for text in ax.texts][:2] == [(0.5, 0.5), (2.0, 0.5)]
    assert ax.get_title() == "who" and len(ax.lines) == 2


def test_mask_overlay(ax):
    image = np.full((4, 4, 3), 100, np.uint8)
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    mask_overlay(ax, image, mask, box=[0, 1, 2, 3], points=[[2, 1]], title="0.5")
    shown = ax.images[0].get_array()
    assert (shown == 100).all(2).sum() == 15 and not (shown[1, 2] == 100).all()
    frame, points = ax.lines
    assert frame.get_xydata().tolist() == [[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]
    assert points.get_xydata().tolist() == [[2, 1]]
