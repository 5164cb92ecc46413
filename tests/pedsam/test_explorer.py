"""The widget of notebook 6 draws what its controls say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from paperlib.pedsam.explorer import explorer, show_assignment
from paperlib.pedsam.split.partition import WindowGrid, assign, visible_pixels

GRID = WindowGrid(16, 5)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 256, (64, 64, 3), dtype=np.uint8)


def test_the_view_is_that_of_the_server(image):
    figure = show_assignment(image, GRID, "contiguous", 4, 5, 0)  # 5 counts round to 1
    shown = figure.axes[1].images[0].get_array()
    seen = visible_pixels(GRID, assign("contiguous", 16, 4, GRID), {1}, 4).numpy()
    np.testing.assert_array_equal((np.asarray(shown) > 0).any(2), seen)
    assert figure.axes[1].get_title() == "server 1"
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert numbers == list(assign("contiguous", 16, 4, GRID))


def test_moving_a_control_draws_again(image, monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf().axes[1].get_title()))
    controls = explorer(image, GRID)
    names = {child.description: child for child in controls.children if hasattr(child, "value")}
    names["server"].value = 3
    names["kind"].value = "interleaved"
    assert len(drawn) == 3
    assert drawn == ["server 0", "server 3", "server 3"]
