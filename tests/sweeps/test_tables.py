"""The table of any sweep: read, said in words, and summed up over seeds; what is wrong is named."""

import itertools

import numpy as np
import pandas as pd
import pytest

from paperlib.files import FileError
from paperlib.intervals import student
from paperlib.paths import DATA
from paperlib.sweeps import tables


def made(grid, seeds, value=lambda point, seed: float(seed), claims=("one",), draws=1):
    """A table as a sweep writes it."""
    rows = []
    for *point, seed, claim in itertools.product(*grid.values(), seeds, claims):
        for draw in range(draws):
            about = {"notebook": "01_one", "profile": "smoke", "dataset": "openmoji", "seed": seed}
            about |= dict(zip(grid, point, strict=True)) | {"claim": claim, "draw": draw}
            about |= {"value": value(point, seed) + draw, "unit": "points", "run": "r"}
            rows.append(about | {"digest": "d", "commit": "0123456789", "clean": True})
    return pd.DataFrame(rows)


def failed(table, where):
    """The table with the runs at `where` as those that have not finished: a row without a claim."""
    left = table[~where]
    gone = table[where].drop_duplicates([*tables.axes(table), "seed"])
    return pd.concat([left, gone.assign(claim="", value=np.nan, unit=None, draw=None, commit=None)])


def read(table, tmp_path, kind="csv"):
    """The table, written and read."""
    file = tmp_path / f"table.{kind}"
    table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file, index=False)
    return tables.read(file)


