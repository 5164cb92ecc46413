"""Which notebooks a run takes, on which data, and the room that it has."""

import os
import shutil

import pytest

from paperlib.files import FileError
from paperlib.runs import graph
from paperlib.runs.table import read_table


def datasets(*given):
    jobs = graph.chosen(read_table(), *given, 0)
    return {job.entry.name: job.dataset for job in jobs}


def test_chosen():
    everything = datasets("default", None, [])
    assert list(everything) == list(read_table())
    assert set(everything.values()) == {"openmoji"}
    assert datasets("paper", None, ["02_rct"]) == {"02_rct": "cifar10"}
    both = datasets("paper", None, ["02_rct", "07_segmentation"])
    assert both == {"02_rct": "cifar10", "07_segmentation": "coco"}
    assert set(datasets("default", "cifar10", []).values()) == {"cifar10"}
    with pytest.raises(FileError, match="02_rct takes the data sets openmoji, cifar10"):
        datasets("default", "coco", ["02_rct"])


def test_room():
    assert graph.cores() >= 1


def test_a_dry_run_says_what_would_run_and_why_and_writes_nothing(copy):
    shutil.rmtree(copy / "outputs")
    words = ("paperlib.runs.graph", "--dry-run")
    done = copy.python(*words)
    assert done.stdout.splitlines() == [
        "01_one          default-openmoji-seed0: run: not run",
        "02_two          default-openmoji-seed0: run: not run",
        "2 of 2 would run, with up to 99999999 MB each",
    ]
    assert not (copy / "outputs").exists()


def test_a_dry_run_names_what_has_changed(copy):
    copy.edit("data/checkpoints/small.txt", "7", "8")
    before = {file: file.stat().st_mtime_ns for file in (copy / "outputs").rglob("*")}
    done = copy.python("paperlib.runs.graph", "--dry-run")
    assert done.stdout.splitlines() == [
        "01_one          default-openmoji-seed0: unchanged",
        "02_two          default-openmoji-seed0: run: data/checkpoints/small.txt",
        "1 of 2 would run, with up to 99999999 MB each",
    ]
    assert {file: file.stat().st_mtime_ns for file in (copy / "outputs").rglob("*")} == before


def test_cores_are_the_most_and_quiet_says_only_what_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PAPERLIB_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "")
    for name in ("PAPERLIB_RUN", "PAPERLIB_PYTHON", "PAPERLIB_QUIET"):
        monkeypatch.setenv(name, "")
    started = []
    monkeypatch.setattr(graph, "_run", lambda words, **options: started.append(words) or 0)
    monkeypatch.setattr(graph, "cores", lambda: 4)
    jobs = graph.chosen(read_table(), "smoke", None, ["01_spectrum"], 0)
    for most, taken in ((None, "4"), (3, "3"), (9, "4")):
        assert graph.run(jobs, most, quiet=True) == 0
        assert started[-1][started[-1].index("--cores") + 1] == taken
        assert os.environ["PAPERLIB_QUIET"] == "1"
    assert graph.run(jobs) == 0
    assert os.environ["PAPERLIB_QUIET"] == ""
    assert capsys.readouterr().out == ""
