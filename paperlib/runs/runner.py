"""Runs one notebook and says in one line how it went.

``python -m paperlib.runs.runner 01_spectrum --inputs FILE --target FOLDER -p profile smoke``: reads
``notebooks/01_spectrum.py``, checks the parameters before anything runs, executes it with papermill
and puts the results in place in one step: FOLDER, and FOLDER.ipynb beside it, which is also written
when a cell fails. ``notebooks/Snakefile`` calls it.

It ends when the run that started it has ended, however that was killed, so that it can never write
over the results of a later one.
"""

import argparse
import asyncio
import fcntl
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from paperlib.files import FileError
from paperlib.notebook import provenance
from paperlib.notebook.claims import load_claims
from paperlib.notebook.parameters import (
    CHANGES,
    ParameterError,
    assigned,
    check_parameters,
    closest,
)
from paperlib.paths import NOTEBOOKS, outputs_dir
from paperlib.runs import memory
from paperlib.runs.command import command, reason
from paperlib.runs.table import read_table

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


class Kernel(AsyncKernelManager):
    """Starts and stops a kernel, and keeps what its process ended with.

    Attributes:
        ended: exit code of the last one, below 0 for a signal; None while it lives.
    """

    ended: int | None = None

    async def is_alive(self) -> bool:
        """Whether its process lives."""
        if self.has_kernel:
            Kernel.ended = await self.provisioner.poll()
        return await super().is_alive()


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
        parameters={name: value for name, value in given.items() if value != defaults.get(name)},
        kernel_name="python3",
        progress_bar=False,
        cwd=NOTEBOOKS,
        kernel_manager_class=Kernel,
    )


def failure(error: Exception, folder: Path) -> str:
    """What failed and where, in one line; `folder` is that of the results."""
    from papermill.exceptions import PapermillExecutionError, strip_color

    if isinstance(error, OSError):
        return reason(error, folder)
    if not isinstance(error, PapermillExecutionError):
        return f"{type(error).__name__}: {error}".splitlines()[0]
    lines = error.source.splitlines()
    place = re.search(r"Cell In\[\d+\], line (\d+)", strip_color("\n".join(error.traceback)))
    number = min(int(place[1]), len(lines)) if place else 1
    message = (error.evalue.splitlines() or [""])[0]
    where = f"cell [{error.exec_count}], line {number}, `{lines[number - 1].strip()}`"
    return f"{where}: {error.ename}: {message}"


def death(ended: int | None, killed: int, needs: int) -> str:
    """How a kernel died, in one line.

    Args:
        ended: its exit code, below 0 for a signal.
        killed: how many processes the system has killed for memory since it started.
        needs: memory that the table names for it, in MB.
    """
    if ended != -signal.SIGKILL:
        how = f"by signal {-ended}" if ended and ended < 0 else f"with exit code {ended}"
        return f"the kernel ended {how}"
    why = "for memory" if killed else "by signal 9, most likely for memory"
    had, room = largest() // MEBIBYTE, memory.available() // MEBIBYTE
    return (
        f"the kernel was killed {why}: it had {had} MB, this process may use {room} MB; "
        f"notebooks/graph.yaml says {needs} MB for it"
    )


def largest() -> int:
    """Largest resident memory that one process of a kernel had, in bytes, once it has ended."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def cost(peak: int) -> dict[str, int]:
    """Seconds of processors that the kernel and what it started took, and their largest memory."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_seconds": round(used.ru_utime + used.ru_stime), "peak_mb": peak // MEBIBYTE}


def report(name: str, outcome: str, started: float, peak: int, more: str = "") -> None:
    """Print the notebook's line: outcome, seconds, and the most memory of kernel and children.

    Where ``$PAPERLIB_QUIET`` is set, only of one that failed.
    """
    if os.environ.get("PAPERLIB_QUIET") and outcome == "ok":
        return
    took = f"{time.monotonic() - started:5.0f} s  {peak / MEBIBYTE:5.0f} MB"
    erase = ERASE_LINE if os.environ.get("PAPERLIB_TTY") else ""
    print(f"{erase}{name:<16}{outcome:<7}{took}{more}", flush=True)


