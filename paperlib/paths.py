"""Where things are: the project's folders, the cache of downloads, the outputs of runs."""

import os
from pathlib import Path

import platformdirs

from paperlib.names import ROOT

DATA = ROOT / "data"
CHECKPOINTS = DATA / "checkpoints"
CLAIMS = DATA / "claims"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"


def cache_dir() -> Path:
    """Folder for downloads: ``$PAPERLIB_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("PAPERLIB_CACHE") or platformdirs.user_cache_dir("paperlib"))


def outputs_dir() -> Path:
    """Folder for what runs write: ``$PAPERLIB_OUTPUTS``, else ``outputs`` in the project."""
    return Path(os.environ.get("PAPERLIB_OUTPUTS") or ROOT / "outputs")


def run_folder(profile: str, dataset: str, seed: int) -> str:
    """Name of the folder of one run's results, below the outputs."""
    return f"{profile}-{dataset}-seed{seed}"
