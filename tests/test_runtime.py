"""Seeds, threads, progress, memory."""

import ctypes
import random
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from threadpoolctl import threadpool_info, threadpool_limits

from paperlib import runtime


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seeds_of_all_three_generators():
    runtime.seed_everything(3)
    first = draw()
    runtime.seed_everything(3)
    assert draw() == first
    runtime.seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=f"seed={seed}: valid are 0 to 4294967295"):
        runtime.seed_everything(seed)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    libraries = [pool["num_threads"] for pool in threadpool_info()]
    yield
    torch.set_num_threads(before)
    threadpool_limits(max(libraries))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("named", "number"), [("2", 2), ("", 1), (None, 1)])
def test_one_thread_unless_another_number_is_named(monkeypatch, named, number):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # not what decides it
    monkeypatch.delenv("PAPERLIB_THREADS", raising=False)
    if named is not None:
        monkeypatch.setenv("PAPERLIB_THREADS", named)
    torch.set_num_threads(3)
    threadpool_limits(3)
    runtime.set_threads()
    assert runtime.threads() == torch.get_num_threads() == number
    assert max(pool["num_threads"] for pool in threadpool_info()) == number


@pytest.mark.parametrize("wrong", ["0", "many", "-1", "1.5"])
def test_a_wrong_number_of_threads_is_named(monkeypatch, wrong):
    monkeypatch.setenv("PAPERLIB_THREADS", wrong)
    for function in (runtime.threads, runtime.set_threads):
        with pytest.raises(ValueError, match=f"PAPERLIB_THREADS={wrong}: valid are whole numbers"):
            function()


def test_device(monkeypatch):
    monkeypatch.setenv("PAPERLIB_DEVICE", "meta")
    assert runtime.device() == torch.device("meta")
    monkeypatch.delenv("PAPERLIB_DEVICE")
    assert runtime.device().type in ("cpu", "cuda")


def test_progress_is_silent_where_nobody_watches(monkeypatch, capfd):
    monkeypatch.delenv("PAPERLIB_TTY", raising=False)
    monkeypatch.setenv("PAPERLIB_BATCH", "1")
    assert list(runtime.progress(range(3), "counting")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_the_terminal_that_is_named(monkeypatch, capfd, tmp_path):
    terminal = tmp_path / "terminal"
    terminal.touch()
    monkeypatch.setenv("PAPERLIB_TTY", str(terminal))
    monkeypatch.setenv("PAPERLIB_NOTEBOOK", "01_one")
    assert list(runtime.progress(iter("ab"), "counting", total=2)) == ["a", "b"]
    assert "01_one counting" in terminal.read_text()
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("PAPERLIB_TTY", str(tmp_path / "gone" / "terminal"))
    assert list(runtime.progress("ab", "counting")) == ["a", "b"]


WATCHED = """
from IPython.display import display
from paperlib import runtime
shown, show = [], runtime.CellBar.display
runtime.CellBar.display = lambda bar, **given: shown.append(str(bar)) or show(bar, **given)
print("before")
for outer in runtime.progress("abcd", "outer"):
    list(runtime.progress(range(2), "inner"))
for step in runtime.progress("cd", "failing"):
    display(str("failing" in "".join(shown)))
    raise InterruptedError
"""


@pytest.mark.parametrize("batch", ["", "1"])
def test_a_saved_cell_holds_nothing_of_a_progress_bar(monkeypatch, batch):
    monkeypatch.setenv("PAPERLIB_BATCH", batch)
    monkeypatch.delenv("PAPERLIB_TTY", raising=False)
    cell = nbformat.v4.new_code_cell(WATCHED)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    before, there, error = [output for output in cell.outputs if output.get("data") != {}]
    assert len(cell.outputs) == 3 + (0 if batch else 2)  # one of the outer bar, one of the inner
    assert (before.text, error.ename) == ("before\n", "InterruptedError")
    assert there.data["text/plain"] == repr(str(not batch))  # there was one, while it ran
    assert "widgets" not in notebook.metadata


def test_peak_memory_grows_by_what_is_used():
    before = runtime.peak_memory()
    torch.ones(200 * 2**20, dtype=torch.uint8)
    assert before > 50 * 2**20
    assert runtime.peak_memory() >= before


def test_the_time_of_a_call_is_the_median_without_the_first(monkeypatch):
    clock = iter([0, 5, 10, 11, 20, 22])
    calls = []
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(clock))
    assert runtime.seconds_a_call(lambda: calls.append(1), at_least=8) == 2
    assert len(calls) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's C library")
def test_a_function_of_the_c_library():
    assert runtime.c_library("malloc_trim")(0) in (0, 1)
    assert runtime.c_library("no_such_function") is None


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_no_c_library_that_can_be_opened(monkeypatch, error):
    def refuse(name):
        raise error("no such library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert runtime.c_library("malloc_trim") is None


HOLDER = """
import contextlib, sys
import psutil
from paperlib.runtime import giving_back

def held():  # bytes that stay with the process when 100 MB are let go
    whole = bytes(2**25 - 2**20)  # after it the C library keeps blocks of up to that size
    del whole
    parts = [b"x" * 2**21 for _ in range(50)]
    last = b"x" * 2**22  # behind them, so that the heap does not end before it
    full = psutil.Process().memory_info().rss
    del parts
    return 100 * 2**20 - (full - psutil.Process().memory_info().rss)

with giving_back() if sys.argv[1] == "back" else contextlib.nullcontext():
    print(held())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux's C library")
def test_what_is_let_go_goes_back_at_once():
    kept, back = (
        int(
            subprocess.run(
                [sys.executable, "-c", HOLDER, how], capture_output=True, check=True
            ).stdout
        )
        for how in ("kept", "back")
    )
    assert kept > 50 * 2**20
    assert back < 10 * 2**20
