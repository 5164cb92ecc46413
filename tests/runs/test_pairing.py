"""The committed notebooks are those of the .py files beside them, and fit to be committed."""

import json
import shutil

import pytest

from paperlib.paths import NOTEBOOKS, ROOT
from paperlib.runs.pairs import pair
from paperlib.runs.runner import parameters_of, read_notebook

SOURCES = sorted(NOTEBOOKS.glob("*.py"))
each = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])


@pytest.fixture
def copy(tmp_path):
    """The project's notebooks where jupytext may write; it reads its options from pyproject."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for file in (*SOURCES, *NOTEBOOKS.glob("*.ipynb")):
        shutil.copy(file, tmp_path / "notebooks")
    return tmp_path / "notebooks"


def test_every_notebook_has_its_source():
    assert [file.stem for file in sorted(NOTEBOOKS.glob("*.ipynb"))] == [
        source.stem for source in SOURCES
    ]


@each
def test_pairing(source, copy):
    pair(copy / source.name, (copy / source.name).with_suffix(".ipynb"))
    written = (copy / source.name).with_suffix(".ipynb").read_text(encoding="utf-8")
    committed = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert written == committed, f"{source.stem}.ipynb is stale; run ./run_all.sh publish"


@each
def test_committed_outputs(source):
    notebook = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) - {"language_info"} == {"jupytext", "kernelspec"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kept = {"tags", "lines_to_next_cell"}  # the second: jupytext, around a function in a cell
    assert all(set(cell["metadata"]) <= kept for cell in notebook["cells"])
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if output["output_type"] == "error"]


@each
def test_parameters_are_those_of_the_default_run(source):
    values = parameters_of(read_notebook(source))
    assert {"profile": "default", "seed": 0, "dataset": "openmoji"}.items() <= values.items()
