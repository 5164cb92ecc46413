"""Puts data/ (checkpoints, claims, lists) into a built wheel; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """Also copies data/, which stands beside the package in the repository, into it."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("data", Path(self.build_lib, "paperlib", "_data"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
