import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from paperlib.freq.your_model import __main__ as your_model

MINE = """
import torch
def bright():
    return torch.nn.Sequential(torch.nn.Flatten(), Above())
def dull():
    return torch.nn.Sequential(torch.nn.Flatten(), Above(scale=-1.0))
class Above(torch.nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
    def forward(self, x):
        z = self.scale * x.mean(1)
        return torch.stack([-z, z], 1)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Dark and bright images, networks that expect pixels about 0, and the folder to stand in."""
    generator = np.random.default_rng(0)
    for name, about in (("bright", 150), ("dark", 105)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(4):
            pixels = generator.integers(about - 20, about + 20, (16, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.png")
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["your_model", *map(str, words)])
    your_model.main()


def test_the_command_measures_and_compares(place, monkeypatch, capsys):
    words = ["--model", "mine.py:dull", "mine.py:bright", "--images", "images", "--bands", 4]
    run(
        monkeypatch,
        *words,
        "--normalisation",
        "0.5 and 0.5",
        "--steps",
        3,
        "--occluded",
        4,
        "--epsilon",
        0.1,
    )
    said = capsys.readouterr().out
    assert "8 images of images, 16 x 20" in said
    assert "mine.py:dull: accuracy 100.0%" in said and "mine.py:bright: accuracy 0.0%" in said
    assert "by bands: 16 forward passes a network" in said
    table = pd.read_csv(place / "your_model" / "summary.csv", index_col="model")
    assert table.accuracy.tolist() == [1, 0] and table.fooled.iloc[0] > 0
    for name in ("your_curves", "your_differences"):
        assert (place / "your_model" / f"{name}.png").stat().st_size > 5000
        assert len(pd.read_csv(place / "your_model" / f"{name}.csv"))


def test_the_command_names_a_forgotten_normalisation(place, monkeypatch, capsys):
    run(monkeypatch, "--model", "mine.py:dull", "--images", "images", "--occluded", 1)
    said = capsys.readouterr().out
    assert "accuracy 50.0%" in said
    assert "warning: the accuracy is 50.0%, and 100.0% with the normalisation" in said
    assert (place / "your_model" / "your_maps.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "resnte20", "--images", "images"], "model 'resnte20' is unknown"),
        (["--model", "resnet20", "--images", "nowhere"], "nowhere has no images"),
        (["--model", "mine.py:dull", "--images", "images", "--epsilon", 0], "epsilon=0.0"),
    ],
)
def test_what_is_wrong_is_one_line(words, message, place, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words)
    assert message in str(stopped.value)
