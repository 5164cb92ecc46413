"""Every notebook's default run on one core, under a limit of memory that the system holds.

    sudo -E python -m paperlib.runs.limits [--only NAME ...]

A kernel and what it starts run in a control group of their own with `LIMIT` bytes; a process that
needs more is killed, so what ends well has had enough. The runner stays outside, as JupyterLab
would. Prints a row as soon as a notebook has ended: how it ended, its minutes here, CPU minutes,
its peak (kernel and children, see `paperlib.runs.memory`), and the most that the group held: all
pages of files count there, which the system takes back when memory is short. Needs Linux and the
rights to make such a group. Results go to a temporary folder.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from paperlib.names import notebooks
from paperlib.notebook import provenance
from paperlib.paths import ROOT
from paperlib.runs import memory
from paperlib.runs.command import command

LIMIT = 1600 * 2**20  # bytes, which every default run keeps to
MOST = ("memory.max_usage_in_bytes", "memory.peak")  # that a group held; of version 1 and 2
ROW = "{:<17}{:<8}{:>8}{:>13}{:>9}{:>10}"


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path]:
    """A control group below this process's own, with a limit of memory in bytes.

    Raises:
        OSError: it cannot be made.
    """
    kind, own = memory.groups(Path("/"))[0]
    group = own / f"paperlib-{uuid.uuid4().hex[:8]}"
    if kind == "cgroup2":  # a group with processes hands no controller on: from the top
        top = next(folder for _, folder in reversed(memory.groups(Path("/"))) if folder.is_mount())
        (top / "cgroup.subtree_control").write_text("+memory")
        group = top / group.name
    group.mkdir()
    (group / memory.FILES[kind][0]).write_text(str(limit))
    try:
        yield group
    finally:
        while (group / "cgroup.procs").read_text():
            time.sleep(0.1)
        group.rmdir()


def inside(group: Path, *words: str) -> list[str]:
    """A command that runs in a control group."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *words]


def run(name: str, profile: str = "default", limit: int = LIMIT) -> str:
    """Run a notebook under a limit in bytes; its row of the table, and why it failed if it did."""
    with tempfile.TemporaryDirectory() as place, limited(limit) as group:
        kernel = inside(
            group, sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"
        )
        spec = Path(place) / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps({"argv": kernel, "display_name": "", "language": "python"}))
        target, core = Path(place) / name, min(os.sched_getaffinity(0))
        began = time.monotonic()
        words = [sys.executable, "-m", "paperlib.runs.runner", name, "--target", str(target)]
        done = subprocess.run(
            [*words, "-p", "profile", profile],
            env=os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PATH": place},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        minutes = (time.monotonic() - began) / 60
        (held,) = (int(file.read_text()) for file in map(group.joinpath, MOST) if file.is_file())
        used = {"cpu_seconds": float("nan"), "peak_mb": "-"}
        if done.returncode == 0:
            used = provenance.load(target)["cost"]
        row = (name, "FAILED" if done.returncode else "ok", f"{minutes:.1f}")
        row += (f"{used['cpu_seconds'] / 60:.1f}", used["peak_mb"], f"{held / 2**20:.0f}")
        why = "\n".join(done.stdout.splitlines()[1:2]) if done.returncode else ""
        return "\n".join(filter(None, [ROW.format(*row), why]))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.limits",
        description="Run notebooks on one core under a limit of memory.",
    )
    parser.add_argument("--only", choices=notebooks(), action="append", default=[])
    options = parser.parse_args(arguments)
    print(f"one core, {LIMIT / 2**20:.0f} MB for the kernel and what it starts")
    print(ROW.format("notebook", "", "minutes", "CPU minutes", "peak MB", "group MB"), flush=True)
    failed = 0
    for name in options.only or notebooks():
        row = run(name)
        failed |= "FAILED" in row
        print(row, flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
