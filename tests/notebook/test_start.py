"""Parameters of a notebook, its frame, and running and publishing it."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import papermill
import pytest
import torch

from paperlib import profiles
from paperlib.notebook import start as notebook
from paperlib.notebook.parameters import ParameterError, assigned, check_parameters, injected
from paperlib.notebook.start import start
from paperlib.paths import ROOT
from paperlib.runs import publish, runner
from paperlib.runs.publish import PublishError, with_outputs
from paperlib.runs.runner import parameters_of, read_notebook

GIVEN = {"profile": "smoke", "seed": 0, "dataset": "openmoji"}
SOURCE = """# %% [markdown]
# # Title

# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
from paperlib.notebook.start import start

run = start("01_spectrum", profile=profile, seed=seed, dataset=dataset)
print(run.folder)
"""


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "01_spectrum.py"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERLIB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("PAPERLIB_BATCH", "1")
    return tmp_path / "outputs"


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
    for profile in profiles.PROFILES:
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


def test_start(outputs, monkeypatch):
    run = start("01_spectrum", **GIVEN)
    first = torch.rand(3)
    assert run.folder == outputs / "smoke-openmoji-seed0" / "01_spectrum"
    assert run.folder.is_dir()
    assert run.sizes == profiles.SIZES["01_spectrum"]["smoke"]
    start("01_spectrum", **GIVEN)
    assert torch.equal(torch.rand(3), first)
    monkeypatch.delenv("PAPERLIB_BATCH")
    by_hand = start("01_spectrum", **GIVEN)
    assert by_hand.folder == outputs / "by_hand" / "smoke-openmoji-seed0" / "01_spectrum"
    assert by_hand.interactive and not run.interactive


@pytest.mark.parametrize("changed", [{"profile": "big"}, {"seed": -1}, {"dataset": "mnist"}])
def test_start_refuses_wrong_values(outputs, changed):
    with pytest.raises(ParameterError, match="valid are"):
        start("01_spectrum", **GIVEN | changed)
    assert not outputs.exists()


def test_start_refuses_an_unknown_notebook(outputs):
    with pytest.raises(ParameterError, match="did you mean 01_spectrum"):
        start("01_spectrm", **GIVEN)


def test_start_refuses_what_papermill_injected_and_nobody_reads(outputs, monkeypatch):
    shell = SimpleNamespace(user_ns={"In": ["", "# Parameters\nprofil = 'smoke'\n"]})
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    with pytest.raises(ParameterError, match="unknown parameter profil: did you mean profile"):
        start("01_spectrum", **GIVEN)


def test_a_figure_is_saved_with_its_values_and_parameters(outputs):
    run = start("01_spectrum", **GIVEN)
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    run.save_figure(figure, "curve", pd.DataFrame({"y": [1, 2]}))
    plt.close(figure)
    assert {file.name for file in run.folder.iterdir()} == {"curve.png", "curve.csv", "curve.json"}
    assert '"profile": "smoke"' in (run.folder / "curve.json").read_text()


def test_a_claim_is_checked_and_shown(outputs, capsys):
    run = start("01_spectrum", **GIVEN)
    run.check("freq-1-linear", 0.7, scale="all", source="made up")
    table = run.claims_table()
    assert table.loc["freq-1-linear", "smoke status"] == "scaled-down"
    assert table.loc["freq-1-transfer", "smoke status"] == "not run"
    assert (run.folder / "claims" / "freq-1-linear.json").is_file()


def test_a_typo_through_plain_papermill(source, outputs, tmp_path, monkeypatch):
    monkeypatch.delenv("PAPERLIB_BATCH")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(papermill.PapermillExecutionError) as failed:
        papermill.execute_notebook(
            read_notebook(source), "out.ipynb", {"profil": "smoke"}, progress_bar=False
        )
    assert failed.value.ename == "ParameterError"
    assert "unknown parameter profil: did you mean profile?" in failed.value.evalue


def test_read_notebook(source, tmp_path):
    first, again = read_notebook(source), read_notebook(source)
    assert [cell.id for cell in first.cells] == [cell.id for cell in again.cells]
    assert len({cell.id for cell in first.cells}) == 3
    assert first.metadata.kernelspec.language == "python"
    assert parameters_of(first) == GIVEN | {"profile": "default"}
    with pytest.raises(ParameterError, match="did you mean 01_spectrum"):
        read_notebook(tmp_path / "01_spectrun.py")
    first.cells[1].metadata.tags = []
    with pytest.raises(ParameterError, match="no cell is tagged parameters"):
        parameters_of(first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["profle", "smoke"], "unknown parameter profle: did you mean profile? valid are profile,"),
        (["profile", "big"], "profile='big': valid are smoke, default, paper"),
        (["seed", "1.5"], "seed=1.5: valid are whole numbers"),
    ],
)
def test_the_runner_refuses_before_anything_runs(source, monkeypatch, capsys, given, message):
    monkeypatch.setattr(runner, "NOTEBOOKS", source.parent)
    output = source.parent / "out.ipynb"
    assert runner.main(["01_spectrum", "--output", str(output), "-p", *given]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


@pytest.fixture
def executed(source):
    """The notebook as if it had been run, one output a cell."""
    notebook = read_notebook(source)
    for count, cell in enumerate(notebook.cells[1:], 1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="hello\n")]
        cell.metadata["papermill"] = {"duration": 1}
    notebook.metadata["papermill"] = {"version": "2"}
    return notebook


def test_publishing_keeps_outputs_and_no_trace_of_the_run(source, executed):
    file = source.parent / "executed.ipynb"
    nbformat.write(executed, file)
    publish.publish(file, source)
    text = source.with_suffix(".ipynb").read_text()
    assert "papermill" not in text
    published = nbformat.reads(text, as_version=4)
    assert [cell.execution_count for cell in published.cells[1:]] == [1, 2]
    assert published.cells[2].outputs[0].text == "hello\n"
    assert published.cells[1].metadata == {"tags": ["parameters"]}


def test_publishing_refuses(source, executed):
    def refused(message):
        with pytest.raises(PublishError, match=message):
            with_outputs(read_notebook(source), executed, "01_spectrum")

    cell = executed.cells[2]
    cell.outputs[0].name = "stderr"
    refused(r"01_spectrum, cell \[2\] wrote to stderr or failed: hello")
    cell.outputs = [nbformat.v4.new_output("error", ename="E", evalue="bad", traceback=[])]
    refused("wrote to stderr or failed: bad")
    cell.outputs = [nbformat.v4.new_output("display_data", data={publish.WIDGET: {}})]
    refused("shows a widget")
    cell.execution_count = None
    refused("a cell was not run: from paperlib.notebook.start import start")
    executed.cells.insert(2, nbformat.v4.new_code_cell("# Parameters\nseed = 1"))
    refused("another source or other parameters")
    with pytest.raises(PublishError, match="is missing; run the default profile first"):
        publish.publish(source.parent / "none.ipynb", source)
