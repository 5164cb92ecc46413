"""The layout of the house: which room may import which, so that every arrow points down."""

import re

import pytest

from paperlib.code import imports
from paperlib.names import notebooks
from paperlib.paths import NOTEBOOKS, ROOT

PACKAGE = ROOT / "paperlib"
TOUR = "00_tour"  # the one notebook that shows every paper
NO_PAPER = {"sweeps"}  # a room with sizes, of which no paper tells
SHARED = {"ground", "data", "models", "notebook"}
ALLOWED = {  # a room, and the rooms that it may import
    "ground": set(),
    "data": {"ground"},
    "models": {"data", "ground"},
    "notebook": {"data", "ground"},
    "runs": {"sweeps", "notebook", "models", "data", "ground"},
    "freq.your_model": SHARED | {"freq"},
    "pedsam.split": SHARED,
    "pedsam.remote": SHARED | {"pedsam.split"},
    "pedsam.small_sam": SHARED | {"pedsam.split"},
    "pedsam.attacks": SHARED | {"pedsam.split", "pedsam.small_sam"},
}


def papers():
    """Packages with sizes of their own: each is a paper."""
    return {file.parent.name for file in PACKAGE.glob("*/sizes.py")}


def allowed(room):
    """The rooms that a room may import; a paper's own files may import its rooms below them."""
    if room in papers():
        inner = [name for name in ALLOWED if name.startswith(f"{room}.")]
        return SHARED | {name for name in inner if room not in ALLOWED[name]}
    return ALLOWED[room]


def room_of(file):
    """The room that a file of paperlib stands in."""
    return ".".join(file.relative_to(PACKAGE).parts[:-1]) or "ground"


def arrows():
    """Every import between two rooms, as (file, room, file, room)."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for imported in sorted(imports(file)):
            rooms = room_of(file), room_of(imported)
            if rooms[0] != rooms[1] and imported.name != "__init__.py":
                yield file, rooms[0], imported, rooms[1]


def test_every_room_is_known():
    rooms = {room_of(file) for file in PACKAGE.rglob("*.py")}
    assert rooms - papers() == set(ALLOWED)
    assert {"freq", "d4c", "pedsam"} <= papers()


def test_every_arrow_points_down():
    wrong = [
        f"{file.relative_to(ROOT)} imports {imported.relative_to(ROOT)}"
        for file, room, imported, other in arrows()
        if other not in allowed(room)
    ]
    assert wrong == []


def test_only_what_draws_or_shows_imports_the_room_of_the_notebooks():
    found = {
        (file.stem, imported.stem)
        for file, room, imported, other in arrows()
        if other == "notebook" and room not in ("runs", "notebook")
    }
    assert {stem.rpartition("_")[2] for stem, _ in found} <= {"plots", "explorer"}
    assert {stem for _, stem in found} <= {"figures"}


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_imports_one_paper_and_nothing_that_runs_notebooks(name):
    rooms = {room_of(file) for file in imports(NOTEBOOKS / f"{name}.py")}
    assert "runs" not in rooms
    imported = {room.split(".")[0] for room in rooms} & papers()
    assert len(imported) <= 1 or (name == TOUR and imported == papers() - NO_PAPER)


def test_the_map_of_readme_shows_every_folder_and_module_and_no_other():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^## How the house works\n+```\n(.*?)^```", readme, re.M | re.S)
    seen = {file.parent for file in PACKAGE.glob("*/*.py")} | {ROOT / "outputs"}
    seen |= {file.parent for file in (PACKAGE / "pedsam").glob("*/*.py")}
    seen |= {place for place in ROOT.iterdir() if place.is_dir() and place.name[0] not in "._"}
    due = {place.name for place in seen if not place.name.endswith(".egg-info")}
    assert set(re.findall(r"\b(\w+)/", shown)) == due
    (modules,) = re.findall(r"^ +(.*?) +the ground$", shown, re.M)
    assert set(modules.split(", ")) == {file.stem for file in PACKAGE.glob("[!_]*.py")}


def test_the_reader_of_imports_sees_an_upward_arrow(tmp_path):
    file = tmp_path / "upward.py"
    file.write_text("def f():\n    from paperlib.runs import graph\n")
    assert PACKAGE / "runs" / "graph.py" in imports(file)
    file.write_text("import paperlib.freq.dct as dct\n")
    assert PACKAGE / "freq" / "dct.py" in imports(file)
