"""A small project of its own: the real paperlib, a toy paper with two notebooks, a repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paperlib.paths import ROOT
from paperlib.runs.pages import BLOCKS

NOTEBOOK = """# %% [markdown]
# # A notebook
#
# *Measured when published: nothing yet.*

# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
from paperlib.notebook.start import start
from paperlib.toy import sizes

run = start("{name}", sizes, profile=profile, seed=seed, dataset=dataset)

# %%
import os
import time

import pandas as pd

from paperlib.toy import measure, plots

# %%
if os.environ.get("TEST_SLOW") == "{name}":
    (run.folder / "begun").touch()
    time.sleep(60)
if os.environ.get("TEST_BREAK") == "{name}":
    raise ValueError("broken on purpose")
values = measure.{values}(run.sizes.count)

# %%
run.save_figure(plots.curve, pd.DataFrame({{"x": range(len(values)), "y": values}}))

# %%
run.check("toy-{values}", values[-1], scale="all", source="counted")

# %%
run.claims_table()
"""
TOY = {
    "paperlib/toy/__init__.py": '"""A toy paper."""\n',
    "paperlib/toy/sizes.py": '''"""Sizes of the toy paper."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How many values."""

    count: int


SIZES = {
    "01_one": {"smoke": Sizes(3), "default": Sizes(3), "paper": Sizes(4)},
    "02_two": {"smoke": Sizes(3), "default": Sizes(3), "paper": Sizes(4)},
}
DATASETS = {"01_one": ("openmoji", "cifar10"), "02_two": ("openmoji", "cifar10")}
''',
    "paperlib/toy/measure.py": '''"""What the toy paper measures."""

from paperlib.paths import DATA
from paperlib.toy.arithmetic import double


def evens(count: int) -> list[int]:
    """The first even numbers."""
    return [double(number) for number in range(count)]


def weights(count: int) -> list[int]:
    """The weight of the checkpoint, again and again."""
    return [int((DATA / "checkpoints" / "small.txt").read_text())] * count
''',
    "paperlib/toy/arithmetic.py": '''"""Arithmetic."""


def double(number: int) -> int:
    """Twice a number."""
    return 2 * number
''',
    "paperlib/toy/plots.py": '''"""Figures of the toy paper."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure


def curve(table: pd.DataFrame) -> Figure:
    """A rising line."""
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.plot(table.x, table.y, color="black")
    ax.set(xlabel="x", ylabel="y")
    return figure
''',
    "data/checkpoints/small.txt": "7",
    "data/claims/toy.yaml": """
paper: Nobody 2000
dataset: cifar10
reported: null
source: nowhere
claims:
  - {id: toy-evens, where: here, statement: Even numbers are positive., quantity: the last,
     unit: ones, check: {op: ">", value: 0}, notebook: 01_one}
  - {id: toy-weights, where: here, statement: Weights are positive., quantity: the last,
     unit: ones, check: {op: ">", value: 0}, notebook: 02_two}
""",
    "notebooks/graph.yaml": """
01_one: {package: toy, data: [], memory: {smoke: 200, default: 200, paper: 200},
  minutes: {smoke: 1, default: 1, paper: 1}}
02_two: {package: toy, data: [checkpoints/small.txt],
  memory: {smoke: 200, default: 99999999, paper: 200}, minutes: {smoke: 1, default: 1, paper: 1}}
""",
    "notebooks/01_one.py": NOTEBOOK.format(name="01_one", values="evens"),
    "notebooks/02_two.py": NOTEBOOK.format(name="02_two", values="weights"),
    "README.md": "# Title\n"
    + "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in BLOCKS),
    ".gitignore": "outputs/\n__pycache__/\n.snakemake/\n",
}
COPIED = (
    "run_all.sh",
    "requirements.lock",
    "requirements-cpu.lock",
    "pyproject.toml",
    "notebooks/Snakefile",
    "docs/conf.py",
    "docs/_static/site.css",
)


class Project:
    """A small project in a folder of its own, committed to a repository there."""

    def __init__(self, folder: Path) -> None:
        ignored = shutil.ignore_patterns("__pycache__", "freq", "d4c", "pedsam")
        shutil.copytree(ROOT / "paperlib", folder / "paperlib", ignore=ignored)
        for name in COPIED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.folder = folder
        for name, text in TOY.items():
            self.write(name, text)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, text: str) -> None:
        """Write one of its files."""
        (self / name).parent.mkdir(parents=True, exist_ok=True)
        (self / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands in one of its files."""
        text = (self / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def git(self, *words: str) -> str:
        """Run git there as somebody; returns what it prints."""
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
        command = ["git", "-C", str(self.folder), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "All")

    def environment(self, **more: str) -> dict[str, str]:
        """As a user's, with nothing of this project's set, and the project's own paperlib."""
        ours = ("PAPERLIB_", "OMP_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"} | more

    def start(self, *words: str, **more: str) -> subprocess.Popen:
        """Start ``python -m`` with some words there."""
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, *words: str, **more: str) -> subprocess.CompletedProcess:
        """Run ``python -m`` with some words there."""
        process = self.start(*words, **more)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def check(self, *words: str) -> subprocess.CompletedProcess:
        """Whether its published results are current."""
        return self.python("paperlib.runs.check", "--profile", "default", *words)

    def publish(self, *words: str, **more: str) -> subprocess.CompletedProcess:
        """Publish its default results; fails if that fails."""
        done = self.python("paperlib.runs.publish", *words, **more)
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The small project with its default results published and committed."""
    project = Project(tmp_path_factory.mktemp("published") / "project")
    project.publish()
    project.commit()
    return project


@pytest.fixture
def copy(published, tmp_path):
    """A copy of that, to change."""
    shutil.copytree(published.folder, tmp_path / "copy")
    copied = Project.__new__(Project)
    copied.folder = tmp_path / "copy"
    return copied
