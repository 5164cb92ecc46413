"""The scorecard as text: it fits the terminal, and shows the profiles that were run."""

from pathlib import Path

import pytest
import yaml

from paperlib import paths
from paperlib.notebook.claims import load_claims, measure
from paperlib.runs import scorecard

ROW, SECOND = yaml.safe_load((Path(__file__).parents[1] / "claims.yaml").read_text())
RUN = {"dataset": "openmoji", "seed": 0, "scale": "20 images, 3 seeds", "source": "scenes"}


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


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_plain_table_fits_the_terminal(project, width):
    measured = take(project, 10 * [0.3, -0.1, 0.4], note="word " * 30)
    for shown in (("default",), ("default", "paper")):
        found = {("a-1", "default"): measured}
        text = scorecard.plain(load_claims(), found, shown, width)
        assert max(map(len, text.splitlines())) <= width
        assert "scaled-down" in text
        assert "10 of 30 draws" in text


def test_a_profile_that_is_not_published_is_refused(project, capsys):
    measure("a-1", [0.1], folder=project / "figures/default/01_spectrum", profile="smoke", **RUN)
    assert scorecard.main([]) == 2
    assert "a-1: profile: smoke has no place" in capsys.readouterr().err


def test_a_missing_run_is_named(project, capsys):
    assert scorecard.main(["--run", str(project / "no")]) == 2
    assert capsys.readouterr().err == f"{project / 'no'}: no such folder\n"


def test_show_prints_the_profile_of_the_run(project, capsys):
    folder = project / "run" / "01_spectrum"
    measure("a-1", [0.1], folder=folder, profile="smoke", **RUN)
    assert scorecard.main(["--run", str(project / "run")]) == 0
    shown = capsys.readouterr().out
    assert "smoke profile: 1 not run, 1 no status" in shown
    assert "paper profile" not in shown
    take(project, [0.1], profile="paper")
    assert scorecard.main([]) == 0
    assert "paper profile: 1 scaled-down, 1 not run" in capsys.readouterr().out
    scorecard.show([project / "run"], ["02_rct"])
    assert capsys.readouterr().out == ""
