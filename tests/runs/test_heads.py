"""What a notebook's head says that a run took is what was measured, and nobody types it."""

import json
import re

import pytest

from paperlib.names import notebooks
from paperlib.notebook import provenance
from paperlib.paths import FIGURES, NOTEBOOKS
from paperlib.runs import heads

SOURCES = [NOTEBOOKS / f"{name}.py" for name in notebooks()]


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"cpu_seconds": 31, "peak_mb": 840}, "31 s of one core, 840 MB"),
        ({"cpu_seconds": 89, "peak_mb": 1}, "89 s of one core, 1 MB"),
        ({"cpu_seconds": 90, "peak_mb": 1}, "2 minutes of one core, 1 MB"),
        ({"cpu_seconds": 623, "peak_mb": 1526}, "10 minutes of one core, 1526 MB"),
    ],
)
def test_what_a_run_took(cost, said):
    assert heads.took(cost) == said


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_head_says_what_the_published_run_took(source):
    text = source.read_text(encoding="utf-8")
    (line,) = heads.LINE.findall(text)
    assert text.index(line) < text.index('# %% tags=["parameters"]')
    assert heads.current(source) == text
    cost = provenance.load(FIGURES / "default" / source.stem).get("cost")
    assert (f"default {heads.took(cost)}" if cost else "nothing yet") in line


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nobody_types_how_long_a_run_takes(source):
    head = source.read_text(encoding="utf-8").split('# %% tags=["parameters"]')[0]
    typed = heads.LINE.sub("", head)
    assert not re.search(r"\b\d+ (?:seconds|minutes|s|min)\b(?! each)", typed)


def test_publishing_writes_the_line_on_both_sides_of_the_pair(published):
    source = published / "notebooks/01_one.py"
    cost = provenance.load(published / "figures/default/01_one")["cost"]
    (line,) = heads.LINE.findall(source.read_text())
    assert line == f"{heads.START} default {heads.took(cost)}.*"
    cells = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    assert line.removeprefix("# ") in "".join(cells[0]["source"])
    assert any(cell.get("outputs") for cell in cells)


def test_another_cost_changes_the_line_and_only_it(tmp_path, monkeypatch):
    monkeypatch.setattr("paperlib.paths.FIGURES", tmp_path / "figures")
    source = tmp_path / "01_one.py"
    source.write_text(f"# # One\n#\n{heads.START} nothing yet.*\n\n# %%\nx = 1\n")
    for profile, seconds in (("default", 31), ("paper", 600)):
        (tmp_path / "figures" / profile / "01_one").mkdir(parents=True)
        made = {"cost": {"cpu_seconds": seconds, "peak_mb": 840}}
        (tmp_path / "figures" / profile / "01_one/provenance.json").write_text(json.dumps(made))
    assert heads.write(source) and not heads.write(source)
    assert source.read_text() == (
        f"# # One\n#\n{heads.START} default 31 s of one core, 840 MB; "
        "paper 10 minutes, 840 MB.*\n\n# %%\nx = 1\n"
    )
    source.write_text("# # Without the line\n")
    assert not heads.write(source)


def test_a_head_that_was_just_written_does_not_hinder_the_next_publication(copy):
    source = "notebooks/01_one.py"
    copy.edit(
        source, heads.START, f"{heads.START} something else,"
    )  # not committed, as after a run
    copy.publish("--only", "01_one")
    assert "something else" not in (copy / source).read_text()
    copy.edit(source, "values[-1]", "values[0]")
    done = copy.python("paperlib.runs.publish", "--only", "01_one")
    assert "01_one: commit what decides its values first" in done.stderr
