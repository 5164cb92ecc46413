"""Runs the notebooks that are not up to date, side by side, with Snakemake.

``python -m paperlib.runs.graph --profile smoke`` plans: a notebook whose parts (see
`paperlib.runs.table`) hash to what its last results say stays, the others run where cores and
memory allow. ``notebooks/Snakefile`` makes a rule of each. Everything goes to the outputs' folder.
"""

import argparse
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from paperlib.files import FileError, write_files
from paperlib.names import DATASETS, PROFILES, STANDARD_SEED, notebooks
from paperlib.notebook import provenance
from paperlib.paths import NOTEBOOKS, ROOT, outputs_dir, run_folder
from paperlib.runs import memory, scorecard
from paperlib.runs.command import command
from paperlib.runs.table import Entry, git_state, read_table

SNAKEFILE = NOTEBOOKS / "Snakefile"
MEBIBYTE = 2**20
STOPPED = 130  # exit code of a run that a person stopped


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen(
    table: Mapping[str, Entry], profile: str, dataset: str | None, only: Sequence[str]
) -> dict[str, str]:
    """Data set by notebook: all of them or `only` some, on `dataset` or the profile's own.

    Raises:
        FileError: one of `only` does not take `dataset`, or sizes are missing.
    """
    for name in only if dataset else ():
        if dataset not in table[name].datasets:
            raise FileError(f"{name} takes the data sets {', '.join(table[name].datasets)}")
    return {
        name: dataset or entry.dataset(profile)
        for name, entry in table.items()
        if (not only or name in only) and (dataset is None or dataset in entry.datasets)
    }


def plan(entry: Entry, profile: str, dataset: str, seed: int, outputs: Path) -> bool:
    """Hand over what decides a run's values in ``NAME.inputs.json``; whether it must run.

    The file is written anew only when the results beside it are not those of these inputs, so that
    its time tells Snakemake to run the notebook.

    Raises:
        FileError: a file that the notebook needs is missing.
    """
    folder = outputs / run_folder(profile, dataset, seed) / entry.name
    for unfinished in folder.parent.glob(f".{entry.name}-*"):  # left by a runner that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    parts = entry.parts(profile, dataset, seed)
    made = provenance.load(folder)
    stale = made["digest"] != provenance.digest_of(parts) or not _done(folder).is_file()
    handed = folder.with_name(f"{entry.name}.inputs.json")
    if stale or not handed.is_file():
        commit, clean = git_state(parts)
        text = json.dumps({"commit": commit, "clean": clean, "parts": parts}, indent=1)
        write_files({handed: text.encode()})
        _done(folder).unlink(missing_ok=True)
    return stale


def _done(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.done")


def run(table: Mapping[str, Entry], profile: str, datasets: Mapping[str, str], seed: int) -> int:
    """Run what is not up to date of these notebooks; returns the exit code.

    Stopped by a signal, it lets Snakemake stop every notebook. Killed, its notebooks stop by
    themselves: each looks whether the lock is still held by the run that started it.

    Raises:
        FileError: a file that a notebook needs is missing.
    """
    outputs = outputs_dir().resolve()
    outputs.mkdir(parents=True, exist_ok=True)
    log = outputs / "snakemake.log"
    with open(outputs / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system's: it ends with us
        except BlockingIOError:
            print(f"another run is writing to {outputs}; wait for it to end", file=sys.stderr)
            return 1
        token = uuid.uuid4().hex
        write_over(lock, token)
        own = {"PAPERLIB_RUN": token, "PAPERLIB_PYTHON": sys.executable}
        own |= {"PAPERLIB_OUTPUTS": str(outputs)}
        places = [str(ROOT), os.environ.get("PYTHONPATH", "")]  # notebooks import this very code
        os.environ |= own | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
        entries = [table[name] for name in datasets]
        stale = [e for e in entries if plan(e, profile, datasets[e.name], seed, outputs)]
        config = {
            "run": {e.name: run_folder(profile, datasets[e.name], seed) for e in entries},
            "parameters": {
                e.name: {"profile": profile, "dataset": datasets[e.name], "seed": seed}
                for e in entries
            },
            "memory": {e.name: e.row.memory[profile] for e in entries},
            "priority": {e.name: e.row.priority for e in entries},
        }
        settings = outputs / "snakemake.json"
        write_files({settings: json.dumps(config).encode()})
        words = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
        words += ["--directory", str(outputs), "--configfile", str(settings)]
        room = memory.available() // MEBIBYTE
        words += ["--cores", str(cores()), "--resources", f"mem_mb={room}"]
        words += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime"]
        with open(log, "w") as messages:
            if any((outputs / ".snakemake" / "locks").glob("*")):  # left by a run that was killed
                subprocess.run([*words, "--unlock"], stderr=messages, check=True)
            code = _run(words, stderr=messages)
        write_over(lock, "")
    if code == STOPPED:
        print("stopped; what was finished is kept", file=sys.stderr)
    elif code:
        _explain(log)
    else:
        for entry in entries:
            if entry not in stale:
                print(f"{entry.name:<16}unchanged")
    return code


def write_over(file: Any, text: str) -> None:
    """Replace the content of an open file."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _run(words: list[str], **options: Any) -> int:
    """Exit code of a command; a signal to stop goes to it and to all that it started.

    The handlers stand before it starts: what we ignored, as in the background, it would ignore.
    """
    stopped: list[int] = []
    started: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        for group in started:
            os.killpg(group, signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    process = subprocess.Popen(words, process_group=0, **options)
    started.append(process.pid)
    if stopped:  # before it had a number
        os.killpg(process.pid, signal.SIGINT)
    code = process.wait()
    return STOPPED if stopped else min(abs(code), 1)


def _explain(log: Path) -> None:
    """Say what a failed run has not said yet: a notebook's own failure stands above."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if not re.search(r"Error in rule run_", text):
        full = os.strerror(errno.ENOSPC)
        print(f"{log.parent}: {full}" if full in text else text, file=sys.stderr)
    print(f"not everything succeeded; Snakemake's messages are in {log}", file=sys.stderr)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.graph",
        description="Run the notebooks that are not up to date.",
    )
    parser.add_argument("--profile", choices=PROFILES, default="default")
    parser.add_argument(
        "--dataset", choices=[*DATASETS], help="default: the profile's standard one"
    )
    parser.add_argument("--seed", type=int, default=STANDARD_SEED)
    parser.add_argument("--only", choices=notebooks(), action="append", default=[])
    options = parser.parse_args(arguments)
    table = read_table()
    datasets = chosen(table, options.profile, options.dataset, options.only)
    code = run(table, options.profile, datasets, options.seed)
    if code != STOPPED:
        runs = {run_folder(options.profile, data, options.seed) for data in datasets.values()}
        scorecard.show([outputs_dir().resolve() / run for run in sorted(runs)], [*datasets])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
