"""The learned rounding: rows of a small measurement, one learned again, the published table."""

import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from paperlib.d4c import learned
from paperlib.d4c.comparison import compare, plans_at
from paperlib.d4c.encoders import load_encoders
from paperlib.d4c.learned import COLUMNS, LEARNED, again, learned_rows, load_learned
from paperlib.d4c.sizes import DECISIVE, SIZES, TINY_D4C
from paperlib.d4c.zero_shot import load_draws

FEW = {"vit": {**TINY_D4C, "range_fractions": 2}}


@pytest.fixture(scope="module")
def clips():
    return load_encoders("openmoji", ["vit"])


@pytest.fixture(scope="module")
def images():
    draw = torch.Generator().manual_seed(0)
    keys = [("vit", k, method) for k in range(2) for method in ("real", "d4c")]
    return {key: torch.randn(4, 3, 64, 64, generator=draw) for key in keys}


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


def test_one_row_is_learned_again_and_another_result_is_refused(clips, images, tests, monkeypatch):
    monkeypatch.setattr(learned, "LEARNED", {})
    rows = learned_rows(clips, FEW, DECISIVE, images, tests, "openmoji", 0, [0, 1])
    sizes = replace(SIZES["12_quantization"]["smoke"], encoders=FEW)
    table = again(rows, clips, sizes, images, tests, "openmoji")
    (row,) = table.itertuples(index=False)
    assert row[:4] == ("vit", "W4A3", 0, "d4c") and row[4] == row[5] and row[6] == row[7]
    other = rows.assign(top1=rows.top1 + 10)
    for wrong in (other, rows[rows.draw == 1]):
        with pytest.raises(ValueError, match=r"measure it again: python -m paperlib\.d4c\.learned"):
            again(wrong, clips, sizes, images, tests, "openmoji")


def test_an_interrupted_command_measures_the_rest(clips, tmp_path, monkeypatch, capsys):
    small = replace(SIZES["12_quantization"]["smoke"], encoders=FEW, seeds=2, published=True)
    monkeypatch.setitem(learned.SIZES, "12_quantization", {"default": small})
    monkeypatch.setattr(learned, "LEARNED", {})
    monkeypatch.setattr(learned, "methods_of", lambda _: ["gaussian", "d4c"])
    monkeypatch.setattr(learned, "load_encoders", lambda *_: clips)
    file = tmp_path / "learned.csv"
    for draws, lines in ((1, 1), (2, 1), (2, 0)):
        words = ["learned", "--encoders", "vit", "--draws", str(draws), "--file", str(file)]
        monkeypatch.setattr(sys, "argv", words)
        learned.main()
        assert len(capsys.readouterr().out.splitlines()) == lines
    table = load_learned("openmoji", file)
    assert list(table) == COLUMNS and table.draw.tolist() == [0, 0, 1, 1]
    assert load_learned("cifar10", file).empty
    pd.testing.assert_frame_equal(table, pd.read_csv(file))


@pytest.mark.parametrize("dataset", ["openmoji", "cifar10"])
def test_the_published_table_is_whole(dataset):
    """Every draw and method, of rounding that has decided, at the notebook's bit-widths."""
    table = load_learned(dataset)
    sizes = SIZES["12_quantization"]["default" if dataset == "openmoji" else "paper"]
    for encoder, baseline in (("resnet", "bns"), ("vit", "pse")):
        mine = table[table.encoder == encoder]
        assert (mine.bits == sizes.decisive[encoder]).all()
        methods = {"real", "gaussian", "spectrum", baseline, "d4c"}
        for _, drawn in mine.groupby("draw"):
            assert set(drawn.method) == methods and len(drawn) == len(methods)
        assert mine.draw.nunique() == sizes.seeds
    assert (table.iterations == LEARNED["reconstruction_iterations"]).all()
    assert (table.undecided < 5).all() and table.top1.between(0, 100).all()
