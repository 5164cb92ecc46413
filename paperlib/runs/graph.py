"""The graph of the notebooks: what each needs and makes, and running it with Snakemake.

``notebooks/graph.yaml`` is the table, ``notebooks/Snakefile`` makes rules of it, and
``python -m paperlib.runs.graph --profile smoke`` runs them and shows the scorecard: what is
finished and unchanged stays, the rest runs side by side where cores and memory allow.
"""

import argparse
import ast
import fcntl
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from paperlib.paths import (
    CHECKPOINTS,
    CLAIMS,
    DATA,
    FIGURES,
    NOTEBOOKS,
    ROOT,
    outputs_dir,
    run_folder,
)
from paperlib.profiles import DATASETS, PROFILES, STANDARD_SEED
from paperlib.runs import scorecard

TABLE = NOTEBOOKS / "graph.yaml"
SNAKEFILE = NOTEBOOKS / "Snakefile"
MEBIBYTE = 2**20
STOPPED = 130  # exit code of a run that a person stopped


@dataclass(frozen=True)
class Entry:
    """One notebook's row of the table.

    Attributes:
        name: of the notebook, without extension.
        package: of paperlib, one a paper.
        datasets: that it takes: the first is that of the profiles smoke and default, the last that
            of profile paper.
        memory: of its kernel, in MB, by profile.
        checkpoints: names, with {dataset} to be filled in, or patterns with *.
        figures: names.
        priority: those of higher ones start first.
        claims: ids of the claims that it measures, and the files they stand in.
    """

    name: str
    package: str
    datasets: tuple[str, ...]
    memory: dict[str, int]
    checkpoints: tuple[str, ...]
    figures: tuple[str, ...]
    priority: int
    claims: dict[str, Path]

    def dataset(self, profile: str) -> str:
        """The data set that a profile stands for."""
        return self.datasets[-1 if profile == "paper" else 0]

    def published(self, profile: str, dataset: str, seed: int) -> Path | None:
        """Folder of the committed results of such a run; None if they are not committed."""
        standard = (self.dataset(profile), STANDARD_SEED) == (dataset, seed)
        return FIGURES / profile if standard and profile != "smoke" else None

    def inputs(self, dataset: str) -> list[str]:
        """Files whose change makes the notebook run again."""
        code = {NOTEBOOKS / f"{self.name}.py", *(ROOT / "paperlib" / self.package).glob("*.py")}
        files = {*self.claims.values(), *DATA.glob("*.csv")}
        for file in with_imports(code):  # of other papers only their sizes, for the profiles
            if file.name != "sizes.py" or file.parent.name == self.package:
                files.add(file)
        for checkpoint in self.checkpoints:
            for kind in ("safetensors", "json"):
                file = f"{checkpoint.format(dataset=dataset)}.{kind}"
                files |= set(CHECKPOINTS.glob(file)) if "*" in file else {CHECKPOINTS / file}
        return sorted(map(str, files))

    def outputs(self) -> list[str]:
        """Files that it makes in its folder."""
        figures = [f"{name}.{kind}" for name in self.figures for kind in ("png", "csv", "json")]
        return figures + [f"claims/{claim}.json" for claim in self.claims]


def read_table(table: Path = TABLE, claims: Path = CLAIMS) -> dict[str, Entry]:
    """The table's rows, by notebook, in their order."""
    measured: dict[str, dict[str, Path]] = {}
    for file in sorted(claims.glob("*.yaml")):
        for claim in yaml.safe_load(file.read_text(encoding="utf-8"))["claims"]:
            measured.setdefault(claim["notebook"], {})[claim["id"]] = file
    return {
        name: Entry(
            name,
            row["package"],
            tuple(row["datasets"]),
            row["memory"],
            tuple(row["checkpoints"]),
            tuple(row["figures"]),
            row.get("priority", 0),
            measured.get(name, {}),
        )
        for name, row in yaml.safe_load(table.read_text(encoding="utf-8")).items()
    }


def with_imports(files: Iterable[Path]) -> set[Path]:
    """Python files, what they import of this package, what that imports, and so on."""
    found, left = set(), set(files)
    while left:
        found |= left
        left = {module for file in left for module in _imports(file)} - found
    return found


@functools.cache
def _imports(file: Path) -> frozenset[Path]:
    names = set()
    text = file.read_text(encoding="utf-8") if file.is_file() else ""  # Snakemake will name it
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    modules = set()
    for parts in (name.split(".") for name in names if name.startswith("paperlib")):
        for end in range(1, len(parts) + 1):  # packages are run before what is in them
            place = ROOT.joinpath(*parts[:end])
            modules |= {place.with_suffix(".py"), place / "__init__.py"}
    return frozenset(filter(Path.is_file, modules))


