"""Tries of other starts: a small corner, the arithmetic, and the published table."""

import sys
from dataclasses import replace

import pandas as pd
import pytest

from paperlib.d4c import pilot, starts
from paperlib.d4c.controls import CONTROLLED
from paperlib.d4c.set_store import DRAWS
from paperlib.d4c.starts import (
    FILE,
    KEYS,
    STARTS,
    TRIED,
    load_starts,
    made_from,
    start_gains,
)
from paperlib.d4c.zero_shot import load_draws

VIT = "openmoji", "vit"


@pytest.fixture
def few(monkeypatch):
    """Two draws of two images, two iterations, 40 test images of the ViT."""
    monkeypatch.setattr(starts, "IMAGES", 2)
    monkeypatch.setattr(starts, "DRAWS", 2)
    monkeypatch.setattr(starts, "ITERATIONS", (1, 2))
    monkeypatch.setattr(starts, "TRIED", [VIT])
    monkeypatch.setitem(CONTROLLED, VIT, replace(CONTROLLED[VIT], test_images=40))
    few = replace(starts.SETTINGS, synthesis_iterations=2, synthesis_batch=2)
    monkeypatch.setattr(starts, "SETTINGS", few)


@pytest.mark.usefixtures("few")
def test_the_command_measures_every_start_once(tmp_path, monkeypatch, capsys):
    file, given, compare = tmp_path / FILE.name, {}, starts.compare

    def watched(clips, plans, images, tests, dataset):
        given.update(plans=plans, images=images, tests=tests)
        return compare(clips, plans, images, tests, dataset)

    monkeypatch.setattr(starts, "compare", watched)
    monkeypatch.setattr(sys, "argv", ["starts", "--file", str(file)])
    starts.main()
    table = load_starts(file)
    assert list(table) == [*KEYS, "top1"] and len(table) == 2 * (1 + 4 * 2)
    before = capsys.readouterr().out.splitlines()
    assert len(before) == 4 + 1
    starts.main()
    assert capsys.readouterr().out == ""
    pictures = {name: x for (_, draw, name), x in given["images"].items() if draw == 0}
    first = pictures["none × 0"]
    near = (pictures["spectrum × 1"] - first).abs().mean()
    assert len(first) == 2 and near < 0.2 < (pictures["white × 1"] - first).abs().mean()
    own = load_draws("openmoji", "test", 40, DRAWS, 0)  # the evaluations'
    seen = {x.numpy().tobytes() for draw in own for x in draw.images}
    assert not any(x.numpy().tobytes() in seen for test in given["tests"] for x in test.images)
    assert {plan.bits for plan in given["plans"]} == {"W4A3"} and pilot.SEED == 1000


def test_a_stamp_is_of_settings_weights_and_starts(monkeypatch):
    def stamp(*of):
        return made_from(pd.DataFrame([of or VIT], columns=["dataset", "encoder"]))[0]

    others = [stamp(), *(stamp(*of) for of in TRIED if of != VIT)]
    changes = {"IMAGES": 3, "DRAWS": 4, "ITERATIONS": (5,), "STARTS": {}, "SEED": 9}
    for name, value in (changes | {"SPLITS": {"openmoji": 3}}).items():
        with monkeypatch.context() as changed:
            changed.setattr(starts, name, value)
            others.append(stamp())
    assert len(set(others)) == len(others)


def test_gains_are_paired_over_draws():
    def top1(name, iterations, draw):
        start = {"none": 50, "white": 40, "spectrum": 60}.get(name, 45)
        return start + (draw if name != "white" else -draw) + (iterations == 200)

    rows = [
        ["openmoji", "vit", "W4A3", draw, name, k, top1(name, k, draw)]
        for draw in range(3)
        for name, k in [("none", 0), *((s, k) for s in STARTS for k in starts.ITERATIONS)]
    ]
    found = start_gains(pd.DataFrame(rows, columns=[*KEYS, "top1"]))
    found = found.set_index(["start", "iterations"])
    row = found.loc["spectrum", 25]
    assert row["top1"] == 61 and row["over spectrum"] == 10
    assert row["over spectrum low"] == row["over spectrum high"] == 10  # the same in every draw
    assert row["over white"] == 22 and row["over white low"] < 20 < 24 < row["over white high"]
    assert found.loc[("spectrum", 200), "over spectrum"] == 11
    assert "white" not in found.index.get_level_values("start")


def test_the_published_table_is_whole():
    table = load_starts()
    assert table.groupby(["dataset", "encoder"]).size().to_dict() == dict.fromkeys(TRIED, 3 * 13)
    assert table.top1.between(0, 100).all()
    assert len(start_gains(table)) == len(TRIED) * 3 * len(starts.ITERATIONS)
    shown = starts.start_table(table)
    assert list(shown)[:2] == ["natural spectrum as it is", "D4C from white"]
    assert len(shown) == len(TRIED) * (1 + len(starts.ITERATIONS)) and shown.columns.is_unique
