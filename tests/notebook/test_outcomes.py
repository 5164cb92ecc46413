"""The text of an outcome: rounded to what was measured, with all that must be known beside it."""

from pathlib import Path

import pytest
import yaml

from paperlib import paths
from paperlib.notebook.claims import load_claims, measure
from paperlib.notebook.outcomes import measured_text, notes, outcome, outcomes

ROW, SECOND = yaml.safe_load((Path(__file__).parents[1] / "claims.yaml").read_text())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with claims a-1 (> 0), a-2 (within 10 ± 1) and b-1 of another notebook."""
    monkeypatch.setattr(paths, "CLAIMS", tmp_path)
    other = ROW | {"id": "b-1", "notebook": "02_rct", "statement": "Not here."}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"claims": [ROW, SECOND, other]}))
    return tmp_path


def take(values, claim="a-1", folder=None, **changes):
    run = {"profile": "default", "dataset": "openmoji", "seed": 0, "scale": "20", "source": "here"}
    return measure(claim, values, folder=folder, **(run | changes))


def test_nothing_is_said_where_every_draw_agrees(project):
    assert notes(load_claims()["a-1"], take([0.15, 0.2, 0.25], folder=project)) == []
    assert take([0.1], folder=project).std is None


def test_draws_on_the_passing_side_of_a_failing_mean_are_told_too(project):
    values = [*[13.0] * 5, 10.9]
    measurement = take(values, claim="a-2", folder=project, note="few images")
    claim = load_claims()["a-2"]
    assert claim.status(measurement) == "disagrees"
    assert notes(claim, measurement) == [
        "few images",
        "not clear of the threshold in 1 of 6 draws",
    ]


def test_the_interval_over_draws_that_decides_nothing_is_told(project):
    """Even where every draw is clear of the threshold."""
    claim = load_claims()["a-1"]
    measurement = take([0.1, 0.2, 0.6], folder=project)
    assert claim.status(measurement) == "undecided"
    assert notes(claim, measurement) == ["over 3 draws -0.357 to 0.957 share (95 %)"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.123456], "0.123"),
        ([123.456], "123"),
        ([0], "0"),
        ([-0.00001], "-0.00001"),
        ([0.0041, 0.03, -0.03], "0.0014 ± 0.0301"),
        ([98.76, 97.1], "97.9 ± 1.2"),
    ],
)
def test_numbers_are_rounded_to_what_they_can_say(project, values, shown):
    claim = load_claims()["a-1"]
    assert measured_text(claim, take(values, folder=project)) == shown


def test_a_value_beside_the_limit_does_not_round_onto_it(project):
    claim = load_claims()["a-2"]
    measurement = take([11.0004], claim="a-2", folder=project)
    assert claim.status(measurement) == "disagrees"
    assert measured_text(claim, measurement) == "11.0004"


def test_an_interval_is_shown_with_what_it_is_over(project):
    measured = take([0.5], folder=project, interval=(0.25, 1), over="variants")
    shown = measured_text(load_claims()["a-1"], measured)
    assert shown == "0.500 [0.250, 1.000] (95 % over variants)"


def test_the_interval_of_a_mean_of_zero_keeps_its_digits(project):
    measured = take([0], folder=project, interval=(-0.0108, 0.0165), over="photographs")
    shown = measured_text(load_claims()["a-1"], measured)
    assert shown == "0.0000 [-0.0108, 0.0165] (95 % over photographs)"
    nothing = take([0], folder=project, interval=(0, 0), over="draws")
    assert measured_text(load_claims()["a-1"], nothing) == "0 [0, 0] (95 % over draws)"


def test_the_outcome_tells_claim_value_and_status(project):
    claim = load_claims()["a-1"]
    text = outcome(claim, take([0.15, 0.2, 0.25], folder=project))
    assert text == (
        "**A is larger.** (Table 1) A minus B: 0.200 ± 0.050 (share), must be > 0 → **scaled-down**"
    )


def test_the_outcomes_of_a_notebook_are_sentences_and_a_table(project):
    take([12], claim="a-2", folder=project)
    rows = outcomes("01_spectrum", project).splitlines()
    assert rows[:3] == [
        "- Not measured: A is larger.",
        "- **It does not hold** here: A is larger.",
        "",
    ]
    assert rows[5:] == [
        "| A is larger. | – | > 0 (share) | – | not run |",
        "| A is larger. | 10 | 10 ± 1 (share) | 12.0 | disagrees |",
    ]
