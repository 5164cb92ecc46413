"""Writes the outputs of the default run into the committed notebooks.

``python -m paperlib.runs.publish``, after that run (``./run_all.sh publish`` does both): sources
come from ``notebooks/NAME.py``, outputs and execution counts from the executed notebook. What would
differ from run to run or not show on a page is refused: stderr, errors and widgets.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

from paperlib.notebook.provenance import write_files
from paperlib.paths import NOTEBOOKS, outputs_dir, run_folder
from paperlib.profiles import STANDARD_SEED
from paperlib.runs.graph import read_table
from paperlib.runs.runner import read_notebook

WIDGET = "application/vnd.jupyter.widget-view+json"


class PublishError(ValueError):
    """An executed notebook that is not fit to be committed; the message says why."""


def with_outputs(source: Any, executed: Any, name: str) -> Any:
    """The notebook `source` with the outputs of `executed`, and no metadata of the execution.

    Args:
        source: what `read_notebook` gave.
        executed: the same notebook after its run.
        name: for messages.

    Raises:
        PublishError: the cells differ; a cell was not run; an output is refused.
    """
    if [cell.source for cell in source.cells] != [cell.source for cell in executed.cells]:
        raise PublishError(f"{name}: was executed from another source or other parameters")
    for cell, done in zip(source.cells, executed.cells, strict=True):
        if cell.cell_type != "code":
            continue
        where = f"{name}, cell [{done.execution_count}]"
        if cell.source.strip() and not done.execution_count:
            raise PublishError(f"{name}: a cell was not run: {cell.source.splitlines()[0]}")
        for output in done.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                text = output.get("text") or output.get("evalue")
                raise PublishError(f"{where} wrote to stderr or failed: {text.strip()[:200]}")
            if WIDGET in output.get("data", {}):
                raise PublishError(f"{where} shows a widget, which a page cannot show")
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return source


def publish(executed: Path, source: Path) -> None:
    """Write ``source`` with extension ``.ipynb``, from ``source`` and its executed notebook.

    Raises:
        PublishError: as for `with_outputs`; `executed` does not exist.
    """
    if not executed.is_file():
        raise PublishError(f"{source.stem}: {executed} is missing; run the default profile first")
    notebook = read_notebook(source)
    done = nbformat.read(executed, as_version=4)
    text = nbformat.writes(with_outputs(notebook, done, source.stem), version=4)
    write_files({source.with_suffix(".ipynb"): f"{text.rstrip()}\n".encode()})
    pair(source)


def pair(source: Path) -> None:
    """Bring the ``.ipynb`` beside a ``.py`` up to date with it; outputs stay.

    Raises:
        CalledProcessError: jupytext failed.
    """
    command = [sys.executable, "-m", "jupytext", "--quiet", "--update", "--to", "ipynb"]
    subprocess.run([*command, source.name], cwd=source.parent, check=True)


def main() -> int:
    """The command; returns its exit code."""
    code = 0
    for name, entry in read_table().items():
        run = outputs_dir() / run_folder("default", entry.dataset("default"), STANDARD_SEED)
        try:
            publish(run / f"{name}.ipynb", NOTEBOOKS / f"{name}.py")
        except PublishError as error:
            print(error, file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
