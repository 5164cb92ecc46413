import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from paperlib.freq.your_model import __main__ as your_model
from paperlib.freq.your_model import checks
from paperlib.models.classifier import Classifier, first_look

MINE = """
import torch
def bright():
    return torch.nn.Sequential(torch.nn.Flatten(), Above())
def dull():
    return torch.nn.Sequential(torch.nn.Flatten(), Above(scale=-1.0))
def constant():
    return lambda x: 0 * x.sum((1, 2, 3))[:, None] + torch.tensor([[0.0, 1.0]])
def nothing():
    return lambda x: x.mean((2, 3)) * float("nan")
def detached():
    return lambda x: x.mean((2, 3)).detach()
def wide():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
def three():
    return lambda x: x.mean((2, 3))
def grey():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), Flat())
class Flat(torch.nn.Flatten):
    pass
class Above(torch.nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
    def forward(self, x):
        z = self.scale * x.mean(1)
        return torch.stack([-z, z], 1)
"""

DULL = ["--model", "mine.py:dull", "--images", "images"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Dark and bright images, networks that expect pixels about 0, and the folder to stand in."""
    generator = np.random.default_rng(0)
    for name, about in (("bright", 150), ("dark", 105)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(4):
            pixels = generator.integers(about - 20, about + 20, (16, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.png")
    shutil.copytree(tmp_path / "images" / "dark", tmp_path / "3" / "3")
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
    assert said.count("warning: ") == 1 and "of 8 images" in said
    assert (place / "your_model" / "your_maps.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "resnte20", "--images", "images"], "model 'resnte20' is unknown"),
        (["--model", "resnet20", "--images", "nowhere"], "nowhere has no images"),
        ([*DULL, "--epsilon", 0], "epsilon=0.0"),
        ([*DULL, "--steps", 0], "steps=0"),
        ([*DULL, "--occluded", 0], "occluded=0"),
        ([*DULL, "--bands", 6], "bands=6: multiples of 4"),
        ([*DULL, "--bands", 20], "--bands 20: these images have room for 16"),
        ([*DULL, "--size", 3], "images are 3 x 3: a side of 4"),
        (["--model", "mine.py:dull", "mine.py:dull", *DULL[2:]], "'mine.py:dull' is named twice"),
        (["--model", "mine.py:nothing", *DULL[2:]], "NaN or infinite for 8 of 8 images"),
        (["--model", "mine.py:detached", *DULL[2:]], "gives no gradient of its logits"),
        (["--model", "mine.py:wide", *DULL[2:]], "mine.py:wide fails on images of 3 x 16 x 20: "),
        (["--model", "mine.py:three", "--images", "3"], "labels are from 3 to 3, but the model h"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_measured(
    words, message, place, monkeypatch, capsys
):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words)
    assert message in str(stopped.value) and "\n" not in str(stopped.value)
    assert "accuracy" not in capsys.readouterr().out


def test_a_constant_network_keeps_its_tables(place, monkeypatch, capsys):
    words = ["--images", "images", "--occluded", 2, "--steps", 2]
    run(monkeypatch, "--model", "mine.py:constant", "mine.py:bright", *words)
    said = capsys.readouterr().out
    assert "mine.py:constant: no Occluded Frequency, since no frequency changes" in said
    assert "mine.py:constant: no RCT, since PGD fools 0 of the 4" in said
    assert len(pd.read_csv(place / "your_model" / "summary.csv")) == 2
    shown = pd.read_csv(place / "your_model" / "your_maps.csv")
    assert "mine.py:constant" not in set(shown.model)
    run(monkeypatch, "--model", "mine.py:constant", "--folder", "alone", *words)
    assert [file.name for file in (place / "alone").iterdir()] == ["summary.csv"]


def test_a_network_with_one_channel_sees_grey(place, monkeypatch, capsys):
    words = ["--images", "images", "--occluded", 2, "--steps", 2]
    run(monkeypatch, "--model", "mine.py:grey", *words)
    assert "the images are taken in grey" in capsys.readouterr().out


def pictured(count=40, height=8):
    """Images that are dark or bright about 0.5, and which of both each is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = (
        0.3
        + 0.4 * labels[:, None, None, None]
        + 0.1 * torch.rand(count, 3, height, height, generator=generator)
    )
    return images, labels


def by_brightness(threshold, scale=1.0):
    def network(x):
        z = (x.mean((1, 2, 3)) - threshold) * scale
        return torch.stack([-z, z], 1)

    return network


def doubts(network, images, labels):
    model = Classifier(network)
    return checks.doubts(model, images, labels, first_look(model, images, labels))


def test_few_images_do_not_speak_of_a_normalisation():
    images, labels = pictured(12)
    images[0] += 0.1  # one dark image is as bright as the threshold, but not of what is normalised
    network = by_brightness(0.42)
    assert first_look(Classifier(network), images, labels).warning
    assert doubts(network, images, labels) == []
    (said,) = doubts(network, images.repeat(10, 1, 1, 1), labels.repeat(10))
    assert said.startswith("the accuracy is 91.7%, and 100.0%") and said.endswith("of 120 images")


def test_pixels_to_255_are_named():
    images, labels = pictured()
    (said,) = doubts(by_brightness(0.5 * 255), images, labels)
    assert said.startswith("the accuracy is 50.0%, and 100.0% with pixels from 0 to 255: ")


def test_probabilities_are_named():
    images, labels = pictured()
    (said,) = doubts(lambda x: by_brightness(0.5)(x).softmax(1), images, labels)
    assert said.startswith("what it returns sums to 1, as probabilities do")


def test_grey_is_the_luma_of_pillow():
    images, labels = pictured(2)
    network = Classifier(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 8), torch.nn.Flatten()))
    found = checks.taken({"one channel": network}, images, labels)
    pixels = (images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    assert found.shape == (2, 1, 8, 8)
    np.testing.assert_allclose(found[0, 0], expected, atol=1.5 / 255)
    colour = Classifier(by_brightness(0.5))
    torch.testing.assert_close(checks.taken({"colour": colour}, images, labels), images)
