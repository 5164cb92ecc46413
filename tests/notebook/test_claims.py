import json
import statistics
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import yaml

from paperlib import paths, profiles
from paperlib.notebook import claims
from paperlib.notebook.claims import Check, ClaimError, load_claims, load_measurements, measure
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
    "notebook": "01_first",
}
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
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    second = ROW | {"id": "a-2", "reported": 10, "source": "Table 2"}
    second["check"] = {"op": "within", "value": 10, "tolerance": 1}
    write_claims(tmp_path, [ROW, second])
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
        ("smoke", "openmoji", 0.1, "scaled-down"),
        ("paper", "cifar10", -0.1, "disagrees"),
        ("default", "openmoji", 0, "disagrees"),
    ],
)
def test_status_of_profile_data_and_check(project, profile, dataset, value, status):
    measurement = take([value], folder=project, profile=profile, dataset=dataset)
    assert measurement.status == status


def test_the_check_holds_for_the_mean_and_the_spread_is_the_sample_deviation(project):
    values = [0.3, -0.1, 0.4, 0.2]
    measurement = take(values, folder=project)
    assert measurement.mean == pytest.approx(np.mean(values))
    assert measurement.std == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert measurement.status == "scaled-down"
    assert measurement.note == "not clear of the threshold in 1 of 4 seeds"


def test_seeds_on_the_passing_side_of_a_failing_mean_are_told_too(project):
    measurement = take([9.5, 12.5, 13], claim="a-2", folder=project, note="few images")
    assert measurement.status == "disagrees"
    assert measurement.note == "few images; not clear of the threshold in 1 of 3 seeds"


def test_nothing_is_said_where_every_seed_agrees(project):
    assert take([0.1, 0.2, 0.3], folder=project).note == ""
    assert take([0.1], folder=project).std is None


def test_what_is_written_is_what_is_read_and_holds_mean_and_deviation(project):
    measurement = take([1 / 3, 0.25], folder=project / "run")
    file = project / "run" / "claims" / "a-1.json"
    fields = json.loads(file.read_text())
    assert fields["values"] == [0.333333, 0.25]
    assert fields["mean"] == pytest.approx(statistics.fmean([0.333333, 0.25]), abs=1e-6)
    assert fields["std"] == pytest.approx(statistics.stdev([0.333333, 0.25]), abs=1e-6)
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
    with pytest.raises(ClaimError, match=message):
        take(**({"values": [0.1], "folder": project / "run"} | changes))
    assert not (project / "run").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("values", [0.5], "mean: says 0.1, but .* 0.5; run notebook 01_first again"),
        ("std", 0.3, "std: says 0.3"),
        ("status", "reproduced", "status: says reproduced, but .* scaled-down"),
        ("status", "done", "status: "),
        ("claim", "gone", "claim: unknown id 'gone'"),
        ("extra", 1, "extra: "),
        ("mean", None, "mean: says None"),
    ],
)
def test_a_measurement_that_was_edited_is_refused(project, field, value, message):
    take([0.1], folder=project)
    file = project / "claims" / "a-1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(ClaimError, match=rf"a-1\.json: {message}"):
        load_measurements([project], load_claims())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_measurement_is_named(project, text):
    (project / "claims" / "a-1.json").write_text(text)
    with pytest.raises(ClaimError, match=r"a-1\.json: not a measurement"):
        load_measurements([project], load_claims())


def test_two_runs_of_a_profile_are_not_mixed(project):
    take([0.1], folder=project / "one")
    take([0.2], folder=project / "two")
    with pytest.raises(ClaimError, match="two.*a-1.json: claim: a-1 was measured .* in .*one"):
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
    ],
)
def test_a_wrong_claim_is_named_by_file_and_field(tmp_path, changes, message):
    write_claims(tmp_path, [ROW | changes])
    with pytest.raises(ClaimError, match=rf"x\.yaml: .*{message}"):
        load_claims(tmp_path / "claims")


@pytest.mark.parametrize("field", sorted(ROW))
def test_every_field_of_a_claim_is_required(tmp_path, field):
    write_claims(tmp_path, [{key: value for key, value in ROW.items() if key != field}])
    with pytest.raises(ClaimError, match=rf"x\.yaml: .*{field}: Field required"):
        load_claims(tmp_path / "claims")


def test_an_id_stands_once_in_all_files(tmp_path):
    write_claims(tmp_path, [ROW])
    write_claims(tmp_path, [ROW], name="y.yaml")
    with pytest.raises(ClaimError, match=r"y\.yaml: claim a-1: id: stands twice"):
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


@pytest.mark.parametrize("text", ["", "claims: 1", "- a", "claims: [", "claims: [1]"])
def test_a_file_that_holds_no_list_of_claims_is_named(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ClaimError, match=r"x\.yaml: "):
        load_claims(tmp_path)


def test_a_folder_without_claims_is_named(tmp_path):
    with pytest.raises(ClaimError, match="no claims"):
        load_claims(tmp_path)


def test_the_scorecard_has_a_row_a_claim_and_a_status_a_profile(project):
    take([0.1, 0.2, 0.3], folder=project / "d")
    take([12, 12.5], claim="a-2", folder=project / "p", profile="paper", dataset="cifar10")
    table = scorecard.scorecard([project / "d", project / "p", project / "missing"])
    assert list(table.index) == ["a-1", "a-2"]
    assert list(table["default status"]) == ["scaled-down", "not run"]
    assert list(table["paper status"]) == ["not run", "disagrees"]
    assert list(table["default measured"]) == ["0.200 ± 0.100", "–"]
    assert list(table["paper measured"]) == ["–", "12.2 ± 0.4"]
    assert list(table["reported"]) == ["–", "10 (Table 2)"]
    assert list(table["check"]) == ["> 0", "10 ± 1"]


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
    assert scorecard.measured_text(claim, take(values, folder=project)) == shown


