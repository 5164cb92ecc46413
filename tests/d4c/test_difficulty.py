"""The map over bit-widths and rescaled channels: one small corner of it, and the published one."""

import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from paperlib.d4c import difficulty
from paperlib.d4c.difficulty import (
    BITS,
    COURSE_KEYS,
    KEYS,
    SEED,
    SPREADS,
    advantages,
    load_course,
    load_map,
    measure,
    measure_course,
    remade,
)
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.set_store import load_set
from paperlib.seeds import derive


@pytest.fixture(scope="module")
def clip():
    return load_encoders("openmoji", ["vit"])["vit"]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(difficulty, "SHORT_D4C", difficulty.SHORT_D4C | {"range_fractions": 4})
    monkeypatch.setattr(difficulty, "methods_of", lambda _: ["real", "gaussian", "pse"])


@pytest.mark.usefixtures("few")
def test_rescaling_costs_the_quantized_clip_and_not_the_float_one(clip):
    plain, harder = (
        measure("openmoji", spread, "vit", clip, 1, ["W4A8"], 40).set_index("method").top1
        for spread in (0.0, 2.0)
    )
    assert abs(plain["float"] - harder["float"]) <= 2.5  # one image
    assert plain["real"] > harder["real"] + 5


@pytest.mark.usefixtures("few")
def test_an_interrupted_command_measures_the_rest(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(difficulty, "BITS", ("W8A8",))
    monkeypatch.setattr(difficulty, "load_encoders", lambda *_: {"vit": clip})
    words = ["difficulty", "--folder", str(tmp_path), "--draws", "1", "--test-images", "10"]
    monkeypatch.setattr(sys, "argv", words)
    for spreads, lines in (((0.0,), 2), ((0.0, 0.5), 1)):  # a spread each, and the course once
        monkeypatch.setattr(difficulty, "SPREADS", spreads)
        difficulty.main()
        assert len(capsys.readouterr().out.splitlines()) == lines
    table = load_map(tmp_path)
    assert list(table.groupby("spread").size()) == [4, 4]
    assert len(load_course(tmp_path)) == 8


def test_what_the_map_says_is_arithmetic():
    rows = [
        ["vit", 0.5, "W4A8", draw, method, top1 + draw]
        for draw in range(2)
        for method, top1 in {"real": 9, "gaussian": 2, "spectrum": 4, "pse": 5, "d4c": 7}.items()
    ]
    found = advantages(pd.DataFrame(rows, columns=[*KEYS, "method", "top1"])).set_index("what")
    assert found.points.to_dict() == {
        "D4C over BNS or PSE": 2,
        "D4C over natural-spectrum noise": 3,
        "real images over noise": 7,
    }
    assert (found.low == found.points).all() and (found.spread == 0.5).all()


def test_the_published_map_is_whole():
    table = load_map()
    assert set(table.spread) == set(SPREADS) and set(table.bits) == set(BITS)
    assert not table.duplicated([*KEYS, "method"]).any() and table.top1.between(0, 100).all()
    assert (table.groupby(KEYS).size() == 6).all()  # five kinds of images, and float
    assert len(table) == 2 * len(SPREADS) * len(BITS) * 5 * 6
    floats = table[table.method == "float"].groupby(["encoder", "draw"]).top1
    assert (floats.max() - floats.min() <= 1).all()  # rescaling computes the same


@pytest.mark.usefixtures("few")
def test_a_course_has_the_same_images_in_every_draw_and_says_when(clip, monkeypatch):
    given = []

    def compare(clips, plans, images, tests, dataset):
        given.extend([plans, images])
        table = pd.DataFrame(list(images), columns=["encoder", "draw", "method"])
        top1 = 10 * table.draw + table.method.str.len()
        return SimpleNamespace(top1=table.assign(bits=plans[0].bits, top1=top1, iterations=0))

    monkeypatch.setattr(difficulty, "compare", compare)
    table = measure_course("openmoji", "vit", clip, 2, ["W4A3"], 10)
    rows = table[table.draw == 1].groupby("method").iterations.apply(list).to_dict()
    assert rows == {
        "real": [0],
        "gaussian": [0],
        "pse": [100, 1000, 3000],
        "d4c": [100, 1000, 2000],
    }
    values = table.set_index(["draw", "method", "iterations"]).top1
    assert values[1, "d4c", 1000] == 10 + len("d4c 1000") and values[0, "real", 0] == 4
    plans, images = given
    assert [plan.draw for plan in plans] == [0, 1]
    assert all(plan.settings.reconstruction_iterations == 0 for plan in plans)
    assert all(plan.settings.images == 8 for plan in plans)
    assert [plan.settings.seed for plan in plans] == [derive(SEED, "draw", k) for k in range(2)]
    kept = load_set("openmoji", "vit", "d4c", clip[0])
    assert torch.equal(images["vit", 0, "d4c 2000"], kept.images[:8])
    assert torch.equal(images["vit", 0, "d4c 1000"], kept.snapshots[1000])
    assert all(x.shape == (8, 3, 64, 64) for x in images.values())
    assert torch.equal(images["vit", 0, "d4c 100"], images["vit", 1, "d4c 100"])
    assert not torch.equal(images["vit", 0, "d4c 100"], images["vit", 0, "d4c 1000"])
    assert not torch.equal(images["vit", 0, "real"], images["vit", 1, "real"])


def test_the_published_course_is_whole():
    table = load_course()
    assert not table.duplicated(COURSE_KEYS).any() and table.top1.between(0, 100).all()
    assert (table.groupby(["encoder", "bits", "draw"]).size() == 8).all()
    assert len(table) == 2 * len(BITS) * 5 * 8


def test_what_was_measured_again_is_held_against_the_map():
    columns = ["encoder", "spread", "bits", "draw", "method", "top1"]
    rows = [["vit", 0.0, "W4A8", 0, "d4c", 70.0], ["vit", 1.0, "W4A8", 0, "d4c", 20.0]]
    table = pd.DataFrame(rows, columns=columns)
    again = pd.DataFrame([["vit", "W4A8", 0, "d4c", 71.0], ["vit", "W8A8", 0, "d4c", 9.0]])
    again.columns = ["encoder", "bits", "draw", "method", "top1"]
    assert remade(table, again).tolist() == [1.0]