GRIDS = {
    "none": {},
    "one": {"images": [50, 100, 200]},
    "two": {"images": [50, 100], "bands": [8, 16, 32]},
    "words": {"encoders": ["vit", "none"], "bits": ["W4A8", "W2A2"]},
    "three": {"images": [50, 100], "encoders": ["vit", "resnet"], "steps": [1, 2]},
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_any_grid_is_read_and_said(grid, kind, tmp_path):
    table = read(made(grid, [0, 3, 7], claims=("one", "two"), draws=2), tmp_path, kind)
    assert tables.axes(table) == [*grid]
    points = int(np.prod([len(values) for values in grid.values()]))
    assert len(tables.per_run(table)) == 2 * 3 * points
    assert len(tables.summary(table)) == 2 * points
    assert tables.lacking(table).empty
    said = tables.described(table)
    assert f"{3 * points} of {3 * points} runs have a value of every one of 2 claims." in said
    assert "3 seeds (0, 3 and 7)" in said and "commit 0123456." in said
    for name, values in grid.items():
        assert f"`{name}` {', '.join(map(str, values[:-1]))} and {values[-1]}" in said
    assert set(tables.changes(table)["size"]) == set(grid)


def test_a_run_counts_once_and_the_interval_is_students_over_seeds(tmp_path):
    seeds = [0, 1, 4]
    table = read(made({"images": [5]}, seeds, draws=2), tmp_path)
    (row,) = tables.summary(table).to_dict("records")
    values = [0.5, 1.5, 4.5]  # the means over two draws
    assert row["runs"] == 3 and row["mean"] == pytest.approx(np.mean(values))
    assert (row["low"], row["high"]) == pytest.approx(student(values))
    assert row["spread"] == pytest.approx(np.std(values, ddof=1))


def test_a_change_is_measured_seed_by_seed():
    """Seeds differ by tens, the sizes by two: unpaired, nothing could be told."""

    def value(point, seed):
        return 10 * seed + {50: 0, 100: 5, 200: 2}[point[0]] + 0.1 * (seed % 2) * (point[0] == 200)

    table = made({"images": [200, 50, 100]}, [0, 1, 2, 3], value)
    (row,) = tables.changes(table).to_dict("records")
    assert (row["from"], row["to"], row["seeds"]) == (50, 200, 4)
    assert row["difference"] == pytest.approx(2.05)
    assert (row["low"], row["high"]) == pytest.approx(student([2, 2.1, 2, 2.1]))
    assert row["low"] > 0
    assert row["spread from"] == pytest.approx(np.std([0, 10, 20, 30], ddof=1))
    assert row["spread to"] == pytest.approx(np.std([0, 10.1, 20, 30.1], ddof=1))
    apart = tables.summary(table).set_index("images")
    assert apart.low[200] < apart.high[50]


def test_a_change_of_one_size_is_a_mean_over_the_others():
    def value(point, seed):
        return point[0] + (100 if point[1] == "vit" else 0) + seed

    table = made({"images": [5, 8], "encoders": ["resnet", "vit"]}, [0, 1], value)
    rows = tables.changes(table).set_index("size")
    assert rows.difference.to_dict() == {"images": 3, "encoders": 100}
    assert (rows["from"]["encoders"], rows["to"]["encoders"]) == ("resnet", "vit")


def test_no_change_is_made_of_what_does_not_vary():
    assert tables.changes(made({"images": [5]}, [0, 1])).empty
    assert tables.changes(made({}, [0, 1])).empty


def test_one_seed_has_no_interval(tmp_path):
    table = read(made({"images": [50, 100]}, [2]), tmp_path)
    assert tables.summary(table)[["low", "high", "spread"]].isna().all(axis=None)
    assert tables.changes(table)[["low", "high"]].isna().all(axis=None)
    said = tables.described(table)
    assert "with seed 2." in said and "no change can be told from chance" in said


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failed_run_is_named_and_the_rest_is_summed_up(kind, tmp_path):
    whole = made({"images": [50, 100]}, [0, 1, 2])
    table = read(failed(whole, (whole.images == 100) & (whole.seed == 1)), tmp_path, kind)
    assert tables.lacking(table).to_dict("records") == [{"images": 100, "seed": 1, "claims": 1}]
    assert "5 of 6 runs have a value" in tables.described(table)
    assert "not images 100, seed 1." in tables.described(table)
    assert tables.summary(table).runs.tolist() == [3, 2]
    (row,) = tables.changes(table).to_dict("records")
    assert row["seeds"] == 2


def test_a_point_of_which_every_run_failed_is_still_due(tmp_path):
    whole = made({"images": [50, 100]}, [*range(6)])
    table = read(failed(whole, whole.images == 100), tmp_path)
    assert "6 of 12 runs" in (said := tables.described(table))
    assert said.count("images 100, seed") == tables.LISTED and "and 2 more" in said
    assert tables.changes(table).empty
    assert tables.summary(table).images.tolist() == [50]


def test_a_cell_that_is_not_in_the_table_is_missing():
    whole = made({"images": [50, 100]}, [0, 1], claims=("one", "two"))
    gone = (whole.images == 50) & (whole.seed == 0) & (whole.claim == "two")
    assert tables.lacking(whole[~gone]).to_dict("records") == [
        {"images": 50, "seed": 0, "claims": 1}
    ]


def test_numbers_are_in_order_and_words_as_they_come():
    assert tables.levels(pd.Series([200, 50, 100, 50])) == [50, 100, 200]
    assert tables.levels(pd.Series(["vit", "resnet", "vit"])) == ["vit", "resnet"]
    assert tables.levels(pd.Series([True, False])) == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="claim"), "no column claim: expected the table"),
        (lambda table: table.drop(columns="seed"), "no column seed: expected"),
        (
            lambda table: table.assign(notebook=["a", "b"]),
            "notebook is a, b: expected the table of",
        ),
        (lambda table: table.assign(value=np.nan), "no value of a claim is in it: run the sweep"),
        (lambda table: table.assign(value="many"), "no value of a claim is in it: run the sweep"),
        (lambda table: table.assign(images=[50, None]), "a row has no images: expected one grid"),
        (lambda table: table.head(0), "no value of a claim is in it: run the sweep"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_wrong_table_is_refused_in_a_sentence(change, message, kind, tmp_path):
    with pytest.raises(FileError, match=message) as refused:
        read(change(made({"images": [50, 100]}, [0])), tmp_path, kind)
    assert str(refused.value).startswith(f"{tmp_path / 'table'}.{kind}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.csv", None), ("empty.csv", b""), ("odd.csv", b"\xff\xfe\x00"), ("odd.parquet", b"PAR")],
)
def test_a_file_that_is_no_table_is_refused_in_a_sentence(name, content, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match="no table that can be read") as refused:
        tables.read(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_the_tables_that_come_with_the_project_are_small_and_whole():
    files = sorted((DATA / "sweeps").glob("*.csv"))
    assert files
    for file in files:
        table = tables.read(file)
        assert file.stat().st_size < 50_000
        assert tables.lacking(table).empty
        assert table.clean.all() and len(tables.levels(table.seed)) >= 5
