"""The map over depth, bit-widths and rescaled channels: a small corner, and the published one."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from paperlib.d4c import difficulty
from paperlib.d4c.difficulty import (
    BITS,
    COURSE,
    COURSE_KEYS,
    FILE,
    IN_COURSE,
    KEYS,
    MAPPED,
    SEED,
    advantages,
    load_course,
    load_map,
    made_from,
    measure,
    measure_course,
    remade,
)
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.methods import data_free_baseline
from paperlib.d4c.set_store import DRAWS, FOLDER, load_set
from paperlib.d4c.stamped import MADE_FROM
from paperlib.d4c.zero_shot import load_draws
from paperlib.files import FileError
from paperlib.seeds import derive


@pytest.fixture(scope="module")
def clip():
    return load_encoders("openmoji", ["vit"])["vit"]


@pytest.fixture
def few(monkeypatch):
    """Small sizes for the ViT: 40 test images, coarse ranges."""
    monkeypatch.setattr(difficulty, "SHORT_D4C", difficulty.SHORT_D4C | {"range_fractions": 4})
    monkeypatch.setitem(MAPPED, "vit", replace(MAPPED["vit"], test_images=40))


@pytest.mark.usefixtures("few")
def test_rescaling_costs_the_quantized_clip_and_not_the_float_one(clip):
    plain, harder = (
        measure("vit", spread, clip, 1, ["W4A8"], ["real", "pse"]).set_index("method").top1
        for spread in (0.0, 2.0)
    )
    assert list(plain.index) == ["real", "pse", "float"]
    assert abs(plain["float"] - harder["float"]) <= 2.5  # one image
    assert plain["real"] > harder["real"] + 5


@pytest.mark.usefixtures("few")
def test_a_deep_clip_is_asked_for_the_images_that_the_map_names(clip, monkeypatch):
    """Sets and weights are those of its own data; images, classes and draws of another."""
    given = {}
    monkeypatch.setattr(difficulty, "calibration_sets", lambda *of: given.update(sets=of) or {})
    top1 = pd.DataFrame(columns=["bits", "draw", "method", "top1"])
    found = SimpleNamespace(top1=top1)
    monkeypatch.setattr(difficulty, "compare", lambda *of: given.update(compared=of) or found)
    measure("deep", 0.0, clip, 1, ["W4A3"])
    trained, clips, methods, sizes, seed, (real,) = given["sets"]
    assert (trained, list(clips), seed) == ("tiny_imagenet", ["deep_vit"], SEED)
    assert methods == {"deep_vit": ["real", "gaussian", "spectrum", "pse", "d4c"]}
    assert sizes.published and sizes.encoders["deep_vit"]["images"] == len(real) == 16
    _, (plan,), _, (tests,), dataset = given["compared"]
    assert dataset == "openmoji" and len(tests.classes) == 443
    for split, data, count in (("train", real, 16), ("test", tests, 300)):
        (drawn,) = load_draws("openmoji", split, count, 1, SEED)
        assert torch.equal(data.images, drawn.images)
    assert (plan.encoder, plan.bits, plan.settings.seed) == ("deep_vit", "W4A3", derive(0, "draw"))
    assert MAPPED["deep_photographs"].dataset == "tiny_imagenet"


@pytest.mark.parametrize("name", MAPPED)
def test_what_is_mapped_has_published_sets_of_its_tower(name):
    mapped, (model, _) = MAPPED[name], MAPPED[name].load()
    assert data_free_baseline(model) == mapped.baseline
    for method in (mapped.baseline, "d4c"):
        for draw in range(DRAWS):
            found = load_set(mapped.trained, mapped.encoder, method, model, draw)
            assert len(found.images) >= mapped.images
            assert 0.3 < found.images.std() < 1.3


@pytest.mark.usefixtures("few")
def test_an_interrupted_command_measures_the_rest_and_what_is_stale(
    clip, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(difficulty, "BITS", ("W8A8",))
    monkeypatch.setattr(difficulty, "DRAWS", 1)
    monkeypatch.setattr(difficulty.Mapped, "load", lambda _: clip)
    words = ["difficulty", "--models", "vit", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    other = pd.DataFrame([["resnet", 0.0, "W8A8", 0, "real", 50.0, "0" * 16]])
    other.columns = [*KEYS, "method", "top1", MADE_FROM]
    other.to_csv(tmp_path / FILE, index=False)  # stale, of a model that is not asked for

    def lines(**changes):
        monkeypatch.setitem(MAPPED, "vit", replace(MAPPED["vit"], **changes))
        difficulty.main()
        return [x for x in capsys.readouterr().out.splitlines() if "rows are kept" not in x]

    assert len(lines(spreads=(0.0,))) == 2  # a spread, and the course
    assert len(lines(spreads=(0.0, 0.5))) == 1
    table = pd.read_csv(tmp_path / FILE)
    assert list(table.groupby(["model", "spread"]).size()) == [1, 6, 6]
    stamps = table[MADE_FROM].where(table.index != 8, "0" * 16)
    table.assign(made_from=stamps).to_csv(tmp_path / FILE, index=False)
    assert len(lines()) == 1  # the spread of which a row is stale
    again, columns = pd.read_csv(tmp_path / FILE), [*KEYS, "method", "top1", MADE_FROM]
    by = columns[:-2]
    pd.testing.assert_frame_equal(
        again.sort_values(by, ignore_index=True), table.sort_values(by, ignore_index=True)
    )
    assert len(lines(test_images=20)) == 3


def stamp(name="vit", method="d4c", draw=0, after=None):
    row = {"model": [name], "method": [method], "draw": [draw]}
    row |= {} if after is None else {"iterations": [after]}
    return made_from(pd.DataFrame(row))[0]


def test_rows_are_made_from_sizes_weights_and_the_published_set(monkeypatch):
    ours = ["d4c", "pse", "real", "spectrum"]
    others = [stamp(method=method) for method in ours] + [stamp(draw=1)]
    others += [stamp(after=k) for k in (100, 1_000, 2_000)]
    others += [stamp("deep"), stamp("deep_photographs"), stamp("resnet", "real")]
    others += [stamp(method="real", after=0)]
    assert len(set(others)) == 12
    assert stamp(draw=1, after=100) == stamp(after=100)  # the course takes the first set
    assert stamp(method="real") == stamp(method="float") == stamp(method="real", draw=1)
    changes = {"test_images": 7, "dataset": "cifar10", "images": 9}
    for name, value in changes.items():
        with monkeypatch.context() as changed:
            changed.setitem(MAPPED, "vit", replace(MAPPED["vit"], **{name: value}))
            others.append(stamp())
    for name, value in (("SEED", 1), ("SHORT_D4C", difficulty.SHORT_D4C | {"range_fractions": 4})):
        with monkeypatch.context() as changed:
            changed.setattr(difficulty, name, value)
            others.append(stamp())
    assert len(set(others)) == 17 and stamp() == others[0]
    for wrong in ({"draw": 5}, {"after": 99}):
        with pytest.raises(FileError, match="the card of openmoji-vit-d4c has no set"):
            stamp(**wrong)


def refused(file, table, folder):
    """What the loader of a table says of another one."""
    table.to_csv(folder / file, index=False)
    with pytest.raises(FileError, match=r"python -m paperlib\.d4c\.difficulty") as caught:
        {FILE: load_map, COURSE: load_course}[file](folder)
    return str(caught.value)


@pytest.mark.parametrize("file", [FILE, COURSE])
def test_a_table_that_is_not_whole_or_not_current_is_refused(file, tmp_path):
    table = pd.read_csv(FOLDER / file)
    for row in (1, 7, len(table) - 1):
        assert "rows are missing" in refused(file, table.drop(index=row), tmp_path)
    twice = pd.concat([table, table[4:5]])
    assert "more than are asked for" in refused(file, twice, tmp_path)
    old = table.assign(made_from=table[MADE_FROM].where(table.index != 7, "0" * 16))
    assert "1 rows are of other sets, weights or sizes" in refused(file, old, tmp_path)
    unstamped = refused(file, table.drop(columns=MADE_FROM), tmp_path)
    assert "has no columns ['made_from']: delete it" in unstamped
    assert "rows are missing" in refused(file, table.replace({"model": {"vit": "mlp"}}), tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileError, match=r"there is no such table: python -m"):
        {FILE: load_map, COURSE: load_course}[file](tmp_path)


def test_a_table_of_other_columns_is_not_measured_over(tmp_path, monkeypatch, clip):
    monkeypatch.setattr(difficulty.Mapped, "load", lambda _: clip)
    table = pd.read_csv(FOLDER / FILE).rename(columns={"model": "encoder"})
    table.to_csv(tmp_path / FILE, index=False)
    words = ["difficulty", "--models", "vit", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(FileError, match=r"map\.csv: has no columns \['model'\]: delete it"):
        difficulty.main()


def test_what_the_map_says_is_arithmetic():
    rows = [
        ["vit", 0.5, "W4A8", draw, method, top1 + draw]
        for draw in range(2)
        for method, top1 in {"real": 9, "gaussian": 2, "spectrum": 4, "pse": 5, "d4c": 7}.items()
    ]
    found = advantages(pd.DataFrame(rows, columns=[*KEYS, "method", "top1"])).set_index("what")
    assert (found.model == "ViT").all()
    assert found.points.to_dict() == {
        "D4C over BNS or PSE": 2,
        "D4C over natural-spectrum noise": 3,
        "real images over noise": 7,
    }
    assert (found.low == found.points).all() and (found.spread == 0.5).all()


def test_the_published_map_is_whole():
    table = load_map()
    assert not table.duplicated([*KEYS, "method"]).any() and table.top1.between(0, 100).all()
    assert set(table.bits) == set(BITS) and set(table.model) == set(MAPPED)
    assert (table.groupby(KEYS).size() == 6).all()  # five kinds of images, and float
    for name, part in table.groupby("model"):
        spreads = list(MAPPED[name].spreads)
        assert sorted(set(part.spread)) == spreads
        assert len(part) == len(spreads) * len(BITS) * DRAWS * 6
    floats = table[table.method == "float"].groupby(["model", "draw"]).top1
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
    table = measure_course("vit", clip, 2, ["W4A3"])
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
    assert (table.groupby(["model", "bits", "draw"]).size() == 8).all()
    assert len(table) == len(IN_COURSE) * len(BITS) * 5 * 8


def test_what_was_measured_again_is_held_against_the_map():
    columns = [*KEYS, "method", "top1"]
    rows = [["vit", 0.0, "W4A8", 0, "d4c", 70.0], ["vit", 1.0, "W4A8", 0, "d4c", 20.0]]
    table = pd.DataFrame(rows, columns=columns)
    again = [["vit", 0.0, "W4A8", 0, "d4c", 71.0], ["vit", 0.0, "W8A8", 0, "d4c", 9.0]]
    again = pd.DataFrame(again, columns=columns)
    assert remade(table, again).tolist() == [1.0]
    for top1 in (67.9, 72.1):
        with pytest.raises(ValueError, match="measured again, 1 rows of the map"):
            remade(table, again.assign(top1=top1))
    assert remade(table, again.assign(spread=1.0, top1=20.5)).tolist() == [0.5]
    with pytest.raises(ValueError, match="measured again, 0 rows"):
        remade(table, again[1:])
