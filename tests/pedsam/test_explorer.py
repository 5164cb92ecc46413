"""The widget of notebook 6 draws what its controls say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from paperlib.pedsam.explorer import explorer, show_assignment
from paperlib.pedsam.split.partition import WindowGrid, assign, visible_pixels

GRID = WindowGrid(16, 5)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 256, (64, 64, 3), dtype=np.uint8)


def test_the_view_is_that_of_the_server(image):
    figure = show_assignment(image, GRID, "contiguous", 4, 1, 0)
    shown = figure.axes[1].images[0].get_array()
    seen = visible_pixels(GRID, assign("contiguous", 16, 4, GRID), {1}, 4).numpy()
    np.testing.assert_array_equal((np.asarray(shown) > 0).any(2), seen)
    assert figure.axes[1].get_title() == "server 1"
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert numbers == list(assign("contiguous", 16, 4, GRID))


@pytest.fixture
def controls(image):
    """Controls of the explorer, by name."""
    children = explorer(image, GRID).children
    return {child.description: child for child in children if hasattr(child, "value")}


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: the title of the view."""
    titles = []
    monkeypatch.setattr(plt, "show", lambda: titles.append(plt.gcf().axes[1].get_title()))
    return titles


def test_moving_a_control_draws_again(drawn, controls):
    controls["server"].value = 3
    controls["kind"].value = "interleaved"
    assert drawn == ["server 0", "server 3", "server 3"]


def test_the_slider_of_the_server_follows_the_number_of_servers(drawn, controls):
    assert controls["server"].max == 3
    controls["servers"].value = 16
    assert (controls["server"].max, controls["server"].value) == (15, 0)
    controls["server"].value = 15
    controls["servers"].value = 2
    assert (controls["server"].max, controls["server"].value) == (1, 1)
    assert drawn[-1] == "server 1"
