"""The line in a notebook's head that says what its published runs took; `publish` writes it.

It begins with `START` and is a line of its own of the notebook's ``.py``, so that nobody types what
a run measured. A notebook without the line keeps its head as it is.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from paperlib import paths
from paperlib.files import write_files
from paperlib.names import PROFILES
from paperlib.notebook import provenance

START = "# *Measured when published:"
LINE = re.compile(rf"^{re.escape(START)}.*$", re.MULTILINE)


def took(cost: Mapping[str, int]) -> str:
    """Time and memory of a run, of what `provenance` has of it: such as "31 s of one core, 840 MB".

    The time is that of all processors together; the memory is the largest of the kernel and all
    that it started, each page counted once.
    """
    minutes = cost["cpu_seconds"] / 60
    time = f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{cost['cpu_seconds']} s"
    return f"{time} of one core, {cost['peak_mb']} MB"


def measured(name: str) -> str:
    """The line of a notebook as it should be today."""
    found = []
    for profile in PROFILES:
        if cost := provenance.load(paths.FIGURES / profile / name).get("cost"):
            words = took(cost)  # what its time is of stands once, so that the line is no longer
            found.append(f"{profile} {words.replace(' of one core', '') if found else words}")
    said = "; ".join(found) or "nothing yet; `run_all.sh` prints time and memory of a run"
    return f"{START} {said}.*"


def current(source: Path) -> str:
    """The text of a notebook's ``.py`` with that line as it should be today.

    Raises:
        FileError: a provenance is damaged.
    """
    return LINE.sub(lambda _: measured(source.stem), source.read_text(encoding="utf-8"))


def write(source: Path) -> bool:
    """Write the line into a notebook's ``.py``; returns whether that changed it."""
    text = current(source)
    if text == source.read_text(encoding="utf-8"):
        return False
    write_files({source: text.encode()})
    return True
