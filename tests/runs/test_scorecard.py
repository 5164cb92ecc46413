"""The scorecard: a row a claim, a status a profile, and never anything stale as current."""

import pytest
import yaml

from paperlib import paths
from paperlib.files import FileError
from paperlib.notebook.claims import load_claims, measure
from paperlib.runs import scorecard

ROW = {
    "id": "a-1",
    "paper": "Author 2020",
    "where": "Table 1",
    "statement": "A is larger.",
    "reported": None,
    "source": "unread",
    "quantity": "A minus B",
    "unit": "share",
    "check": {"op": ">", "value": 0},
    "dataset": "cifar10",
    "notebook": "01_spectrum",
}
SECOND = ROW | {
    "id": "a-2",
    "reported": 10,
    "source": "Table 2",
    "check": {"op": "within", "value": 10, "tolerance": 1},
}
RUN = {"dataset": "openmoji", "seed": 0, "scale": "20 images, 3 seeds", "source": "scenes"}
STALE = {("01_spectrum", "default")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with claims a-1 (> 0) and a-2 (within 10 ± 1) and no measurement."""
    for name in ("CLAIMS", "FIGURES", "ROOT"):
        place = tmp_path if name == "ROOT" else tmp_path / name.lower()
        monkeypatch.setattr(paths, name, place)
    write_claims(tmp_path, [ROW, SECOND])
    return tmp_path


def write_claims(folder, rows):
    (folder / "claims").mkdir(exist_ok=True)
    (folder / "claims" / "x.yaml").write_text(yaml.safe_dump({"claims": rows}))


def take(project, values, claim="a-1", profile="default", **changes):
    folder = project / "figures" / profile / "01_spectrum"
    return measure(claim, values, folder=folder, profile=profile, **(RUN | changes))


def rows(project, stale=()):
    """Cells of every row of the table."""
    lines = [line for line in scorecard.markdown(stale).splitlines() if "A is larger" in line]
    return [line.strip("| ").split(" | ") for line in lines]


def test_a_row_a_claim_and_a_status_a_profile(project):
    take(project, [0.1, 0.2, 0.3])
    take(project, [12, 12.5], claim="a-2", profile="paper", dataset="cifar10")
    first, second = rows(project)
    assert first[0] == "Author 2020"
    assert first[1] == "Table 1<br>[01_spectrum](notebooks/01_spectrum.ipynb)"
    assert first[3:] == [
        "–",
        "0.200 ± 0.100, **scaled-down**<br>20 images, 3 seeds<br>scenes",
        "not run",
    ]
    assert second[3:5] == ["10 (Table 2)", "not run"]
    assert second[5].startswith("12.2 ± 0.4, **disagrees**")


def test_what_was_altered_and_noted_is_said(project):
    changes = {"profile": "paper", "dataset": "cifar10", "altered": "JPEG", "note": "a|b"}
    take(project, [0.3, -0.1, 0.4], **changes)
    (cell,) = [row[-1] for row in rows(project) if "±" in row[-1]]
    assert "**scaled-down**" in cell
    assert "scenes (JPEG)" in cell
    assert r"a\|b" in cell
    assert cell.endswith("not clear of the threshold in 1 of 3 seeds")


def test_stale_results_are_marked_and_counted(project):
    take(project, [0.1])
    take(project, [0.1], profile="paper", dataset="cifar10")
    current = scorecard.markdown(())
    assert scorecard.EARLIER not in current
    assert "Default profile: 1 scaled-down, 1 not run; paper profile: 1 reproduced, 1" in current
    marked = scorecard.markdown(STALE)
    first, _ = rows(project, STALE)
    assert "**scaled-down** (from earlier code)" in first[4]
    assert "**reproduced**<br>" in first[5]
    assert "1 scaled-down, 1 not run, 1 from earlier code; paper" in marked
    assert scorecard.markdown({("02_rct", "default")}) == current


def test_a_profile_that_the_scorecard_does_not_show_is_refused(project):
    measure("a-1", [0.1], folder=project / "figures/default/01_spectrum", profile="smoke", **RUN)
    with pytest.raises(FileError, match="a-1: profile: smoke has no place"):
        scorecard.markdown(())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_plain_table_fits_the_terminal(project, width):
    measured = take(project, [0.3, -0.1, 0.4], note="word " * 30)
    for shown in (("default",), ("default", "paper")):
        found = {("a-1", "default"): measured}
        text = scorecard.plain(load_claims(), found, shown, width)
        assert max(map(len, text.splitlines())) <= width
        assert "scaled-down" in text
        assert "1 of 3 seeds" in text


def readme(folder, text=f"# Title\n\n{scorecard.BEGIN}\nold text\n{scorecard.END}\n\nRest\n"):
    file = folder / "README.md"
    file.write_text(text, encoding="utf-8")
    return file


def test_write_replaces_the_block_only_and_it_is_then_current(project):
    take(project, [0.1])
    file = readme(project)
    assert not scorecard.is_current(file, ())
    scorecard.write(file, ())
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{scorecard.BEGIN}\n")
    assert text.endswith(f"\n{scorecard.END}\n\nRest\n")
    assert "0.100, **scaled-down**" in text
    assert "old text" not in text
    assert scorecard.is_current(file, ())
    assert not scorecard.is_current(file, STALE)
    scorecard.write(file, ())
    assert file.read_text(encoding="utf-8") == text


def test_it_is_not_current_after_a_measurement_or_a_claim_changed(project):
    file = readme(project)
    scorecard.write(file, ())
    take(project, [0.1], profile="paper", dataset="cifar10")
    assert not scorecard.is_current(file, ())
    scorecard.write(file, ())
    assert "**reproduced**" in file.read_text(encoding="utf-8")
    write_claims(project, [ROW | {"statement": "A is much larger."}, SECOND])
    assert not scorecard.is_current(file, ())


@pytest.mark.parametrize(
    "text",
    [
        "none",
        scorecard.BEGIN,
        scorecard.END + scorecard.BEGIN,
        2 * (scorecard.BEGIN + scorecard.END),
        scorecard.BEGIN + scorecard.BEGIN + scorecard.END,
        scorecard.BEGIN + scorecard.END + scorecard.END,
    ],
)
def test_a_readme_without_its_marks_fails_and_stays(project, text):
    file = readme(project, text)
    with pytest.raises(FileError, match="README.md: expected one line"):
        scorecard.write(file, ())
    assert file.read_text(encoding="utf-8") == text


def test_a_missing_readme_or_run_is_named(project, capsys):
    with pytest.raises(FileError, match="NO.md: no such file"):
        scorecard.write(project / "NO.md", ())
    assert scorecard.main(["--run", str(project / "no")]) == 2
    assert capsys.readouterr().err == f"{project / 'no'}: no such folder\n"


def test_show_prints_the_profile_of_the_run(project, capsys):
    folder = project / "run" / "01_spectrum"
    measure("a-1", [0.1], folder=folder, profile="smoke", **RUN)
    assert scorecard.main(["--run", str(project / "run")]) == 0
    shown = capsys.readouterr().out
    assert "smoke profile: 1 scaled-down, 1 not run" in shown
    assert "paper profile" not in shown
    take(project, [0.1], profile="paper")
    assert scorecard.main([]) == 0
    assert "paper profile: 1 scaled-down, 1 not run" in capsys.readouterr().out
    scorecard.show([project / "run"], ["02_rct"])
    assert capsys.readouterr().out == ""