def run_is_over(outputs: Path, token: str) -> bool:
    """Whether the run that holds the outputs' lock is no longer the one with this token.

    On a cluster the token alone says so: not every file system shows a node the locks of others.
    """
    try:
        with open(outputs / ".lock") as lock:
            if lock.read() != token:
                return True
            if os.environ.get("PAPERLIB_CLUSTER"):
                return False
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # held: it goes on
        return False
    except OSError:
        pass
    return True


def end_with(over: Callable[[], bool]) -> None:
    """From now on, look every second whether the run is over, and then end with every child."""

    def watch() -> None:
        while not over():
            time.sleep(1)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def missing_claims(name: str, folder: Path, profile: str) -> list[str]:
    """Claims that name this notebook and this profile, and that its run did not measure."""
    return [
        claim.id
        for claim in load_claims().values()
        if claim.notebook == name
        and profile in claim.profiles
        and not (folder / "claims" / f"{claim.id}.json").is_file()
    ]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.runner", description="Run one notebook of notebooks/."
    )
    parser.add_argument("name")
    parser.add_argument("--inputs", type=Path, help="what decides its values, from the graph")
    parser.add_argument("--target", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "-p", dest="given", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    target = options.target.resolve()
    given = {name: yaml.safe_load(value) for name, value in options.given}
    try:
        notebook = read_notebook(NOTEBOOKS / f"{options.name}.py")
        entry = read_table()[options.name]
        parameters = parameters_of(notebook)
        check_parameters(given, [*parameters, CHANGES], entry.datasets)
    except (ParameterError, FileError) as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 2
    outputs, token = outputs_dir().resolve(), os.environ.get("PAPERLIB_RUN")
    over = (lambda: run_is_over(outputs, token)) if token else (lambda: False)
    if token:
        end_with(over)
    if options.inputs:
        os.environ[provenance.VARIABLE] = str(options.inputs.resolve())
    os.environ["PAPERLIB_NOTEBOOK"] = options.name
    profile, killed = (parameters | given)["profile"], memory.killed()
    shutil.rmtree(target, ignore_errors=True)  # what an earlier run left
    target.parent.mkdir(parents=True, exist_ok=True)
    executed = target.with_name(f"{target.name}.ipynb")
    with tempfile.TemporaryDirectory(prefix=f".{options.name}-", dir=target.parent) as place:
        made = Path(place) / "made.ipynb"
        os.environ["PAPERLIB_FOLDER"] = str(folder := Path(place) / options.name)
        peak = memory.Peak()
        try:
            with peak:
                execute(notebook, given, made)
        except (KeyboardInterrupt, asyncio.CancelledError):
            executed.unlink(missing_ok=True)
            return STOPPED
        except Exception as error:  # every failure of a notebook is reported the same way
            if isinstance(error, DeadKernelError):
                why = death(Kernel.ended, memory.killed() - killed, entry.row.memory[profile])
            else:
                why = failure(error, target.parent)
            whole = made.is_file() and not isinstance(error, OSError)
            executed.unlink(missing_ok=True)
            if whole:
                os.replace(made, executed)
            see = f"\n  see {executed}" if whole else ""
            report(options.name, "FAILED", started, peak.bytes, f"\n  {why}{see}")
            return 1
        if missing := missing_claims(options.name, folder, profile):
            more = f"\n  did not measure {', '.join(missing)}, which data/claims says it does"
            report(options.name, "FAILED", started, peak.bytes, more)
            return 1
        if over():
            return 1
        if (folder / provenance.FILE).is_file():
            provenance.rewrite(folder, cost=cost(peak.bytes))
        os.replace(made, executed)
        os.replace(folder, target)
    report(options.name, "ok", started, peak.bytes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