def available_memory() -> int:
    """Memory that new processes can have, in MB; a container's limit counts."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, limit - used)
    except (OSError, ValueError):  # no such group, or no limit
        pass
    return free // MEBIBYTE


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen(profile: str, dataset: str | None, only: str | None) -> dict[str, str]:
    """Data set by notebook: all of them or `only` one, on `dataset` or the profile's standard one.

    Raises:
        ValueError: `only` does not take `dataset`.
    """
    entries = {name: entry for name, entry in read_table().items() if name == (only or name)}
    if only and dataset and dataset not in entries[only].datasets:
        raise ValueError(f"{only} takes the data sets {', '.join(entries[only].datasets)}")
    return {
        name: dataset or entry.dataset(profile)
        for name, entry in entries.items()
        if dataset is None or dataset in entry.datasets
    }


def run(profile: str, datasets: Mapping[str, str], seed: int) -> int:
    """Run what is not up to date of these notebooks; returns the exit code.

    Stopped by a signal, it lets Snakemake stop every notebook and delete unfinished results.
    """
    outputs = outputs_dir().resolve()
    executed = {
        name: outputs / run_folder(profile, dataset, seed) / f"{name}.ipynb"
        for name, dataset in datasets.items()
    }
    before = {name: _modified(file) for name, file in executed.items()}
    outputs.mkdir(parents=True, exist_ok=True)
    config = {"profile": profile, "seed": seed, "datasets": json.dumps(dict(datasets))}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--directory", str(outputs), "--config"]
    command += [f"{name}={value}" for name, value in config.items()]
    command += ["--cores", str(cores()), "--resources", f"mem_mb={available_memory()}"]
    command += ["--keep-going", "--rerun-incomplete"]
    os.environ["PAPERLIB_PYTHON"] = sys.executable  # not in the graph, where it would be a change
    log = outputs / "snakemake.log"
    with open(outputs / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system's: it ends with us
        except BlockingIOError:
            print(f"another run is writing to {outputs}; wait for it to end", file=sys.stderr)
            return 1
        descriptor = lock.fileno()
        with open(log, "w") as messages:
            if any((outputs / ".snakemake" / "locks").glob("*")):  # left by a run that was killed
                subprocess.run([*command, "--unlock"], stderr=messages, check=True)
            code = _run(command, stderr=messages, pass_fds=[descriptor])
    if code == STOPPED:
        print("stopped; what was finished is kept", file=sys.stderr)
    elif code:
        _explain(log)
    else:
        for name, file in executed.items():
            if _modified(file) == before[name]:
                print(f"{name:<16}unchanged")
    return code


def _modified(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def _run(command: list[str], **options: Any) -> int:
    """Exit code of `command`; a signal to stop goes to it and to all that it started.

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
    process = subprocess.Popen(command, process_group=0, **options)
    started.append(process.pid)
    if stopped:  # before it had a number
        os.killpg(process.pid, signal.SIGINT)
    code = process.wait()
    return STOPPED if stopped else min(abs(code), 1)


def _explain(log: Path) -> None:
    """Say what a failed run has not said yet: a notebook's own failure stands above."""
    text = log.read_text()
    if not re.search(r"Error in rule run_", text):
        print(text, file=sys.stderr)
    print(f"not everything succeeded; Snakemake's messages are in {log}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.graph",
        description="Run the notebooks that are not up to date.",
    )
    parser.add_argument("--profile", choices=PROFILES, default="default")
    parser.add_argument("--dataset", choices=DATASETS, help="default: the profile's standard one")
    parser.add_argument("--seed", type=int, default=STANDARD_SEED)
    parser.add_argument("--only", choices=list(read_table()))
    options = parser.parse_args(arguments)
    try:
        datasets = chosen(options.profile, options.dataset, options.only)
    except ValueError as error:
        parser.error(str(error))
    code = run(options.profile, datasets, options.seed)
    if code != STOPPED:
        code = _scorecard(options.profile, datasets, options.seed) or code
    return code


def _scorecard(profile: str, datasets: Mapping[str, str], seed: int) -> int:
    """Print the scorecard, and bring the README's up to date if the run is a standard one."""
    outputs, table = outputs_dir().resolve(), read_table()
    runs = {run_folder(profile, dataset, seed) for dataset in datasets.values()}
    folders = [outputs / run for run in sorted(runs)]
    if not any(any(folder.glob("*/claims/*.json")) for folder in folders):
        return 0
    print()
    if not all(table[name].published(profile, data, seed) for name, data in datasets.items()):
        return scorecard.main(["show", "--run", *map(str, folders)])
    return scorecard.main(["write", str(ROOT / "README.md")]) or scorecard.main(["show"])


if __name__ == "__main__":
    raise SystemExit(main())
