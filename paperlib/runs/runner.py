"""Runs one notebook and says in one line how it went.

``python -m paperlib.runs.runner 01_spectrum --output FILE -p profile smoke``: reads
``notebooks/01_spectrum.py``, checks the parameters before anything runs, executes with papermill,
and writes the executed notebook to FILE, also when a cell fails. ``notebooks/Snakefile`` calls it.
"""

import argparse
import asyncio
import hashlib
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from paperlib.notebook.parameters import ParameterError, assigned, check_parameters, closest
from paperlib.paths import NOTEBOOKS, outputs_dir
from paperlib.runs.graph import read_table

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
MEBIBYTE = 2**20
STOPPED = 130  # exit code of a run that a person stopped
ERASE_LINE = "\r\033[K"  # a progress bar may stand there


def read_notebook(file: Path) -> Any:
    """The notebook of a ``.py`` file in the percent format, with cell ids that do not change.

    Raises:
        ParameterError: `file` does not exist.
    """
    import jupytext

    if not file.is_file():
        names = sorted(path.stem for path in file.parent.glob("*.py"))
        raise ParameterError(f"notebook {file.stem}: {closest(file.stem, names)}")
    notebook = jupytext.read(file)
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", KERNEL)}
    for number, cell in enumerate(notebook.cells):
        cell.id = hashlib.sha256(f"{file.stem} {number}".encode()).hexdigest()[:8]
    return notebook


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Parameters of a notebook with their defaults, from the cell tagged ``parameters``.

    Raises:
        ParameterError: there is no such cell, or it holds something else.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            return assigned(cell.source)
    raise ParameterError("no cell is tagged parameters")


def execute(notebook: Any, given: dict[str, Any], output: Path) -> None:
    """Execute `notebook` into `output`, in a kernel of its own that starts in ``notebooks/``.

    A parameter that has its default is not injected, so that a run with the defaults is the
    notebook as it is.

    Raises:
        PapermillExecutionError: a cell failed; `output` says which.
        DeadKernelError: the kernel was killed.
    """
    import papermill

    os.environ["PAPERLIB_BATCH"] = "1"
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not the user's
    defaults = parameters_of(notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        notebook,
        str(output),
        parameters={name: value for name, value in given.items() if value != defaults[name]},
        kernel_name="python3",
        progress_bar=False,
        cwd=NOTEBOOKS,
    )


def failure(error: Exception) -> str:
    """What failed and where, in one line."""
    from papermill.exceptions import PapermillExecutionError, strip_color

    if not isinstance(error, PapermillExecutionError):
        return f"{type(error).__name__}: {error}".splitlines()[0]
    lines = error.source.splitlines()
    place = re.search(r"Cell In\[\d+\], line (\d+)", strip_color("\n".join(error.traceback)))
    number = min(int(place[1]), len(lines)) if place else 1
    message = (error.evalue.splitlines() or [""])[0]
    where = f"cell [{error.exec_count}], line {number}, `{lines[number - 1].strip()}`"
    return f"{where}: {error.ename}: {message}"


def report(name: str, outcome: str, started: float, more: str = "") -> None:
    """Print the notebook's line: outcome, seconds, and the peak memory of its kernel."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    took = f"{time.monotonic() - started:5.0f} s  {peak / MEBIBYTE:5.0f} MB"
    erase = ERASE_LINE if os.environ.get("PAPERLIB_TTY") else ""
    print(f"{erase}{name:<16}{outcome:<7}{took}{more}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.runner", description="Run one notebook of notebooks/."
    )
    parser.add_argument("name")
    parser.add_argument("--output", type=Path, required=True, help="the executed notebook")
    parser.add_argument(
        "-p", dest="given", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    output = options.output.resolve()
    given = {name: yaml.safe_load(value) for name, value in options.given}
    try:
        notebook = read_notebook(NOTEBOOKS / f"{options.name}.py")
        check_parameters(given, parameters_of(notebook), read_table()[options.name].datasets)
    except ParameterError as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 2
    os.environ["PAPERLIB_OUTPUTS"] = str(outputs_dir().resolve())
    os.environ["PAPERLIB_NOTEBOOK"] = options.name
    folder = output.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier run left
    try:
        execute(notebook, given, output)
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        output.unlink(missing_ok=True)
        return STOPPED
    except Exception as error:  # every failure of a notebook is reported the same way
        report(options.name, "FAILED", started, f"\n  {failure(error)}\n  see {output}")
        return 1
    report(options.name, "ok", started)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
