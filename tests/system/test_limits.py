"""A small disk, a disk that is not writable, and a limit of memory, all of them real."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paperlib.names import notebooks
from paperlib.paths import ROOT
from paperlib.runs import limits, memory
from paperlib.runs.limits import inside, limited
from paperlib.runs.table import read_table

MB = 2**20


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory at a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def run(module: str, *words: str, outputs: Path, **more: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAPERLIB_")}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(ROOT), "PAPERLIB_OUTPUTS": str(outputs)} | more,
        capture_output=True,
        text=True,
        check=False,
    )


FIRST = notebooks()[0]
GRAPH = ("paperlib.runs.graph", "--profile", "smoke", "--only", FIRST)


def test_a_folder_that_is_not_writable_is_one_sentence(tmp_path):
    with disk(tmp_path / "disk", "ro,size=1m") as outputs:
        done = run(*GRAPH, outputs=outputs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{outputs / '.lock'}: Read-only file system\n"


@pytest.mark.parametrize("size", ["16k", "64k"])  # full for Snakemake, and for the notebook
def test_a_full_disk_is_named_and_leaves_no_half_notebook(tmp_path, size):
    with disk(tmp_path / "disk", f"size={size}") as outputs:
        done = run(*GRAPH, outputs=outputs)
        left = [file for file in outputs.rglob("*") if file.suffix in (".ipynb", ".png", ".csv")]
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert str(outputs) in said
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert left == []


def test_the_room_is_that_of_the_group(tmp_path):
    code = "from paperlib.runs import memory; print(memory.available(), memory.killed())"
    with limited(900 * MB) as group:
        done = subprocess.run(
            inside(group, sys.executable, "-c", code),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    room, killed = map(int, done.stdout.split())
    assert 100 * MB < room < 900 * MB
    assert killed == 0
    assert memory.available() > 900 * MB


def test_a_kernel_that_the_system_kills_for_memory_is_named_as_that(tmp_path):
    source = (ROOT / "notebooks" / f"{FIRST}.py").read_text(encoding="utf-8")
    assert source.count("run = start(") == 1
    code = """
import sys
from pathlib import Path

from paperlib.runs import runner

runner.NOTEBOOKS = Path(sys.argv.pop(1))
sys.exit(runner.main())
"""
    hungry = source.replace("run = start(", "full = bytearray(2000 * 2**20)\nrun = start(")
    (tmp_path / f"{FIRST}.py").write_text(hungry, encoding="utf-8")
    with limited(1200 * MB) as group:
        words = (str(tmp_path), FIRST, "--target", str(tmp_path / "made"), "-p", "profile", "smoke")
        done = subprocess.run(
            inside(group, sys.executable, "-c", code, *words),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    why = done.stdout.splitlines()[1].strip()
    assert why.startswith("the kernel was killed for memory: it had ")
    needs = read_table()[FIRST].row.memory["smoke"]
    assert why.endswith(f" MB; notebooks/graph.yaml says {needs} MB for it")


def test_a_notebook_fits_its_limit_or_is_killed():
    assert limits.run(FIRST, "smoke").split()[:2] == [FIRST, "ok"]
    row, why = limits.run(FIRST, "smoke", limit=300 * MB).splitlines()
    assert row.split()[:2] == [FIRST, "FAILED"]
    assert "the kernel was killed" in why and "for memory" in why
