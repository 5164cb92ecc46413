"""Runs the notebooks that are not up to date, side by side, with Snakemake.

``python -m paperlib.runs.graph --profile smoke`` plans: a notebook whose parts (see
`paperlib.runs.table`) hash to what its last results say stays, the others run where cores and
memory allow. ``notebooks/Snakefile`` makes a rule of each. Everything goes to the outputs' folder.
"""

import argparse
import contextlib
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from paperlib.files import FileError, write_files
from paperlib.names import DATASETS, PROFILES, STANDARD_SEED, notebooks
from paperlib.notebook import provenance
from paperlib.paths import NOTEBOOKS, ROOT, outputs_dir
from paperlib.runs import memory, outside, scorecard, slurm
from paperlib.runs.command import command
from paperlib.runs.pairs import settle
from paperlib.runs.table import Entry, Job, changed_parts, git_state, read_table

FULL = 2**16  # bytes: a disk that has less left cannot hold what Snakemake has to say
SNAKEFILE = NOTEBOOKS / "Snakefile"
MEBIBYTE = 2**20
STOPPED = 130  # exit code of a run that a person stopped


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen(
    table: Mapping[str, Entry], profile: str, dataset: str | None, only: Sequence[str], seed: int
) -> list[Job]:
    """All notebooks or `only` some, on `dataset` or the profile's own.

    Raises:
        FileError: one of `only` does not take `dataset`, or sizes are missing.
    """
    for name in only if dataset else ():
        if dataset not in table[name].datasets:
            raise FileError(f"{name} takes the data sets {', '.join(table[name].datasets)}")
    return [
        Job(entry, profile, dataset or entry.dataset(profile), seed)
        for name, entry in table.items()
        if (not only or name in only) and (dataset is None or dataset in entry.datasets)
    ]


def remote(name: str) -> Any:
    """The `RemoteFile` of what is in `outside` and can be downloaded."""
    # Here: they take seconds, which a plan does not need.
    from paperlib.data.cifar import EDITIONS
    from paperlib.models.sam import PUBLISHED

    return {"cifar10": EDITIONS["cifar10"].archive, "sam": PUBLISHED["vit_b"]}[name]


@dataclass(frozen=True)
class Plan:
    """What is to be done for a job.

    Attributes:
        job: the run of a notebook.
        parts: what decides its values, each with its hash.
        folder: of its results.
        why: what has changed since they were made; nothing if they are current.
    """

    job: Job
    parts: dict[str, str]
    folder: Path
    why: tuple[str, ...]


def plan(jobs: Sequence[Job], outputs: Path) -> list[Plan]:
    """What is to be done for each job; writes nothing.

    Raises:
        FileError: a file that a notebook needs is missing.
    """
    files: dict[tuple[str, str], dict[str, str]] = {}  # read once for all jobs
    plans = []
    for job in jobs:
        key = job.entry.name, job.dataset
        if key not in files:
            files[key] = job.entry.files(job.dataset)
        folder, parts = outputs / job.run / job.entry.name, job.parts(files[key])
        why = changed_parts(provenance.load(folder)["parts"], parts)
        if not _done(folder).is_file():
            why = ("not run",)
        plans.append(Plan(job, parts, folder, why))
    return plans


def provide(jobs: Sequence[Job]) -> None:
    """Fetch what these jobs take from outside and can be downloaded, before any of them starts.

    Raises:
        FileError: something is not here and cannot be fetched; with what to do for each.
    """
    takes = [
        name for job in jobs for name in outside.needed(job.entry.name, job.profile, job.dataset)
    ]
    told = outside.missing(takes)
    for name in [*told]:
        if outside.OUTSIDE[name].fetched and outside.variable(name) not in os.environ:
            from paperlib.data.download import DownloadError, fetch  # here, for the same reason

            print(f"downloading {told[name]}", file=sys.stderr)
            try:
                fetch(remote(name))
                del told[name]
            except DownloadError as error:
                told[name] = str(error)
    if told:
        raise FileError("\n".join(["nothing was run; what it takes is missing:", *told.values()]))


def hand_over(plan: Plan, state: tuple[str, bool]) -> None:
    """Hand over what decides a run's values in ``NAME.inputs.json``; `state` is that of its files.

    The file is written anew only when the results beside it are not those of these inputs, so that
    its time tells Snakemake to run the notebook.
    """
    folder = plan.folder
    for unfinished in folder.parent.glob(f".{folder.name}-*"):  # left by a runner that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    handed = folder.with_name(f"{folder.name}.inputs.json")
    if plan.why or not handed.is_file():
        commit, clean = state
        text = json.dumps({"commit": commit, "clean": clean, "parts": plan.parts}, indent=1)
        write_files({handed: text.encode()})
        _done(folder).unlink(missing_ok=True)