def test_a_value_beside_the_limit_does_not_round_onto_it(project):
    claim = load_claims()["a-2"]
    measurement = take([11.0004], claim="a-2", folder=project)
    assert measurement.status == "disagrees"
    assert scorecard.measured_text(claim, measurement) == "11.0004"


def test_a_profile_that_the_scorecard_does_not_show_is_refused(project):
    take([0.1], folder=project, profile="smoke")
    with pytest.raises(ClaimError, match="a-1: profile: smoke"):
        scorecard.markdown([project])


def test_the_markdown_tells_value_status_scale_data_and_note(project):
    take([0.3, -0.1, 0.4], folder=project, note="a|b")
    rows = [line for line in scorecard.markdown([project]).splitlines() if "A is larger" in line]
    assert len(rows) == 2
    for part in (
        "0.200 ± 0.265",
        "**scaled-down**",
        RUN["scale"],
        RUN["source"],
        r"a\|b",
        "1 of 3",
        "(notebooks/01_first.ipynb)",
    ):
        assert part in rows[0]
    assert rows[0].replace(r"\|", "").count("|") == 7
    assert rows[0].endswith("| not run |")
    assert "1 scaled-down, 1 not run; paper profile: 2 not run" in scorecard.markdown([project])


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_plain_table_fits_the_terminal(project, width):
    take([0.3, -0.1, 0.4], folder=project, note="word " * 30)
    for shown in (("default",), ("default", "paper")):
        text = scorecard.plain([project], shown, width)
        assert max(map(len, text.splitlines())) <= width
        assert "scaled-down" in text and "1 of 3 seeds" in text


def readme(folder, block="stale text"):
    file = folder / "README.md"
    file.write_text(f"# Title\n\n{scorecard.BEGIN}\n{block}\n{scorecard.END}\n\nRest\n")
    return file


def test_write_replaces_the_block_only_and_check_then_passes(project, capsys):
    take([0.1], folder=project / "figures" / "default" / "01_first")
    file = readme(project)
    assert scorecard.main(["check", str(file)]) == 1
    assert "stale; run ./run_all.sh publish" in capsys.readouterr().err
    assert "stale text" in file.read_text()
    assert scorecard.main(["write", str(file)]) == 0
    text = file.read_text()
    assert text.startswith(f"# Title\n\n{scorecard.BEGIN}\n")
    assert text.endswith(f"\n{scorecard.END}\n\nRest\n")
    assert "0.100, **scaled-down**" in text and "stale text" not in text
    assert scorecard.main(["check", str(file)]) == 0
    assert scorecard.main(["write", str(file)]) == 0
    assert file.read_text() == text


def test_check_fails_after_a_measurement_or_a_claim_changed(project):
    folder = project / "figures" / "paper" / "01_first"
    file = readme(project)
    scorecard.main(["write", str(file)])
    take([0.1], folder=folder, profile="paper", dataset="cifar10")
    assert scorecard.main(["check", str(file)]) == 1
    scorecard.main(["write", str(file)])
    assert "**reproduced**" in file.read_text()
    write_claims(project, [ROW | {"statement": "A is much larger."}])
    assert scorecard.main(["check", str(file)]) == 1


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
def test_a_readme_without_its_marks_fails_and_stays(project, capsys, text):
    file = project / "README.md"
    file.write_text(text)
    assert scorecard.main(["write", str(file)]) == 1
    assert "README.md: expected" in capsys.readouterr().err
    assert file.read_text() == text


def test_a_missing_readme_or_run_is_named(project, capsys):
    assert scorecard.main(["check", str(project / "NO.md")]) == 1
    assert "NO.md: no such file" in capsys.readouterr().err
    assert scorecard.main(["show", "--run", str(project / "no")]) == 1
    assert "no: no such folder" in capsys.readouterr().err
    assert scorecard.main(["show", "--run", str(project)]) == 1
    assert "no measurement" in capsys.readouterr().err


def test_show_prints_the_profile_of_the_run(project, capsys):
    take([0.1], folder=project / "run" / "01_first", profile="smoke")
    assert scorecard.main(["show", "--run", str(project / "run")]) == 0
    shown = capsys.readouterr().out
    assert "smoke profile: 1 scaled-down, 1 not run" in shown and "paper profile" not in shown


def test_the_command_starts_without_torch_and_pandas():
    code = (
        "import sys; from paperlib.runs import scorecard; scorecard.main(['show']);"
        "sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    command = [sys.executable, "-m", "paperlib.runs.scorecard", "show"]
    shown = subprocess.run(command, cwd=paths.ROOT, capture_output=True, check=True)
    assert b"freq-5-rank" in shown.stdout


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
        "freq-5-rank",
        "freq-jpeg",
        "freq-lowpass",
    }
    assert {claim.dataset for claim in loaded.values()} <= set(scorecard.DATASET_NAMES)


def test_the_statuses_are_these_four():
    assert get_args(claims.Status) == ("reproduced", "scaled-down", "disagrees", "not run")


def test_profiles_and_data_sets_are_those_of_the_notebooks():
    assert get_args(claims.Profile) == profiles.PROFILES
    assert set(scorecard.DATASET_NAMES) == {*profiles.DATASETS, "cifar10-jpeg"}
    assert {claim.notebook for claim in load_claims(paths.CLAIMS).values()} <= set(profiles.SIZES)
