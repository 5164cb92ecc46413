"""Heat maps over frequencies: where the lowest is, what the colours mean, what is refused."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import LogNorm

from paperlib.freq.maps import frequency_map


@pytest.fixture
def ax():
    return plt.subplots(figsize=(3, 2))[1]


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
