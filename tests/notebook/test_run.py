"""What a notebook's run does beside saving and checking (see `test_start`)."""

import subprocess
import sys

import pytest

HOLDER = """
from pathlib import Path

import psutil
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
from paperlib.notebook.run import Run

for _ in range(2):  # as when a person runs the first cell again
    Run("01_spectrum", "smoke", 0, "openmoji", {}, None, Path(), False, {})
shell.run_cell('''
import psutil
parts = [b"x" * 2**16 for _ in range(4000)]  # 250 MiB
last = b"x" * 2**16  # behind them, so that the heap does not end before it
del parts
inside = psutil.Process().memory_info().rss
''')
callbacks = shell.events.callbacks["post_run_cell"]
print(shell.user_ns["inside"], psutil.Process().memory_info().rss, len(callbacks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux keeps what is freed")
def test_after_a_cell_what_it_freed_goes_back_to_the_system():
    done = subprocess.run(
        [sys.executable, "-c", HOLDER], capture_output=True, text=True, check=True
    )
    inside, after, callbacks = map(int, done.stdout.split())
    assert inside - after > 200 * 2**20
    assert callbacks == 1
