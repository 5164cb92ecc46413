"""Where data and weights from outside the project are, and which of their files were read.

A data set is looked for where a loader's caller says, else where its variable says
(``$PAPERLIB_CIFAR10`` for "cifar10"), else in the cache of downloads. Loaders `note` the files that
they read, so that a result can record their checksums and be compared where the data is there.
"""

import functools
import os
from collections.abc import Iterable
from pathlib import Path

import pooch

from paperlib.paths import cache_dir

_noted: dict[str, set[Path]] = {}


def variable(dataset: str) -> str:
    """Name of the variable that says where a user's copy is, such as ``PAPERLIB_COCO``."""
    return f"PAPERLIB_{dataset.upper()}"


def given(dataset: str, source: Path | str | None = None) -> Path | None:
    """The file or folder that `source` or the variable names; None if neither does."""
    named = source or os.environ.get(variable(dataset))
    return Path(named).expanduser() if named else None


def place(dataset: str, source: Path | str | None = None) -> Path:
    """The file or folder to look in: `given`, else the data set's folder in the cache."""
    return given(dataset, source) or cache_dir() / dataset


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal; computed once while its size and time stay the same."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return pooch.file_hash(str(path))


def note(dataset: str, files: Iterable[Path]) -> None:
    """Remember that this process read these files of a data set."""
    _noted.setdefault(dataset, set()).update(path.resolve() for path in files)


def read() -> dict[str, dict[str, str]]:
    """What was read so far: of every data set, the names of the files and their SHA-256.

    Names are those below `place`; of a file elsewhere, its own name.
    """
    return {
        dataset: {_name(dataset, path): sha256(path) for path in sorted(files)}
        for dataset, files in sorted(_noted.items())
    }


def changed(recorded: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Which files are not those that were recorded by `read`, by data set.

    A data set of which none of the files is here is left out: nothing can be said of it.
    """
    found = {}
    for dataset, files in recorded.items():
        here = {name: path for name in files if (path := _path(dataset, name)).is_file()}
        if here:
            found[dataset] = [
                name for name in files if name not in here or sha256(here[name]) != files[name]
            ]
    return found


def _name(dataset: str, path: Path) -> str:
    root = place(dataset).resolve()
    below = path.is_relative_to(root) and path != root
    return path.relative_to(root).as_posix() if below else path.name


def _path(dataset: str, name: str) -> Path:
    root = place(dataset)
    return root if root.is_file() and root.name == name else root / name
