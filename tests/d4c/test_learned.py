"""The learned rounding: rows of a small measurement, one learned again, the published table."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from paperlib.d4c import learned
from paperlib.d4c.comparison import compare, plans_at
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.learned import COLUMNS, LEARNED, again, learned_rows, load_learned
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.sizes import DECISIVE, SIZES, TINY_D4C
from paperlib.d4c.zero_shot import load_draws
from paperlib.files import FileError

FEW = {"vit": {**TINY_D4C, "range_fractions": 2}}


@pytest.fixture(scope="module")
def clips():
    return load_encoders("openmoji", ["vit"])


@pytest.fixture(scope="module")
def tests():
    return load_draws("openmoji", "test", 20, 2, 0)


def test_rows_say_what_was_learned_and_how_much_is_undecided(clips, images, tests):
    rows = learned_rows(clips, FEW, DECISIVE, images, tests, "openmoji", 0, [1])
    assert list(rows) == COLUMNS
    assert rows.draw.tolist() == [1, 1] and rows.method.tolist() == ["real", "d4c"]
    assert (rows.iterations == 2).all() and (rows.bits == "W4A3").all()
    plans = plans_at("vit", "W4A3", FEW["vit"], [1], 0, decisive=True)
    found = compare(clips, plans, images, tests, "openmoji")
    assert rows.top1.tolist() == found.top1.top1.tolist()
    for row in rows.itertuples():
        errors = found.errors["vit", 1, row.method]
        share = sum(each.undecided for each in errors) / len(errors)
        assert row.undecided == pytest.approx(100 * share) and 0 < row.undecided <= 100
        assert row.worse == sum(each.learned > each.before for each in errors)
        assert row.first_left == pytest.approx(100 * errors[0].learned / errors[0].before)
        assert row.first_undecided == pytest.approx(100 * errors[0].undecided)


def test_a_module_is_learned_again_and_another_result_is_refused(clips, images, tests, monkeypatch):
    """Alone it comes out as among the others, which follow a learned text tower."""
    monkeypatch.setattr(learned, "LEARNED", {})
    rows = learned_rows(clips, FEW, DECISIVE, images, tests, "openmoji", 0, [0, 1])
    sizes = replace(SIZES["12_quantization"]["smoke"], encoders=FEW)
    table = again(rows, clips, sizes, images, "openmoji")
    assert table.now.tolist() == table.published.tolist() and (table.now > 0).all()
    assert table.index.name == "vit, clip.visual.transformer.resblocks.0.attn.q"
    for name, factor in (("first_left", 1.03), ("first_undecided", 0.7)):
        with pytest.raises(ValueError, match=r"resblocks\.0\.attn\.q differs from the published"):
            again(rows.assign(**{name: factor * rows[name]}), clips, sizes, images, "openmoji")


def test_other_images_or_steps_are_not_the_published_ones(monkeypatch):
    sizes, clip = learned.usual_sizes("openmoji"), load_encoders("openmoji", ["resnet"])
    methods = {"resnet": ["d4c", "bns"]}
    images = calibration_sets("openmoji", clip, methods, sizes, 0, [None])
    given = load_learned("openmoji", sizes, 0), clip, sizes
    assert len(again(*given, images, "openmoji")) == 2
    other = {("resnet", 0, "d4c"): images["resnet", 0, "bns"]}
    with pytest.raises(ValueError, match=r"visual\.layer1\.0 differs"):
        again(*given, other, "openmoji")
    for changes in ({"reconstruction_iterations": 150}, {"rounding_rate": 0.06}):
        monkeypatch.setattr(learned, "LEARNED", LEARNED | changes)
        with pytest.raises(ValueError, match=r"visual\.layer1\.0 differs"):
            again(*given, images, "openmoji")


@pytest.fixture
def small(clips, monkeypatch):
    """The command's sizes; two draws of two methods."""
    sizes = replace(SIZES["12_quantization"]["smoke"], encoders=FEW, seeds=2, published=True)
    monkeypatch.setattr(learned, "usual_sizes", lambda _: sizes)
    monkeypatch.setattr(learned, "LEARNED", {})
    monkeypatch.setitem(learned.MAPPED, "vit", SimpleNamespace(methods=["gaussian", "d4c"]))
    monkeypatch.setattr(learned, "load_encoders", lambda *_: clips)
    return sizes


