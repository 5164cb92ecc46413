"""Claims over several runs: mean, interval, and what is told apart."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paperlib.files import FileError
from paperlib.intervals import student
from paperlib.notebook.claims import load_claims, measure
from paperlib.runs import statistics

CLAIM = "freq-5-rank"  # holds above 0.5
MEANS = [0.4, 0.6, 0.7, 0.9]


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Four runs of other seeds, two draws each, and one of other sizes."""
    about = {"profile": "default", "dataset": "openmoji", "scale": "s", "source": "s"}
    for seed, mean in enumerate(MEANS):
        folder = tmp_path / f"default-openmoji-seed{seed}" / "01_spectrum"
        measure(CLAIM, [mean - 0.1, mean + 0.1], seed=seed, folder=folder, **about)
    folder = tmp_path / "default-openmoji-seed0-images=20" / "01_spectrum"
    measure(CLAIM, [0.2], seed=0, folder=folder, changed="images=20", **about)
    monkeypatch.setenv("PAPERLIB_OUTPUTS", str(tmp_path))
    return tmp_path


def test_mean_and_interval_are_over_runs(outputs):
    first, second = statistics.over_runs(sorted(outputs.glob("*"))).to_dict("records")
    if first["changed"]:
        first, second = second, first
    assert (first["claim"], first["runs"], first["changed"]) == (CLAIM, 4, "")
    assert first["mean"] == pytest.approx(np.mean(MEANS))
    expected = stats.t.interval(0.95, 3, np.mean(MEANS), stats.sem(MEANS))
    assert (first["low"], first["high"]) == pytest.approx(expected)
    assert first["holds"] == 0.75
    assert first["check"] == str(load_claims()[CLAIM].check)
    assert (second["runs"], second["changed"], second["mean"]) == (1, "images=20", 0.2)
    assert math.isnan(second["low"]) and math.isnan(second["high"])


def test_the_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, (2000, 5))
    inside = [low <= 3 <= high for low, high in map(student, draws.tolist())]
    assert 0.93 < np.mean(inside) < 0.97


def test_it_is_printed_as_table_csv_and_json(outputs, capsys):
    def shown(*words):
        assert statistics.main([*words]) == 0
        return capsys.readouterr().out

    table = shown()
    assert table.split()[:4] == ["claim", "profile", "dataset", "changed"]
    assert "0.65" in table and "–" in table
    runs = [f"default-openmoji-seed{seed}" for seed in range(2)]
    csv = pd.read_csv(io.StringIO(shown(*runs, "--format", "csv")))
    (row,) = json.loads(shown(*runs, "--format", "json"))
    assert csv.to_dict("records")[0]["mean"] == row["mean"] == 0.5
    assert row["runs"] == 2


def test_a_folder_without_measurements_is_named(outputs):
    with pytest.raises(FileError, match="nowhere: no claim was measured here"):
        statistics.over_runs([outputs / "nowhere"])
