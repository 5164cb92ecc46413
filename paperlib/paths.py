"""Where things are: the project's folders, the cache of downloads, the outputs of runs.

Imports the standard library alone and runs under any Python from 3.9.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from paperlib.names import ROOT

INSTALLED = Path(__file__).parent / "_data"  # where a wheel has what is in data/
DATA = INSTALLED if INSTALLED.is_dir() else ROOT / "data"
CHECKPOINTS = DATA / "checkpoints"
CLAIMS = DATA / "claims"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"


def cache_dir() -> Path:
    """Folder for downloads: ``$PAPERLIB_CACHE``, else ``paperlib`` in the user's cache folder."""
    if named := os.environ.get("PAPERLIB_CACHE"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "paperlib"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paperlib"


def outputs_dir() -> Path:
    """Folder for what runs write: ``$PAPERLIB_OUTPUTS``, else ``outputs`` in the project."""
    return Path(os.environ.get("PAPERLIB_OUTPUTS") or ROOT / "outputs")


def run_folder(
    profile: str, dataset: str, seed: int, changes: Mapping[str, object] | None = None
) -> str:
    """Name of the folder of one run's results, below the outputs; `changes` are of its sizes."""
    text = "".join(f"-{name}={value}" for name, value in sorted((changes or {}).items()))
    text = re.sub(r"[^\w.=-]+", "_", text)
    if len(text) > 100:  # of the 255 that a name may have
        text = f"-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return f"{profile}-{dataset}-seed{seed}{text}"
