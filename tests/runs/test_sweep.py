"""A notebook over a grid of sizes and seeds: which runs, what they leave, and one table."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from paperlib.files import FileError
from paperlib.paths import DATA, ROOT
from paperlib.runs import graph, sweep
from paperlib.runs.table import Job, read_table
from paperlib.sweeps import tables

GRID = """
notebook: 01_spectrum
profile: smoke
grid: {images: [50, 100], bands: [8, 16, 16]}
seeds: [0, 3]
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "images.yaml"


def planned(file, text):
    file.write_text(text)
    return sweep.jobs(sweep.read_sweep(file), read_table(), file)


def test_every_point_with_every_seed_is_a_run_of_its_own(file):
    found = planned(file, GRID)
    assert len(found) == 2 * 3 * 2
    folders = {job.run for job in found}
    assert len(folders) == 2 * 2 * 2
    assert "smoke-openmoji-seed3-bands=8-images=50" in folders
    changes = {"images": 50, "bands": 8}
    assert found[0].parameters == {
        "profile": "smoke",
        "dataset": "openmoji",
        "seed": 0,
        "changes": changes,
    }
    files = found[0].entry.files("openmoji")
    digests = {str(job.parts(files)) for job in found}
    assert len(digests) == len(folders)
    standard = Job(found[0].entry, "smoke", "openmoji", 0)
    assert standard.run == "smoke-openmoji-seed0"
    assert standard.parts(files) == found[0].entry.parts("smoke", "openmoji", 0)
    assert str(standard.parts(files)) not in digests


def test_a_long_name_of_a_folder_is_cut_and_stays_one_of_its_own(file):
    long = {"images": 50, "seeds": 2, "bands": 8}
    many = [Job(read_table()["01_spectrum"], "smoke", "openmoji", 0, long | {"x" * n: 1})
            for n in (150, 151)]  # fmt: skip
    assert len({job.run for job in many}) == 2
    assert all(len(job.run) < 60 for job in many)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("01_spectrum", "01_spectru", "notebook 01_spectru: did you mean 01_spectrum"),
        ("smoke", "smok", "profile smok: did you mean smoke"),
        ("bands", "band", "size band: did you mean bands"),
        ("8,", "0,", "size bands: 0: valid are whole numbers from 1"),
        ("[0, 3]", "[-1]", "seeds.0: "),
        ("[0, 3]", "[]", "seeds: "),
        ("seeds", "seed", "seed: Extra inputs are not permitted"),
        ("profile: smoke", "dataset: coco", "dataset coco: valid are openmoji, cifar10"),
    ],
)
def test_what_is_wrong_is_named(file, old, new, message):
    assert old in GRID
    with pytest.raises(FileError, match=message) as refused:
        planned(file, GRID.replace(old, new))
    assert str(refused.value).startswith(f"{file}: ")


def test_what_snakemake_is_given(file):
    found = graph.configuration(planned(file, GRID))["notebooks"]["01_spectrum"]
    words = found["given"]["smoke-openmoji-seed3-bands=8-images=50"]
    assert words[-3:] == ["-p", "changes", '{"images": 50, "bands": 8}']
    assert set(found["memory"].values()) == {read_table()["01_spectrum"].row.memory["smoke"]}


PUBLISH = """
from paperlib.runs.publish import publish
from paperlib.runs.table import read_table
publish(read_table()["01_one"], "default")
"""


def test_the_table_that_comes_with_the_project_is_that_of_its_file():
    for card in sorted((DATA / "sweeps").glob("*.json")):
        made = sweep.read_sweep(ROOT / "sweeps" / f"{card.stem}.yaml")
        planned, told = sweep.jobs(made, read_table(), card), json.loads(card.read_text())
        assert told["sweep"] == made.model_dump()
        assert told["runs"] == told["finished"] == len(planned)
        table = pd.read_csv(card.with_suffix(".csv"))
        assert set(table.run) == {job.run for job in planned}
        assert set(table.claim) == set(read_table()[made.notebook].claims)


def test_a_sweep_leaves_values_without_status_and_a_table_and_goes_on_where_it_was(project):
    project.write("sweep.yaml", "notebook: 01_one\ngrid: {count: [5]}\nseeds: [4]\n")
    done = project.python("paperlib.runs.sweep", "sweep.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, last, beside = done.stdout.splitlines()
    assert first == "1 of 1 would run, with up to 200 MB each"
    assert last.startswith("1 of 1 runs, 1 values: ") and beside.startswith("beside it ")
    run = project / "outputs/default-openmoji-seed4-count=5"
    text = (run / "01_one.ipynb").read_text()
    assert "**no status**" in text and "scaled-down" not in text
    table = pd.read_csv(project / "outputs/sweeps/sweep.csv")
    assert pd.read_parquet(project / "outputs/sweeps/sweep.parquet").equals(table)
    assert (project / "outputs/sweeps/sweep.png").read_bytes().startswith(b"\x89PNG")
    (row,) = table.to_dict("records")
    assert (row["seed"], row["count"], row["claim"], row["value"]) == (4, 5, "toy-evens", 8)
    assert (row["run"], row["threads"], row["clean"]) == (run.name, 1, True)
    assert row["commit"] == project.git("rev-parse", "HEAD").strip()
    card = json.loads((project / "outputs/sweeps/sweep.json").read_text())
    assert (card["runs"], card["finished"]) == (1, 1) and card["sweep"]["seeds"] == [4]
    assert card["versions"]["pandas"] == pd.__version__
    project.write("sweep.yaml", "notebook: 01_one\ngrid: {count: [5, 6]}\nseeds: [4]\n")
    again = project.python("paperlib.runs.sweep", "sweep.yaml", "--dry-run").stdout.splitlines()
    assert again == [
        "01_one          default-openmoji-seed4-count=5: unchanged",
        "01_one          default-openmoji-seed4-count=6: run: not run",
        "1 of 2 would run, with up to 200 MB each",
    ]
    (project / "sweep.yaml").unlink()
    shutil.copytree(run, project / "outputs/default-openmoji-seed0")
    words = [sys.executable, "-c", PUBLISH]
    refused = subprocess.run(
        words, cwd=project.folder, env=project.environment(), capture_output=True, text=True
    )
    assert "PublishError: 01_one: the results in " in refused.stderr
    assert not (project / "figures").exists()


def test_a_run_that_failed_is_a_row_without_a_value(project):
    project.write("sweep.yaml", "notebook: 01_one\ngrid: {count: [5, 6]}\nseeds: [4]\n")
    source = (project / "notebooks/01_one.py").read_text()
    broken = "if run.sizes.count == 6:\n    raise ValueError('six')\n"
    assert "values = measure" in source
    project.write(
        "notebooks/01_one.py", source.replace("values = measure", f"{broken}values = measure")
    )
    done = project.python("paperlib.runs.sweep", "sweep.yaml")
    assert done.returncode == 1
    assert "1 of 2 runs, 1 values: " in done.stdout
    for file in ("sweep.csv", "sweep.parquet"):
        table = tables.read(project / "outputs/sweeps" / file)
        assert table[["count", "claim"]].values.tolist() == [[5, "toy-evens"], [6, ""]]
        assert "1 of 2 runs have a value of every one of 1 claims, not count 6, seed 4." in (
            tables.described(table)
        )