def _done(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.done")


def configuration(jobs: Sequence[Job]) -> dict[str, Any]:
    """What ``notebooks/Snakefile`` reads: by notebook, and there by run."""
    found: dict[str, Any] = {}
    for job in jobs:
        row = job.entry.row
        notebook = found.setdefault(
            job.entry.name, {"priority": row.priority, "given": {}, "memory": {}, "minutes": {}}
        )
        given = [("-p", name, json.dumps(value)) for name, value in job.parameters.items()]
        notebook["given"][job.run] = [word for words in given for word in words]
        notebook["memory"][job.run] = row.memory[job.profile]
        notebook["minutes"][job.run] = row.minutes[job.profile]
    return {"notebooks": found}


def run(
    jobs: Sequence[Job],
    most: int | None = None,
    quiet: bool = False,
    cluster: Path | None = None,
) -> int:
    """Run what is not up to date of these; returns the exit code.

    Stopped by a signal, it lets Snakemake stop every notebook. Killed, its notebooks stop by
    themselves: each looks whether the lock is still held by the run that started it.

    Args:
        jobs: a run of a notebook each.
        most: so many notebooks side by side; None takes the cores, or what `cluster` says.
        quiet: only failures are told.
        cluster: folder of Snakemake's profile for a Slurm; None runs them here.

    Raises:
        FileError: a file that a notebook needs is missing, or Slurm is.
    """
    outputs = outputs_dir().resolve()
    outputs.mkdir(parents=True, exist_ok=True)
    log, logs = outputs / "snakemake.log", outputs / "slurm"
    where = slurm.words(cluster.resolve(), logs, most) if cluster else _here(most)
    with open(outputs / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system's: it ends with us
        except BlockingIOError:
            print(f"another run is writing to {outputs}; wait for it to end", file=sys.stderr)
            return 1
        token = uuid.uuid4().hex
        write_over(lock, token)
        own = {"PAPERLIB_RUN": token, "PAPERLIB_PYTHON": sys.executable}
        own |= {"PAPERLIB_OUTPUTS": str(outputs), "PAPERLIB_QUIET": "1" if quiet else ""}
        own |= {"PAPERLIB_CLUSTER": "1" if cluster else ""}
        places = [str(ROOT), os.environ.get("PYTHONPATH", "")]  # notebooks import this very code
        os.environ |= own | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
        plans = plan(jobs, outputs)
        provide([each.job for each in plans if each.why])
        states = {}  # asked once for all runs of the same files
        for each in plans:
            key = each.job.entry.name, each.job.dataset
            if key not in states:
                states[key] = git_state(each.parts)
            hand_over(each, states[key])
        settings = outputs / "snakemake.json"
        write_files({settings: json.dumps(configuration(jobs)).encode()})
        engine = "paperlib.runs.slurm" if cluster else "snakemake"
        words = [sys.executable, "-m", engine, "--snakefile", str(SNAKEFILE)]
        words += ["--directory", str(outputs), "--configfile", str(settings)]
        words += [*where, "--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime"]
        started = [each.job for each in plans if each.why]
        told = slurm.told(started, logs) if cluster else contextlib.nullcontext()
        with open(log, "w") as messages, told:
            if any((outputs / ".snakemake" / "locks").glob("*")):  # left by a run that was killed
                subprocess.run([*words, "--unlock"], stderr=messages, check=True)
            code = _run(words, stderr=messages)
        write_over(lock, "")
    if code == STOPPED:
        print("stopped; what was finished is kept", file=sys.stderr)
    elif code:
        text = log.read_text(encoding="utf-8", errors="replace")
        for each in plans if cluster else ():
            if not _done(each.folder).is_file() and not slurm.line(each.job, logs):
                print(slurm.ended(each.job, logs, text))
        _explain(log)
    elif not quiet:
        for each in plans:
            if not each.why:
                print(f"{each.job.entry.name:<16}unchanged")
    return code


def _here(most: int | None) -> list[str]:
    """What Snakemake is told of this machine."""
    room = memory.available() // MEBIBYTE
    return ["--cores", str(min(most or cores(), cores())), "--resources", f"mem_mb={room}"]


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
        reason = os.strerror(errno.ENOSPC)
        full = reason in text or shutil.disk_usage(log.parent).free < FULL
        print(f"{log.parent}: {reason}" if full else text, file=sys.stderr)
    print(f"not everything succeeded; Snakemake's messages are in {log}", file=sys.stderr)


def _report(runs: Sequence[Path]) -> None:
    """Build the report of each run and name it; why there is none does not undo the run."""
    from paperlib.runs import report  # here: it takes seconds, which a plan does not need

    for folder in runs:
        try:
            print(f"report: {report.build(folder)}")
        except FileError as error:
            print(error, file=sys.stderr)


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
    parser.add_argument("--jobs", type=int, help="notebooks side by side, at most the cores")
    parser.add_argument("--cluster", type=Path, help="folder of Snakemake's profile for a Slurm")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why")
    parser.add_argument("--quiet", action="store_true", help="only failures are told")
    options = parser.parse_args(arguments)
    table = read_table()
    jobs = chosen(table, options.profile, options.dataset, options.only, options.seed)
    outputs = outputs_dir().resolve()
    if options.dry_run:
        print("\n".join(described(plan(jobs, outputs))))
        return 0
    settle(job.entry.name for job in jobs)
    code = run(jobs, options.jobs, options.quiet, options.cluster)
    if code != STOPPED and not options.quiet:
        if options.profile == "smoke":
            print("smoke profile: what it measures is too little to judge a claim by")
        else:
            runs = sorted({outputs / job.run for job in jobs})
            scorecard.show(runs, [job.entry.name for job in jobs])
            _report(runs)
    return code


def described(plans: Sequence[Plan]) -> list[str]:
    """What would be done, a line a job, and how much of it."""
    lines = []
    for each in plans:
        job, changed = each.job, sorted(each.why)
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        why = f"run: {', '.join(changed[:3])}{more}" if changed else "unchanged"
        lines.append(f"{job.entry.name:<16}{job.run}: {why}")
    stale = [each.job for each in plans if each.why]
    largest = max((job.entry.row.memory[job.profile] for job in stale), default=0)
    return [*lines, f"{len(stale)} of {len(plans)} would run, with up to {largest} MB each"]


if __name__ == "__main__":
    raise SystemExit(main())