@pytest.fixture
def measure(tmp_path, monkeypatch, capsys):
    """The command, for so many draws; the lines that it printed."""

    def call(draws):
        file = tmp_path / "learned.csv"
        words = ["learned", "--encoders", "vit", "--draws", str(draws), "--file", str(file)]
        monkeypatch.setattr(sys, "argv", words)
        learned.main()
        return capsys.readouterr().out.splitlines()

    return call


def test_the_command_measures_what_is_missing_or_of_other_sets(small, measure, tmp_path):
    file = tmp_path / "learned.csv"
    assert load_learned("openmoji", small, 0, file) is None
    assert len(measure(1)) == 1
    with pytest.raises(FileError, match=r"learned\.csv: rows are missing.*--dataset openmoji"):
        load_learned("openmoji", small, 0, file)
    assert len(measure(2)) == 1  # the second draw
    rows = load_learned("openmoji", small, 0, file)
    assert list(rows) == COLUMNS and rows.draw.tolist() == [0, 0, 1, 1]
    assert rows.method.tolist() == ["gaussian", "d4c"] * 2
    table = pd.read_csv(file)
    table.loc[3, "made_from"] = "0" * 16  # D4C's of the second draw: another set
    table.to_csv(file, index=False)
    with pytest.raises(FileError, match="1 rows are of other sets, weights or sizes"):
        load_learned("openmoji", small, 0, file)
    assert measure(2)[0].endswith("2 of 4 rows are kept")
    pd.testing.assert_frame_equal(load_learned("openmoji", small, 0, file), rows)


def test_a_run_of_another_seed_or_other_sizes_takes_no_published_rows(small, measure, tmp_path):
    file = tmp_path / "learned.csv"
    measure(2)
    other = {"vit": {**FEW["vit"], "range_fractions": 3}}
    changes = {"encoders": other, "published": False, "test_images": 30, "seeds": 1}
    changes["decisive"] = {"vit": "W2A8"}
    for name, value in changes.items():
        assert load_learned("openmoji", replace(small, **{name: value}), 0, file) is None
    assert load_learned("openmoji", small, 1, file) is None
    assert load_learned("openmoji", replace(small, rounding={}), 0, file) is not None


def test_a_row_is_made_from_sizes_weights_and_the_published_set():
    sizes = learned.usual_sizes("openmoji")
    first = learned.made_from("openmoji", "vit", 0, "d4c", sizes)
    longer = {"vit": {**sizes.encoders["vit"], "images": 16}}
    others = [
        learned.made_from("openmoji", "vit", 1, "d4c", sizes),
        learned.made_from("openmoji", "vit", 0, "pse", sizes),
        learned.made_from("openmoji", "vit", 0, "d4c", replace(sizes, test_images=7)),
        learned.made_from("openmoji", "vit", 0, "d4c", replace(sizes, encoders=longer)),
        learned.made_from("openmoji", "resnet", 0, "spectrum", sizes),
        learned.made_from("openmoji", "vit", 0, "spectrum", sizes),
    ]
    assert len({first, *others}) == 7
    noise = learned.made_from("openmoji", "vit", 0, "gaussian", sizes)  # no set of its own
    assert noise == learned.made_from("openmoji", "vit", 1, "real", sizes)
    assert noise not in {first, *others}


@pytest.mark.parametrize("dataset", ["openmoji", "cifar10"])
def test_the_published_table_is_whole(dataset):
    """Every draw and method, of rounding that has decided; one encoder alone can be read."""
    sizes = learned.usual_sizes(dataset)
    rows = load_learned(dataset, sizes, 0)
    for encoder, baseline in (("resnet", "bns"), ("vit", "pse")):
        mine = rows[rows.encoder == encoder]
        assert (mine.bits == sizes.decisive[encoder]).all()
        drawn = ["real", "gaussian", "spectrum", baseline, "d4c"]
        assert mine.method.tolist() == drawn * sizes.seeds
    assert (rows.iterations == LEARNED["reconstruction_iterations"]).all()
    assert (rows.undecided < 5).all() and rows.top1.between(0, 100).all()
    alone = replace(sizes, encoders={"vit": sizes.encoders["vit"]})
    assert set(load_learned(dataset, alone, 0).encoder) == {"vit"}
