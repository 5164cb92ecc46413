"""Where a result comes from, and writing it so that a killed run leaves no half a file.

A result records the versions of the packages and a hash of the package's source, not the git
commit: results are committed themselves, so a commit in them would be out of date as soon as they
are committed. `source_hash` changes with the code and with nothing else.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import paperlib

PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib")


def versions() -> dict[str, str]:
    """Version of Python, of this package and of every one in `PACKAGES` that is installed."""
    found = {"python": platform.python_version(), "paperlib": paperlib.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_hash(package: Path = Path(paperlib.__file__).parent) -> str:
    """First 16 hex digits of the SHA-256 over the package's Python files (names and text).

    Line endings do not count, so that a checkout on Windows gives the same hash.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).parts):
        text = path.read_text(encoding="utf-8")  # reads every line ending as \n
        digest.update(f"{path.relative_to(package).as_posix()}\0{text}\0".encode())
    return digest.hexdigest()[:16]


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files: all of them beside their place first, then each into place in one step.

    Folders are made where they are missing. A reader sees the old file or the new one, never a
    part; when writing fails, no file is replaced and nothing is left over.
    """
    ready: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            ready[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            ready[path].write_bytes(content)
        for path, temporary in ready.items():
            os.replace(temporary, path)
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)
