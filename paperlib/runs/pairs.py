"""A notebook's ``.py`` and ``.ipynb``: which of them counts where they differ.

What has changed since the last commit decides, never the time of a file: where one side alone was
edited it counts, the other is written from it, and that is said; where both were, a person chooses.

``python -m paperlib.runs.pairs`` settles all of them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paperlib.files import FileError
from paperlib.names import notebooks
from paperlib.paths import NOTEBOOKS
from paperlib.runs.command import command

Cells = list[tuple[str, str, tuple[str, ...]]]  # kind, source and tags of each


def cells(text: str, suffix: str) -> Cells:
    """What a person writes in a notebook, of the text of its ``.py`` or ``.ipynb``.

    Raises:
        ValueError: it is no notebook.
    """
    if suffix == ".py":
        import jupytext  # here: it is slow, and needed only where a notebook was edited

        read: list[Any] = jupytext.reads(text, fmt="py:percent").cells
    else:
        read = json.loads(text)["cells"]
    return [
        (
            cell["cell_type"],
            "".join(cell["source"]),
            tuple(cell["metadata"].get("tags", ())),
        )
        for cell in read
    ]


def edited(source: Path) -> list[str]:
    """Which of ``.py`` and ``.ipynb`` differ from the last commit; none where they say the same.

    What has never been committed counts as edited, where the two differ.

    Raises:
        FileError: one of them is no notebook.
    """
    files = [source, source.with_suffix(".ipynb")]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    committed = {file: _committed(file) for file in files}
    if texts == committed:
        return []
    now = {file: _cells(file, texts[file]) for file in files}
    if now[files[0]] == now[files[1]]:
        return []
    then = {file: text and _cells(file, text) for file, text in committed.items()}
    return [file.suffix for file in files if now[file] != then[file]]


def _cells(file: Path, text: str) -> Cells:
    try:
        return cells(text, file.suffix)
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{file}: not a notebook: {error}") from None


def _committed(file: Path) -> str | None:
    """A file's text in the last commit; None where there is none."""
    words = ["git", "-C", str(file.parent), "show", f"HEAD:./{file.name}"]
    try:
        done = subprocess.run(words, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8")


def settle(names: Iterable[str], folder: Path = NOTEBOOKS) -> None:
    """Write the side that was not edited from the one that was, and say so.

    Raises:
        FileError: both were edited; with the two commands that choose.
    """
    both = []
    for name in names:
        source = folder / f"{name}.py"
        if not source.with_suffix(".ipynb").is_file():
            continue
        sides = edited(source)
        if len(sides) == 2:
            both.append(f"notebooks/{name}.py and notebooks/{name}.ipynb")
        elif sides:
            counts, other = source.with_suffix(sides[0]), _other(sides[0])
            pair(counts, source.with_suffix(other))
            print(f"{name}: its {sides[0]} alone was edited; its {other} now says the same")
    if both:
        jupytext_here = f"{sys.executable} -m jupytext"
        raise FileError(
            f"both were edited since the last commit: {'; '.join(both)}. Choose one of each:\n"
            f"  the .py counts:     {jupytext_here} --update --to ipynb notebooks/NAME.py\n"
            f"  the .ipynb counts:  {jupytext_here} --to py:percent notebooks/NAME.ipynb"
        )


def _other(suffix: str) -> str:
    return ".ipynb" if suffix == ".py" else ".py"


def pair(counts: Path, other: Path) -> None:
    """Write one side of a pair from the other; outputs of an ``.ipynb`` stay.

    Args:
        counts: ``.py`` or ``.ipynb``.
        other: in the same folder, of the other kind.

    Raises:
        FileError: jupytext failed.
    """
    to = ["--update", "--to", "ipynb"] if counts.suffix == ".py" else ["--to", "py:percent"]
    words = [sys.executable, "-m", "jupytext", "--quiet", *to]
    done = subprocess.run(
        [*words, "--output", other.name, counts.name],
        cwd=counts.parent,
        env=os.environ | {"PYTHONUTF8": "1"},  # notebooks are UTF-8, whatever the terminal takes
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["jupytext failed"])[-1]
        raise FileError(f"{other}: {last}")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    settle(notebooks())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
