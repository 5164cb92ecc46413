"""Claims and measurements: what counts as what, and what is wrong with a file."""

import json
import statistics
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from scipy import stats

from paperlib import paths
from paperlib.files import FileError
from paperlib.names import DATASETS, PROFILES
from paperlib.notebook import claims
from paperlib.notebook.claims import (
    Check,
    Claim,
    load_claims,
    load_measurements,
    measure,
)
from paperlib.notebook.outcomes import IN_WORDS, notes

ROW, SECOND = yaml.safe_load((Path(__file__).parents[1] / "claims.yaml").read_text())
RUN = {
    "profile": "default",
    "dataset": "openmoji",
    "seed": 0,
    "scale": "20 images, 3 seeds",
    "source": "OpenMoji scenes",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with claims a-1 (> 0) and a-2 (within 10 ± 1) and no measurement."""
    monkeypatch.setattr(paths, "CLAIMS", tmp_path / "claims")
    write_claims(tmp_path, [ROW, SECOND])
    return tmp_path


def write_claims(folder, rows, name="x.yaml", **shared):
    (folder / "claims").mkdir(exist_ok=True)
    text = yaml.safe_dump(shared | {"claims": rows})
    (folder / "claims" / name).write_text(text)


def take(values, claim="a-1", folder=None, **changes):
    return measure(claim, values, folder=folder, **(RUN | changes))


@pytest.mark.parametrize(
    ("op", "passes", "fails"),
    [
        (">", [0.51, 9.0], [0.5, 0.49]),
        ("<", [0.49, -9.0], [0.5, 0.51]),
        (">=", [0.5, 0.51], [0.49]),
        ("<=", [0.5, 0.49], [0.51]),
    ],
)
def test_a_check_is_its_inequality(op, passes, fails):
    check = Check(op=op, value=0.5)
    assert all(check.holds(value) for value in passes)
    assert not any(check.holds(value) for value in fails)


def test_within_is_on_both_sides():
    check = Check(op="within", value=10, tolerance=1)
    assert [check.holds(value) for value in (8.9, 9.0, 10.0, 11.0, 11.1)] == [
        False,
        *[True] * 3,
        False,
    ]


@pytest.mark.parametrize(
    ("profile", "dataset", "value", "status"),
    [
        ("paper", "cifar10", 0.1, "reproduced"),
        ("paper", "openmoji", 0.1, "scaled-down"),
        ("default", "cifar10", 0.1, "scaled-down"),
        ("smoke", "openmoji", 0.1, "no status"),
        ("smoke", "openmoji", -0.1, "no status"),
        ("paper", "cifar10", -0.1, "disagrees"),
        ("default", "openmoji", 0, "disagrees"),
    ],
)
def test_status_of_profile_data_and_check(project, profile, dataset, value, status):
    measurement = take([value], folder=project, profile=profile, dataset=dataset)
    assert load_claims()["a-1"].status(measurement) == status


def test_altered_data_is_another_data_set(project):
    measured = take([0.1], folder=project, profile="paper", dataset="cifar10", altered="JPEG")
    assert load_claims()["a-1"].status(measured) == "scaled-down"
    said = take(
        [0.1], folder=project, profile="paper", dataset="cifar10", note="JPEG, as published"
    )
    assert load_claims()["a-1"].status(said) == "reproduced"


@pytest.mark.parametrize(
    ("model", "status"), [("vit_b", "reproduced"), ("small", "scaled-down"), ("", "scaled-down")]
)
def test_another_model_than_the_papers_reproduces_nothing(project, model, status):
    measured = take([0.1], folder=project, profile="paper", dataset="cifar10", model=model)
    claim = load_claims()["a-1"].model_copy(update={"models": ("vit_b", "vit_h")})
    assert claim.status(measured) == status
    assert claim.status(measured.model_copy(update={"altered": "JPEG"})) == "scaled-down"


@pytest.mark.parametrize("where", ["claim 1 (abstract), our extension", "an extension: Table 2"])
def test_an_extension_of_the_papers_claims_reproduces_nothing(project, where):
    measured = take([0.1], folder=project, profile="paper", dataset="cifar10")
    claim = load_claims()["a-1"].model_copy(update={"where": where})
    assert claim.status(measured) == "scaled-down"
    wrong = measured.model_copy(update={"values": (-0.1,)})
    assert claim.status(wrong) == "disagrees"


def test_the_check_holds_in_student_s_interval_over_draws(project):
    """A mean alone decides nothing: 0.2 of four draws that differ, and of the same ten times."""
    values, claim = [0.3, -0.1, 0.4, 0.2], load_claims()["a-1"]
    measurement = take(values, folder=project)
    assert measurement.mean == pytest.approx(np.mean(values))
    assert measurement.std == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    ends = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert measurement.ends == pytest.approx(ends, rel=1e-5) and ends[0] < 0 < ends[1]
    assert claim.status(measurement) == "undecided"
    many = take(10 * values, folder=project)
    assert claim.status(many) == "scaled-down" and many.mean == measurement.mean
    assert notes(claim, many) == ["not clear of the threshold in 10 of 40 draws"]
    assert claim.status(take([-x for x in 10 * values], folder=project)) == "disagrees"
    single = take([0.2], folder=project)
    assert single.ends is None and claim.status(single) == "scaled-down"
    given = take(values, folder=project, interval=(0.1, 0.3), over="images")
    assert given.ends == (0.1, 0.3) and claim.status(given) == "scaled-down"


def test_what_is_written_is_what_is_read(project):
    measurement = take([1 / 3, 0.25], folder=project / "run")
    file = project / "run" / "claims" / "a-1.json"
    fields = json.loads(file.read_text())
    assert fields["values"] == [0.333333, 0.25]
    assert measurement.mean == pytest.approx(statistics.fmean([0.333333, 0.25]), abs=1e-6)
    assert measurement.std == pytest.approx(statistics.stdev([0.333333, 0.25]), abs=1e-6)
    assert {name: fields[name] for name in RUN} == RUN
    assert load_measurements([project], load_claims()) == {("a-1", "default"): measurement}
    assert [path.name for path in file.parent.iterdir()] == ["a-1.json"]


def test_a_second_run_writes_the_same_bytes(project):
    file = project / "claims" / "a-1.json"
    take([0.1, 0.2], folder=project)
    first = file.read_bytes()
    take([0.1, 0.2], folder=project)
    assert file.read_bytes() == first


def test_numpy_values_and_arrays_are_taken(project):
    values = np.array([0.5, 0.25], dtype=np.float32)
    assert take(values, folder=project).values == (0.5, 0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [0.1, float("nan")]}, r"a-1\.json: values\.1: .*finite"),
        ({"values": [float("inf")]}, r"a-1\.json: values\.0: .*finite"),
        ({"values": []}, r"a-1\.json: values: "),
        ({"profile": "papr"}, r"a-1\.json: profile: .*'smoke', 'default' or 'paper'"),
        ({"seed": -1}, r"a-1\.json: seed: "),
        ({"scale": ""}, r"a-1\.json: scale: "),
        ({"claim": "a-3"}, r"a-3\.json: claim: unknown id 'a-3'; valid are a-1, a-2"),
    ],
)
def test_a_wrong_measurement_is_refused_and_not_written(project, changes, message):
    with pytest.raises(FileError, match=message):
        take(**({"values": [0.1], "folder": project / "run"} | changes))
    assert not (project / "run").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("claim", "gone", "claim: unknown id 'gone'; valid are a-1, a-2"),
        ("extra", 1, "extra: Extra inputs"),
        ("values", ["0.1"], "values.0: "),
        ("profile", "big", "profile: "),
        ("altered", None, "altered: "),
    ],
)
def test_a_measurement_that_was_edited_is_refused(project, field, value, message):
    take([0.1], folder=project)
    file = project / "claims" / "a-1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(FileError, match=rf"a-1\.json: {message}"):
        load_measurements([project], load_claims())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_measurement_is_named(project, text):
    (project / "claims" / "a-1.json").write_text(text)
    with pytest.raises(FileError, match=r"a-1\.json: [^\n]+$"):
        load_measurements([project], load_claims())


def test_two_runs_of_a_profile_are_not_mixed(project):
    take([0.1], folder=project / "one")
    take([0.2], folder=project / "two")
    with pytest.raises(FileError, match="two.*a-1.json: claim: a-1 was measured .* in .*one"):
        load_measurements([project], load_claims())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": None}, "claim a-1: source: "),
        ({"note": "x"}, "claim a-1: note: Extra"),
        ({"reported": "0.5"}, "claim a-1: reported: "),
        ({"reported": float("inf")}, "claim a-1: reported: "),
        ({"statement": " "}, "claim a-1: statement: "),
        ({"id": "A 1"}, "claim A 1: id: "),
        ({"check": {"op": "=", "value": 0}}, "claim a-1: check.op: "),
        ({"check": {"op": ">", "value": float("nan")}}, "claim a-1: check.value: "),
        ({"check": {"op": "within", "value": 0}}, "claim a-1: check: .*tolerance"),
        ({"check": {"op": ">", "value": 0, "tolerance": 1}}, "claim a-1: check: .*tolerance"),
        ({"check": {"op": "within", "value": 0, "tolerance": -1}}, "check.tolerance: "),
        ({"notebook": "first"}, "claim a-1: notebook: "),
        ({"notebook": "99_none"}, "claim a-1: notebook: there is no notebooks/99_none.py"),
    ],
)
def test_a_wrong_claim_is_named_by_file_and_field(tmp_path, changes, message):
    write_claims(tmp_path, [ROW | changes])
    with pytest.raises(FileError, match=rf"x\.yaml: .*{message}"):
        load_claims(tmp_path / "claims")


@pytest.mark.parametrize("field", sorted(ROW))
def test_every_field_of_a_claim_is_required(tmp_path, field):
    write_claims(tmp_path, [{key: value for key, value in ROW.items() if key != field}])
    with pytest.raises(FileError, match=rf"x\.yaml: .*{field}: Field required"):
        load_claims(tmp_path / "claims")


def test_an_id_stands_once_in_all_files(tmp_path):
    write_claims(tmp_path, [ROW])
    write_claims(tmp_path, [ROW], name="y.yaml")
    with pytest.raises(FileError, match=r"y\.yaml: claim a-1: id: stands twice"):
        load_claims(tmp_path / "claims")


def test_claims_come_in_the_order_of_their_files_and_rows(tmp_path):
    names = [f"{letter}-{number}" for letter in "gbhaecfd" for number in (2, 1)]
    for second, first in zip(names[::2], names[1::2], strict=True):
        rows = [ROW | {"id": second}, ROW | {"id": first}]
        write_claims(tmp_path, rows, name=f"{first[0]}.yaml")
    due = [f"{letter}-{number}" for letter in "abcdefgh" for number in (2, 1)]
    assert list(load_claims(tmp_path / "claims")) == due


def test_what_stands_beside_the_claims_holds_for_every_row_that_does_not_say_otherwise(tmp_path):
    row = {key: value for key, value in ROW.items() if key not in ("paper", "source")}
    write_claims(tmp_path, [row, row | {"id": "a-2", "source": "own"}], paper="P", source="file")
    loaded = load_claims(tmp_path / "claims").values()
    assert [(claim.paper, claim.source) for claim in loaded] == [("P", "file"), ("P", "own")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "claims: expected a list of claims"),
        (b"claims: 1", "claims: expected a list of claims"),
        (b"- a", "claims: expected a list of claims"),
        (b"claims: [1]", "claim 1: id: "),
        (b"claims: [", "not YAML: line 1"),
        (b"claims: []\npaper: \xe9\n", "not UTF-8 at byte 18: save it as UTF-8"),
        (b"paper: a\npaper: b\nclaims: []\n", "not YAML: line 2: 'paper' stands twice"),
        (b"claims:\n- {id: a, id: b}\n", "not YAML: line 2: 'id' stands twice"),
    ],
)
def test_a_file_that_holds_no_list_of_claims_is_one_sentence(tmp_path, content, message):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(FileError, match=rf"x\.yaml: {message}") as failed:
        load_claims(tmp_path)
    assert "\n" not in str(failed.value)


def test_a_folder_without_claims_is_named(tmp_path):
    with pytest.raises(FileError, match="no claims"):
        load_claims(tmp_path)


def test_the_claims_of_the_frequency_paper():
    loaded = load_claims(paths.CLAIMS)
    assert {claim.id for claim in loaded.values() if claim.id.startswith("freq-")} == {
        "freq-1-training-data",
        "freq-1-linear",
        "freq-1-transfer",
        "freq-2-white-box",
        "freq-2-black-box",
        "freq-2-energy",
        "freq-3-natural-high",
        "freq-4-adversarial-low",
        "freq-4-second-data",
        "freq-2-second-data",
        "freq-5-rank",
        "freq-5-not-adversarial",
        "freq-5-given-clean",
        "freq-jpeg",
        "freq-lowpass",
        "freq-fourier",
        "freq-corruptions",
        "freq-band-attack",
    }
    assert {claim.dataset for claim in loaded.values()} <= {*DATASETS}


def test_the_statuses_are_these():
    assert get_args(claims.Status) == (
        *("reproduced", "scaled-down", "disagrees"),
        *("no stake", "undecided", "not run", "no status"),
    )


@pytest.mark.parametrize(
    ("mean", "stake", "status"),
    [
        (0.2, (3.0, 9.0), "scaled-down"),
        (-0.2, (3.1, 9.0), "disagrees"),
        (0.2, (-1.0, 2.9), "no stake"),
        (-0.2, (-9.0, -5.0), "no stake"),
        (0.2, (2.9, 9.0), "undecided"),
        (0.2, None, "scaled-down"),
    ],
)
def test_where_nothing_is_at_stake_nobody_wins(project, mean, stake, status):
    write_claims(project, [ROW | {"stake": 3.0}])
    measured = take([mean], folder=project, stake=stake)
    claim = load_claims()["a-1"]
    assert claim.status(measured) == status
    assert load_measurements([project], load_claims())["a-1", "default"] == measured
    text = "; ".join(notes(claim, measured))
    assert ("at stake" in text) == (stake is not None)
    if stake:
        assert f"at stake: {stake[0]:.3g} to {stake[1]:.3g} share (95 %)" in text
    write_claims(project, [ROW])  # a claim that asks for none
    assert load_claims()["a-1"].status(measured) in ("scaled-down", "disagrees")


@pytest.mark.parametrize(
    ("interval", "stake", "status"),
    [
        ((-9, -3.1), (-1, 2), "disagrees"),
        ((-9, -3.1), (-1, 9), "disagrees"),
        ((-9, -2.9), (-1, 2), "no stake"),
        ((-9, -2.9), (-1, 9), "undecided"),
        ((3.1, 9), (-1, 2), "no stake"),
    ],
)
def test_who_loses_by_more_than_the_stake_has_lost(project, interval, stake, status):
    """In either direction; a win by as much where nothing was at stake says nothing."""
    write_claims(project, [ROW | {"stake": 3.0}])
    mean = sum(interval) / 2
    measured = take([mean], folder=project, interval=interval, over="draws", stake=stake)
    claim = load_claims()["a-1"]
    assert claim.status(measured) == status
    turned = claim.model_copy(update={"check": Check(op="<", value=0)})
    ends = (-interval[1], -interval[0])
    mirrored = measured.model_copy(update={"interval": ends, "values": (-mean,)})
    assert turned.status(mirrored) == status


def test_the_interval_counts_where_there_is_a_stake(project):
    write_claims(project, [ROW | {"stake": 3.0}])
    there = take([0.2], folder=project, interval=(-1, 1), over="draws", stake=(4, 5))
    assert load_claims()["a-1"].status(there) == "undecided"
    with pytest.raises(FileError, match="stake begins with its lower end"):
        take([0.5], folder=project, stake=(2, 1))


@pytest.mark.parametrize(
    ("claim", "mean", "interval", "status"),
    [
        ("a-1", 0.2, (0.1, 0.3), "scaled-down"),
        ("a-1", 0.2, (-0.1, 0.5), "undecided"),
        ("a-1", -0.2, (-0.5, 0.1), "undecided"),
        ("a-1", -0.2, (-0.5, 0.0), "disagrees"),
        ("a-2", 10, (9.5, 10.5), "scaled-down"),
        ("a-2", 10, (8, 12), "undecided"),
        ("a-2", 10, (9.5, 12), "undecided"),
        ("a-2", 12, (11.5, 13), "disagrees"),
        ("a-2", 7, (6, 8), "disagrees"),
    ],
)
def test_an_interval_decides_or_does_not(project, claim, mean, interval, status):
    measured = take([mean], claim=claim, folder=project, interval=interval, over="variants")
    assert load_claims()[claim].status(measured) == status
    assert load_measurements([project], load_claims())[claim, "default"] == measured


@pytest.mark.parametrize(
    "wrong", [{"interval": (0, 1)}, {"over": "images"}, {"interval": (1, 0), "over": "images"}]
)
def test_an_interval_without_what_it_is_over_is_refused(project, wrong):
    with pytest.raises(FileError, match="interval"):
        take([0.5], folder=project, **wrong)


def test_profiles_are_those_of_the_project():
    assert get_args(claims.Profile) == PROFILES
    row = ROW | {"check": Check(**ROW["check"])}
    for profile in PROFILES:
        measured = claims.Measurement(
            claim="a-1", values=(1.0,), altered="", note="", **(RUN | {"profile": profile})
        )
        expected = "no status" if profile == "smoke" else "scaled-down"
        assert Claim(**row).status(measured) == expected


def test_every_status_says_something_of_a_claim():
    assert set(IN_WORDS) == set(get_args(claims.Status))
