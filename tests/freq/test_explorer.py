"""The widget of notebook 3 draws what its controls say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from paperlib.freq.dct import dct2, idct2
from paperlib.freq.explorer import explorer, show_without
from tests.figures import titles

CLASSES = ["cat", "dog"]


class Wave(nn.Module):
    """Its logit of class 0 is a little above component (0, 5), that of class 1 is always 1."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def forward(self, x):
        size = self.times * dct2(x)[:, :, 0, 5].mean(1) + 0.02
        return torch.stack([size, torch.ones_like(size)], 1)


@pytest.fixture
def images():
    coefficients = torch.zeros(2, 3, 16, 16)
    coefficients[:, :, 0, 0], coefficients[:, :, 0, 5] = 8, 3
    return idct2(coefficients)


def test_the_band_with_the_wave_takes_the_logit(images):
    figure = show_without(Wave(1), images[0], 0, CLASSES, (4, 6))
    assert titles(figure) == ["logit of cat 3.0", "without 0.0, seen as dog", "taken out"]
    shown = [np.asarray(ax.images[0].get_array()).astype(int) for ax in figure.axes]
    assert np.ptp(shown[0]) > 50 and np.ptp(shown[1]) <= 1  # the wave, and grey
    assert abs(shown[2] - 127.5 - (shown[0] - shown[1])).max() <= 1
    other = show_without(Wave(1), images[0], 0, CLASSES, (6, 15))
    assert titles(other)[1] == "without 3.0, seen as cat"


def test_moving_a_control_draws_again(images, monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(titles(plt.gcf())[1]))
    networks = {"one": Wave(1), "two": Wave(2)}
    controls = explorer(networks, images, torch.tensor([0, 1]), CLASSES).children
    names = {child.description: child for child in controls if hasattr(child, "value")}
    names["network"].value = "two"
    names["max(u, v)"].value = (2, 15)
    names["image"].value = 1
    assert drawn == [
        "without 3.0, seen as cat",
        "without 6.0, seen as cat",
        "without 0.0, seen as dog",
        "without 1.0, seen as dog",
    ]
