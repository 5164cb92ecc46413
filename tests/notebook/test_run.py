"""What a notebook's run does beside saving and checking (see `test_start`)."""

import subprocess
import sys

import pytest

from paperlib.notebook.run import GIVE_BACK_EVERY

HOLDER = """
from pathlib import Path

import psutil
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
from paperlib.notebook.run import Run

for _ in range(2):  # as when a person runs the first cell again
    Run("01_spectrum", "smoke", 0, "openmoji", {}, None, Path(), False, {})
shell.run_cell('''
import time
import psutil
parts = [b"x" * 2**16 for _ in range(4000)]  # 250 MiB
last = b"x" * 2**16  # behind them, so that the heap does not end before it
del parts
inside = psutil.Process().memory_info().rss
time.sleep(SECONDS)
later = psutil.Process().memory_info().rss
''')
callbacks = shell.events.callbacks["post_run_cell"]
after = psutil.Process().memory_info().rss
print(shell.user_ns["inside"], shell.user_ns["later"], after, len(callbacks))
"""


def measured(seconds):
    """Memory in bytes within a cell that has freed 250 MiB, so much later in it, and after it."""
    code = HOLDER.replace("SECONDS", str(seconds))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *found, callbacks = map(int, done.stdout.split())
    assert callbacks == 1
    return found


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux keeps memory")


@LINUX
def test_after_a_cell_what_it_freed_goes_back_to_the_system():
    inside, later, after = measured(0)
    assert inside - after > 200 * 2**20
    assert inside - later < 2**20  # it is the end of the cell that gives it back


@LINUX
def test_a_long_cell_gives_back_while_it_runs():
    inside, later, _ = measured(2 * GIVE_BACK_EVERY)
    assert inside - later > 200 * 2**20
