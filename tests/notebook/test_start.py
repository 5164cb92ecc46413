"""Parameters of a notebook, its start, and what its run saves and shows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import papermill
import pytest
import torch
from matplotlib.figure import Figure

from paperlib import paths
from paperlib.data import LabelledImages, external
from paperlib.files import FileError
from paperlib.freq import sizes
from paperlib.names import PROFILES
from paperlib.notebook import provenance
from paperlib.notebook import run as run_module
from paperlib.notebook import start as start_module
from paperlib.notebook.claims import load_claims, load_measurements
from paperlib.notebook.parameters import (
    ParameterError,
    _leaves,
    assigned,
    changed_row,
    check_parameters,
    chosen_profile,
    injected,
)
from paperlib.notebook.start import start
from paperlib.paths import ROOT
from paperlib.runs.runner import read_notebook
from paperlib.runs.table import read_table

GIVEN = {"profile": "smoke", "seed": 0, "dataset": "openmoji"}
SOURCE = """# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
from paperlib.freq import sizes
from paperlib.notebook.start import start

run = start("01_spectrum", sizes, profile=profile, seed=seed, dataset=dataset)
"""


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "_noted", {})  # what other tests have read is gone
    ours = ("PAPERLIB_BATCH", "PAPERLIB_FOLDER", "PAPERLIB_PROFILE", provenance.VARIABLE)
    for name in ours:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAPERLIB_OUTPUTS", str(tmp_path / "outputs"))
    threads = torch.get_num_threads()
    yield tmp_path / "outputs"
    torch.set_num_threads(threads)


@pytest.fixture
def shown(monkeypatch):
    """What a notebook displays: data and metadata."""
    found = []
    monkeypatch.setattr(
        run_module, "display", lambda data, metadata, raw: found.append((data, metadata))
    )
    return found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"profle": "smoke"}, r"unknown parameter profle: did you mean profile\? valid are prof"),
        ({"profile": "smok"}, r"profile='smok': did you mean smoke\? valid are smoke, default, "),
        ({"profile": ["smoke"]}, "valid are smoke, default, paper"),
        ({"dataset": "mnist"}, "dataset='mnist': valid are openmoji, cifar10"),
        ({"seed": -1}, "seed=-1: valid are whole numbers, 0 to 4294967295"),
        ({"seed": 2**32}, "valid are whole numbers"),
        ({"seed": True}, "valid are whole numbers"),
        ({"seed": "1"}, "seed='1': valid are whole numbers"),
    ],
)
def test_wrong_parameters(changed, message):
    with pytest.raises(ParameterError, match=message):
        check_parameters(GIVEN | changed, GIVEN)


def test_right_parameters():
    for profile in PROFILES:
        check_parameters(GIVEN | {"profile": profile, "seed": 2**32 - 1}, GIVEN)


def test_assigned():
    assert assigned("# note\na = 1\nb: str = 'x'\nc = [1, None]") == {
        "a": 1,
        "b": "x",
        "c": [1, None],
    }
    with pytest.raises(ParameterError, match="parameter a: expected a plain value"):
        assigned("a = b")
    with pytest.raises(ParameterError, match="expected NAME = VALUE, found 'import os'"):
        assigned("import os")


def test_only_cells_of_papermill_count_as_injected():
    history = ["", "x = 1", "# Parameters\na = 1\n", "print('# Parameters')", "# Parameters\na = 2"]
    assert injected(history) == {"a": 2}


def test_start_seeds_and_takes_the_profile_s_row(outputs):
    run = start("01_spectrum", sizes, **GIVEN)
    first = torch.rand(3)
    assert run.folder == outputs / "by_hand" / "smoke-openmoji-seed0" / "01_spectrum"
    assert run.folder.is_dir()
    assert run.sizes == sizes.SIZES["01_spectrum"]["smoke"]
    assert run.parameters == GIVEN
    assert run.interactive
    assert torch.get_num_threads() == 1
    assert start("01_spectrum", sizes, **GIVEN, count=3).parameters == GIVEN | {"count": 3}
    assert torch.equal(torch.rand(3), first)
    start("01_spectrum", sizes, **GIVEN | {"seed": 1})
    assert not torch.equal(torch.rand(3), first)


def test_start_in_a_batch_writes_where_the_runner_says(outputs, tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERLIB_BATCH", "1")
    monkeypatch.setenv("PAPERLIB_FOLDER", str(tmp_path / "there"))
    run = start("01_spectrum", sizes, **GIVEN)
    assert run.folder == tmp_path / "there"
    assert not run.interactive
    assert not outputs.exists()


@pytest.mark.parametrize("changed", [{"profile": "big"}, {"seed": -1}, {"dataset": "coco"}])
def test_start_refuses_wrong_values(outputs, changed):
    with pytest.raises(ParameterError, match="valid are"):
        start("01_spectrum", sizes, **GIVEN | changed)
    assert not outputs.exists()


def test_start_refuses_an_unknown_notebook(outputs):
    with pytest.raises(ParameterError, match="did you mean 01_spectrum"):
        start("01_spectrm", sizes, **GIVEN)
    assert not outputs.exists()


def test_start_refuses_wrong_claims(outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CLAIMS", tmp_path)
    (tmp_path / "x.yaml").write_text("claims: [")
    with pytest.raises(FileError, match="x.yaml: not YAML: line 1"):
        start("01_spectrum", sizes, **GIVEN)
    assert not outputs.exists()


def test_start_refuses_what_papermill_injected_and_nobody_reads(outputs, monkeypatch):
    shell = SimpleNamespace(user_ns={"In": ["", "# Parameters\nprofil = 'smoke'\n"]})
    monkeypatch.setattr(start_module, "get_ipython", lambda: shell)
    with pytest.raises(ParameterError, match="unknown parameter profil: did you mean profile"):
        start("01_spectrum", sizes, **GIVEN)


@pytest.mark.parametrize(
    ("given", "environment", "profile", "says"),
    [
        ({}, {}, "default", ""),
        ({}, {"PAPERLIB_PROFILE": ""}, "default", ""),
        ({}, {"PAPERLIB_PROFILE": "smoke"}, "smoke", "PAPERLIB_PROFILE counts, not the cell's de"),
        ({}, {"PAPERLIB_PROFILE": "smoke", "PAPERLIB_BATCH": "1"}, "default", ""),
        ({"profile": "default"}, {"PAPERLIB_PROFILE": "smoke"}, "default", "the parameter counts"),
        ({"seed": 1}, {"PAPERLIB_PROFILE": "smoke"}, "smoke", "PAPERLIB_PROFILE counts"),
    ],
)
def test_a_parameter_beats_the_variable_and_that_beats_the_cell(given, environment, profile, says):
    chosen, said = chosen_profile("default", given, environment)
    assert chosen == profile
    assert says in said and bool(says) == bool(said)


def test_a_profile_that_the_variable_names_is_taken_and_told(outputs, monkeypatch, capsys):
    monkeypatch.setenv("PAPERLIB_PROFILE", "smoke")
    run = start("01_spectrum", sizes, **GIVEN | {"profile": "paper"})
    assert run.profile == run.parameters["profile"] == "smoke"
    assert run.sizes == sizes.SIZES["01_spectrum"]["smoke"]
    assert run.folder == outputs / "by_hand" / "smoke-openmoji-seed0" / "01_spectrum"
    told = "Profile smoke: PAPERLIB_PROFILE counts, not the cell's paper.\n"
    assert capsys.readouterr().out == told
    monkeypatch.setenv("PAPERLIB_PROFILE", "smok")
    with pytest.raises(ParameterError, match="PAPERLIB_PROFILE='smok': did you mean smoke"):
        start("01_spectrum", sizes, **GIVEN)


@dataclass(frozen=True)
class Row:
    images: int
    rounds: int
    share: float
    kind: str
    servers: tuple[int, ...]
    steps: Mapping[str, Any]
    few: int = 2
    bits: Mapping[str, int] = field(default_factory=lambda: {"W4A8": 1})
    decisive: str = "W4A3"


ROWS = {
    "smoke": Row(2, 0, 0.5, "a", (1, 4), {"square": 10}),
    "default": Row(20, 3, 1, "b", (1, 16), {"square": 50, "fast": True}),
}


def test_sizes_are_changed_by_name():
    changes = {"images": 7, "rounds": 0, "share": 0.25, "kind": "b", "servers": [2, 4]}
    changes |= {"steps.fast": False}
    row = changed_row(ROWS, "smoke", changes)
    assert row == Row(7, 0, 0.25, "b", (2, 4), {"square": 10, "fast": False})
    assert ROWS["smoke"].steps == {"square": 10}
    assert changed_row(ROWS, "default", {}) == ROWS["default"]
    row = changed_row(ROWS, "smoke", {"bits.W2A8": 3, "decisive": "W8A2"})
    assert (row.bits, row.decisive) == ({"W4A8": 1, "W2A8": 3}, "W8A2")


D4C = ("10_limits", "12_quantization", "13_ablation", "14_deployment")


@pytest.mark.parametrize("name", D4C)
def test_encoders_are_chosen_by_a_word_or_a_list(name):
    rows = read_table()[name].sizes.SIZES[name]
    whole = rows["smoke"].encoders
    for given in ("vit", ["vit"], ("vit", "vit")):
        row = changed_row(rows, "smoke", {"encoders": given})
        assert row == replace(rows["smoke"], encoders={"vit": whole["vit"]})
    row = changed_row(rows, "smoke", {"encoders": ["vit", "resnet"]})
    assert list(row.encoders) == ["resnet", "vit"] and row == rows["smoke"]
    row = changed_row(rows, "smoke", {"encoders": "vit", "encoders.vit.images": 9})
    assert row.encoders == {"vit": {**whole["vit"], "images": 9}}
    for wrong in ("deep_vit", ["vit", "text"], [], {}, 1, [["vit"]], None):
        with pytest.raises(ParameterError, match="size encoders: .*valid is one of resnet, vit,"):
            changed_row(rows, "smoke", {"encoders": wrong})


def test_an_edge_may_be_slower_by_any_factor_above_0():
    rows = read_table()["09_latency"].sizes.SIZES["09_latency"]
    assert changed_row(rows, "smoke", {"edge_factors": [0.5, 2]}).edge_factors == (0.5, 2)
    with pytest.raises(ParameterError, match="size edge_factors: 0: valid are numbers above 0"):
        changed_row(rows, "smoke", {"edge_factors": [1.5, 0]})


def test_what_an_attack_may_change_is_a_size():
    rows = read_table()["02_rct"].sizes.SIZES["02_rct"]
    row = changed_row(rows, "smoke", {"epsilon.fgsm": 0.1, "epsilon.pgd_l2": 2})
    assert (row.epsilon["fgsm"], row.epsilon["pgd_l2"]) == (0.1, 2)
    assert row.epsilon["square"] == rows["smoke"].epsilon["square"]
    for name, value, most in (("fgsm", 0, 1), ("fgsm", 1.1, 1), ("pgd_l2", 56, 55)):
        with pytest.raises(ParameterError, match=f"{name}: {value}: valid are .*0, to {most}"):
            changed_row(rows, "smoke", {f"epsilon.{name}": value})
    with pytest.raises(ParameterError, match="size epsilon.cw_l2: "):  # it has none
        changed_row(rows, "smoke", {"epsilon.cw_l2": 0.5})


@pytest.mark.parametrize("name", ["06_partition", "08_privacy"])
def test_how_many_servers_share_an_image_is_a_size(name):
    rows = read_table()[name].sizes.SIZES[name]
    assert changed_row(rows, "smoke", {"sharing": [4, 9]}).sharing == (4, 9)
    for value, message in (([4, 1], "1: .*from 2 to 16"), ([2], "4 is needed"), ([4, 4], "once")):
        with pytest.raises(ParameterError, match=f"size sharing: .*{message}"):
            changed_row(rows, "smoke", {"sharing": value})


def test_less_than_its_part_is_refused():
    with pytest.raises(ParameterError, match="size few: 2 of images: 1"):
        changed_row(ROWS, "default", {"images": 1})


@pytest.mark.parametrize("name", read_table())
def test_the_profiles_are_in_their_own_ranges(name):
    rows = read_table()[name].sizes.SIZES[name]
    for profile, row in rows.items():
        changes = dict(_leaves(asdict(row)))
        assert changed_row(rows, profile, {k: v for k, v in changes.items() if v != ()}) == row


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image", 3, r"size image: did you mean images\? valid are images, rounds, share, kind, "),
        ("steps.round", 3, "size steps.round: .*valid are .*, steps.square, .*, steps.fast"),
        ("images", 0, "size images: 0: valid are whole numbers from 1"),
        ("images", True, "size images: True: valid are whole numbers from 1"),
        ("images", 2.5, "size images: 2.5: valid are whole numbers from 1"),
        ("rounds", -1, "size rounds: -1: valid are whole numbers from 0"),
        ("share", 0, "size share: 0: valid are numbers above 0"),
        ("share", float("inf"), "size share: inf: valid are numbers above 0"),
        ("kind", "c", "size kind: 'c': valid are a, b"),
        ("servers", [], "size servers: .*: valid is a list that is not empty"),
        ("servers", 4, "size servers: 4: valid is a list"),
        ("servers", [4, 0], "size servers: 0: valid are whole numbers from 1 to 25"),
        ("servers", [4, 26], "size servers: 26: valid are whole numbers from 1 to 25"),
        ("servers", [4, 8, 4], "size servers: .4, 8, 4.: each is valid once"),
        ("servers", [1, 2], "size servers: .1, 2.: 4 is needed among them"),
        ("images", 10**9, "size images: 1000000000: valid are whole numbers from 1 to 1000000"),
        ("share", float("nan"), "size share: nan: valid are numbers above 0"),
        ("share", 10**400, "size share: 1000"),
        ("few", 3, "size few: 3 of images: 2"),
        ("bits.W4A8", 0, "size bits.W4A8: 0: valid are whole numbers from 1"),
        ("bits.W1A8", 2, "size bits.W1A8: .*valid are .*bits.W4A8"),
        ("bits.W9A9", 2, "size bits.W9A9: "),
        ("decisive", "W4A9", "size decisive: 'W4A9': valid are W2A2 to W8A8"),
        ("decisive", 4, "size decisive: 4: valid are W2A2 to W8A8"),
        ("steps.fast", 1, "size steps.fast: 1: valid are true, false"),
        ("steps", {}, "size steps: "),
    ],
)
def test_sizes_out_of_their_range(name, value, message):
    with pytest.raises(ParameterError, match=message):
        changed_row(ROWS, "smoke", {name: value})


def test_start_takes_changed_sizes(outputs, monkeypatch):
    run = start("01_spectrum", sizes, **GIVEN, changes={"images": 30})
    row = sizes.SIZES["01_spectrum"]["smoke"]
    assert run.sizes == replace(row, images=30)
    assert run.parameters == GIVEN | {"changes": {"images": 30}}
    assert run.folder.parent == outputs / "by_hand" / "smoke-openmoji-seed0-images=30"
    shell = SimpleNamespace(user_ns={"In": ["# Parameters\nchanges = {'seeds': 2}\n"]})
    monkeypatch.setattr(start_module, "get_ipython", lambda: shell)
    assert start("01_spectrum", sizes, **GIVEN).sizes == replace(row, seeds=2)
    shell.user_ns["In"] = ["# Parameters\nchanges = 'seeds: 2'\n"]
    with pytest.raises(ParameterError, match="changes='seeds: 2': valid are new sizes by name"):
        start("01_spectrum", sizes, **GIVEN)
    shell.user_ns["In"] = ["# Parameters\nchanges = {'seeds': 0}\n"]
    with pytest.raises(ParameterError, match="size seeds: 0"):
        start("01_spectrum", sizes, **GIVEN)


def curve(table: pd.DataFrame) -> Figure:
    """A rising line."""
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.plot(table.y)
    return figure


def test_a_figure_is_saved_with_where_it_comes_from_and_shown(outputs, shown):
    run = start("01_spectrum", sizes, **GIVEN)
    run.save_figure(curve, pd.DataFrame({"y": [1, 2]}))
    assert {file.name for file in run.folder.iterdir()} == {
        "curve.csv",
        "curve.json",
        "curve.png",
        "provenance.json",
    }
    made = provenance.load(run.folder)
    assert made["parameters"] == GIVEN
    assert made["digest"] == "none"  # by hand: nothing decides that it is current
    assert json.loads((run.folder / "curve.json").read_text())["parameters"] == GIVEN
    (data, metadata), (beneath, about) = shown
    assert data["text/plain"] == "A rising line."
    assert data["image/png"]
    assert metadata == {"image/png": {"alt": "A rising line."}, "paperlib": {"figure": "curve"}}
    assert beneath["text/markdown"] == "*A rising line.*"
    assert about == {"paperlib": {"caption": "curve"}}


def test_a_sentence_is_shown_as_it_stands(outputs, shown):
    start("01_spectrum", sizes, **GIVEN).say("0.4, more than 0.3")
    ((data, metadata),) = shown
    assert data["text/markdown"] == data["text/plain"] == "0.4, more than 0.3"
    assert metadata == {"paperlib": {"said": "01_spectrum"}}


def test_a_claim_is_checked_and_shown(outputs, shown):
    run = start("01_spectrum", sizes, **GIVEN | {"profile": "default"})
    run.check("freq-1-linear", 0.7, scale="all", source="made up")
    run.claims_table()
    written = json.loads((run.folder / "claims/freq-1-linear.json").read_text())
    assert (written["values"], written["altered"]) == ([0.7], "")
    assert (run.folder / "provenance.json").is_file()
    (outcome, of_claim), (table, of_table) = shown
    assert outcome["text/markdown"].endswith("**scaled-down**")
    assert of_claim == {"paperlib": {"claim": "freq-1-linear"}}
    assert of_table == {"paperlib": {"claims": "01_spectrum"}}
    assert "| scaled-down |" in table["text/markdown"]
    assert "| not run |" in table["text/markdown"]


@pytest.mark.usefixtures("shown")
def test_what_was_done_to_the_data_goes_with_a_measurement(outputs):
    run = start("01_spectrum", sizes, **GIVEN)
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    data = LabelledImages(images, torch.tensor([0]), ("a",), "scenes", altered="JPEG")
    run.check("freq-1-linear", [0.7, 0.8], scale="all", source=data, model="linear", note="few")
    written = json.loads((run.folder / "claims/freq-1-linear.json").read_text())
    assert (written["source"], written["altered"]) == ("scenes", "JPEG")
    assert written["model"] == "linear"
    assert (written["values"], written["note"]) == ([0.7, 0.8], "few")


@pytest.mark.usefixtures("shown")
def test_a_measurement_has_the_data_set_that_was_measured(outputs):
    """On another than the paper's nothing is reproduced, whatever the run's parameter says."""
    run = start("04_robustness", sizes, profile="paper", seed=0, dataset="cifar10")
    claim, given = load_claims()["freq-5-rank"], {"scale": "all", "source": "made up"}
    for dataset, status in (("tiny_imagenet", "scaled-down"), ("", "reproduced")):
        run.check(claim.id, 0.7, dataset=dataset, **given)
        (measured,) = load_measurements([run.folder], load_claims()).values()
        assert measured.dataset == (dataset or "cifar10") and claim.status(measured) == status


@pytest.mark.usefixtures("shown")
def test_changed_sizes_go_with_a_measurement_and_leave_it_without_status(outputs, shown):
    given = GIVEN | {"profile": "default"}
    start("01_spectrum", sizes, **given).check("freq-1-linear", 1, scale="all", source="made up")
    run = start("01_spectrum", sizes, **given, changes={"images": 30, "seeds": 2})
    run.check("freq-1-linear", 1, scale="all", source="made up")
    written = json.loads((run.folder / "claims/freq-1-linear.json").read_text())
    assert written["changed"] == "images=30, seeds=2"
    first, second = (data["text/markdown"] for data, _ in shown)
    assert first.endswith("→ **scaled-down**")
    assert second.endswith("→ **no status**")


def test_a_typo_through_plain_papermill(outputs, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "01_spectrum.py").write_text(SOURCE)
    notebook = read_notebook(tmp_path / "01_spectrum.py")
    with pytest.raises(papermill.PapermillExecutionError) as failed:
        papermill.execute_notebook(notebook, "out.ipynb", {"profil": "smoke"}, progress_bar=False)
    assert failed.value.ename == "ParameterError"
    assert "unknown parameter profil: did you mean profile?" in failed.value.evalue
