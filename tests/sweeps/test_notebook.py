"""Notebook 16 takes the table of any sweep, and refuses a wrong one in a sentence."""

import os
import subprocess
import sys

import nbformat
import pytest

from paperlib.paths import ROOT
from tests.sweeps.test_tables import GRIDS, failed, made


def run(table, folder):
    """Run the notebook on a table as the graph does; returns the process."""
    words = ["-m", "paperlib.runs.runner", "16_sweep", "--target", str(folder / "done")]
    return subprocess.run(
        [sys.executable, *words, "-p", "table", str(table)],
        cwd=ROOT,
        env=os.environ | {"PAPERLIB_OUTPUTS": str(folder / "outputs"), "PAPERLIB_BATCH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def shown(folder):
    """Everything that the executed notebook shows, as text."""
    cells = nbformat.read(folder / "done.ipynb", as_version=4).cells
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert all(out.get("name") != "stderr" for out in outputs), outputs
    return "\n".join(out.get("data", {}).get("text/markdown", "") for out in outputs)


@pytest.mark.parametrize(
    ("grid", "seeds"), [("none", [3]), ("words", [0, 1, 2]), ("three", [0, 1])]
)
def test_any_table_is_drawn_and_said(grid, seeds, tmp_path):
    table = made(GRIDS[grid], seeds, claims=("one", "two"))
    if grid == "words":
        table = failed(table, (table.bits == "W2A2") & (table.seed == 1))
    table.to_csv(tmp_path / "mine.csv", index=False)
    done = run(tmp_path / "mine.csv", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = shown(tmp_path)
    assert ("not encoders vit, bits W2A2, seed 1;" in said) == (grid == "words")
    assert ("`one`, `" in said) == (len(seeds) > 1)
    assert "nan" not in said
    assert (tmp_path / "done/over_grid.png").is_file()


def test_a_wrong_table_is_refused_in_a_sentence(tmp_path):
    made({"images": [5]}, [0]).drop(columns="claim").to_csv(tmp_path / "mine.csv", index=False)
    done = run(tmp_path / "mine.csv", tmp_path)
    assert done.returncode == 1
    assert f"FileError: {tmp_path / 'mine.csv'}: no column claim: expected the table" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
