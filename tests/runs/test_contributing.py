"""CONTRIBUTING.md, followed to the letter: a fourth paper beside the three, published alone."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from paperlib.names import DATASETS, notebooks
from paperlib.paths import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"`([\w/]+\.(?:py|yaml))`[^`]*```\w+\n(.*?)```", re.S)  # a file, its content
PARTS = """
import json
from paperlib.runs.table import read_table
print(json.dumps({
    name: entry.parts("default", entry.dataset("default"), 0)
    for name, entry in read_table().items() if entry.row.package != "echo"
}))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of this project with the papers' data in place, committed to a repository."""
    folder = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", ".ipynb_checkpoints")
    for name in ("paperlib", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "data").mkdir()
    for place in (ROOT / "data").iterdir():
        if place.name != "claims":
            (folder / "data" / place.name).symlink_to(place)
    shutil.copytree(ROOT / "data" / "claims", folder / "data" / "claims")
    for name in ("README.md", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def python(folder, *words):
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def parts(folder):
    done = python(folder, "-c", PARTS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def steps():
    """The files that the page adds, in its order, with their content."""
    return {name: text for name, text in BLOCK.findall(TEXT) if name != "notebooks/graph.yaml"}


def git(folder, *words):
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_a_fourth_paper_is_added_and_published_alone(house):
    before = parts(house)
    assert set(json.loads(before)) == set(notebooks())
    row = dict(BLOCK.findall(TEXT))["notebooks/graph.yaml"]
    files = steps()
    assert [*files] == [
        "paperlib/echo/sizes.py",
        "paperlib/echo/decay.py",
        "paperlib/echo/plots.py",
        "notebooks/17_echo.py",
        "data/claims/echo.yaml",
    ]

    def refused(*named):
        done = python(house, "-m", "paperlib.runs.graph", "--profile", "smoke", "--only", "17_echo")
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        for word in named:
            assert word in said, said

    (house / "notebooks/17_echo.py").write_text(files["notebooks/17_echo.py"])
    refused("graph.yaml", "17_echo has no row")
    with open(house / "notebooks/graph.yaml", "a") as table:
        table.write(f"\n{row}")
    refused("paperlib/echo/sizes.py is missing")
    (house / "paperlib/echo").mkdir()
    (house / "paperlib/echo/__init__.py").touch()
    sizes = files["paperlib/echo/sizes.py"]
    (house / "paperlib/echo/sizes.py").write_text(sizes.replace("DATASETS = ", "NONE = "))
    refused("paperlib/echo/sizes.py", "DATASETS lacks 17_echo")
    for name in ("sizes", "decay", "plots"):
        (house / f"paperlib/echo/{name}.py").write_text(files[f"paperlib/echo/{name}.py"])
    refused("data/claims", "unknown id 'echo-decays'")
    (house / "data/claims/echo.yaml").write_text(files["data/claims/echo.yaml"])
    assert parts(house) == before

    git(house, "init", "--quiet")
    git(house, "add", "--all")
    git(house, "commit", "--quiet", "--message", "All")
    done = python(house, "-m", "paperlib.runs.publish", "--only", "17_echo")
    assert done.returncode == 0, done.stderr
    assert [folder.name for folder in (house / "figures/default").iterdir()] == ["17_echo"]
    assert "An echo decays." in (house / "README.md").read_text()
    assert (house / "notebooks/17_echo.ipynb").is_file()


def test_every_file_that_the_page_names_is_there():
    named = set(re.findall(r"`((?:paperlib|notebooks|data|tests)/[\w/.]+)`", TEXT))
    named -= {name for name in named if "echo" in name or "PAPER" in name}
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name
    assert "openmoji" in DATASETS
