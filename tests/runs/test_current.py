"""What makes a published result stale and what does not, and how it is brought up to date."""

import json
import shutil
import time

import nbformat
import psutil
import pytest

BOTH = {"01_one", "02_two"}
EVENS = 'Even numbers are positive., quantity: the last,\n     unit: ones, check: {op: ">", value: '


def stale(project):
    """The parts that have changed, by notebook."""
    lines = [line.split(maxsplit=3) for line in project.check().stdout.splitlines()]
    return {line[1]: line[3] for line in lines if line[2] == "stale:"}


def test_what_is_published_is_current_and_fit_for_a_release(copy):
    done = copy.check("--release")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads((copy / "figures/default/01_one/provenance.json").read_text())
    assert made["commit"] == copy.git("rev-parse", "HEAD~1").strip()
    assert made["clean"] is True
    assert (made["threads"], made["device"]) == (1, "cpu")
    assert {"python", "torch", "numpy"} <= set(made["versions"])
    noted = (copy / "CHANGELOG.md").read_text()
    assert "- 01_one, default profile; changed: nothing that is recorded\n" in noted
    assert "  - `toy-evens`: not measured → 4, scaled-down\n" in noted
    figure = json.loads((copy / "figures/default/01_one/curve.json").read_text())
    assert figure["inputs"] == made["digest"]
    assert "✔\u00a02\u00a0hold" in (copy / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("paperlib/runs/scorecard.py", "import argparse\n", "import argparse  # words\n"),
        ("paperlib/runs/scorecard.py", "NONE = ", "NOTHING = 1\nNONE = "),
        ("paperlib/toy/arithmetic.py", "Twice a number.", "Two times a number."),
        ("paperlib/toy/arithmetic.py", "    return", "\n    # doubling\n    return"),
        ("notebooks/01_one.py", "# # A notebook", "# # Another title"),
        ("data/claims/toy.yaml", "Even numbers are positive.", "They are above nothing."),
        ("paperlib/toy/plots.py", "black", "red"),
        ("paperlib/notebook/figures.py", "DPI = 200", "DPI = 100"),
        ("notebooks/graph.yaml", "smoke: 200", "smoke: 300"),
    ],
)
def test_what_decides_no_value_makes_nothing_stale(copy, file, old, new):
    copy.edit(file, old, new)
    assert stale(copy) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("paperlib/toy/measure.py", "* count", "* (count + 0)", BOTH),
        ("paperlib/toy/arithmetic.py", "2 *", "3 *", BOTH),
        ("notebooks/01_one.py", "values[-1]", "values[-2]", {"01_one"}),
        ("data/checkpoints/small.txt", "7", "8", {"02_two"}),
        ("paperlib/runtime.py", "torch.manual_seed(seed)", "torch.manual_seed(1)", BOTH),
    ],
)
def test_what_decides_values_is_named(copy, file, old, new, found):
    copy.edit(file, old, new)
    assert stale(copy) == dict.fromkeys(found, file)


def test_another_notebooks_sizes_make_nothing_stale(copy):
    row = '"02_two": {"smoke": Sizes(3), "default": Sizes('
    copy.edit("paperlib/toy/sizes.py", f"{row}3", f"{row}5")
    assert stale(copy) == {"02_two": "sizes"}


def test_stale_results_are_marked_and_refused_for_a_release(copy):
    copy.edit("paperlib/toy/arithmetic.py", "2 *", "3 *")
    hidden = copy.check()
    assert hidden.returncode == 1
    assert "run ./run_all.sh scorecard" in hidden.stderr
    assert copy.python("paperlib.runs.check", "--mark").returncode == 0
    for page in ("README.md", "docs/claims.md"):
        assert "✔ scaled-down †" in (copy / page).read_text()
        assert "† from earlier code" in (copy / page).read_text()
    assert copy.check().returncode == 0
    released = copy.check("--release")
    assert released.returncode == 1
    assert "not fit for a release: 01_one (default), 02_two (default)" in released.stderr


def test_what_is_not_committed_is_not_published(copy):
    copy.edit("paperlib/toy/arithmetic.py", "2 *", "3 *")
    refused = copy.python("paperlib.runs.publish")
    assert refused.returncode == 1
    assert "01_one: commit what decides its values first" in refused.stderr
    copy.commit()
    copy.publish("--only", "01_one", "--because", "toy-evens: three times, not twice")
    assert set(stale(copy)) == {"02_two"}
    assert "→ 6, scaled-down; three times, not twice\n" in (copy / "CHANGELOG.md").read_text()
    claim = json.loads((copy / "figures/default/01_one/claims/toy-evens.json").read_text())
    assert claim["values"] == [6]


def test_a_figure_that_another_module_draws_is_run_anew(copy):
    """What drew the published one is gone, which must not keep it from being published again."""
    moved = copy / "paperlib/toy/line_plots.py"
    (copy / "paperlib/toy/plots.py").rename(moved)
    for name in ("01_one", "02_two"):
        line = "from paperlib.toy import measure, plots\n"
        two = "from paperlib.toy import line_plots as plots\nfrom paperlib.toy import measure\n"
        copy.edit(f"notebooks/{name}.py", line, two)
    assert set(stale(copy)) == BOTH
    copy.commit()
    copy.publish()
    about = json.loads((copy / "figures/default/01_one/curve.json").read_text())
    assert about["drawn_by"] == "paperlib.toy.line_plots"
    assert copy.check("--release").returncode == 0


def test_an_old_value_has_the_status_that_was_published_with_it(copy):
    """The check is raised above an old value before the value itself changes."""
    copy.edit("data/claims/toy.yaml", f"{EVENS}0", f"{EVENS}5")
    copy.edit("paperlib/toy/arithmetic.py", "2 *", "3 *")
    copy.commit()
    copy.publish("--only", "01_one")
    told = "`toy-evens`: 4, scaled-down (the check was > 0) → 6, scaled-down\n"
    assert told in (copy / "CHANGELOG.md").read_text()
    copy.edit("paperlib/toy/arithmetic.py", "3 *", "2 *")
    copy.commit()
    copy.publish("--only", "01_one")
    told = "`toy-evens`: 6, scaled-down → 4, disagrees\n"
    assert told in (copy / "CHANGELOG.md").read_text()


def test_looks_and_words_are_published_without_running(copy):
    picture = copy / "figures/default/01_one/curve.png"
    before, table = picture.read_bytes(), (copy / "figures/default/01_one/curve.csv").read_bytes()
    copy.edit("paperlib/toy/plots.py", "black", "red")
    copy.edit("paperlib/toy/plots.py", "A rising line.", "A red line.")
    copy.edit("data/claims/toy.yaml", "Even numbers are positive.", "They are above nothing.")
    assert "drawn otherwise today: curve" in copy.check().stdout
    copy.commit()
    done = copy.publish(TEST_BREAK="01_one")
    assert " ok " not in done.stdout
    assert picture.read_bytes() != before
    assert (copy / "figures/default/01_one/curve.csv").read_bytes() == table
    notebook = nbformat.read(copy / "notebooks/01_one.ipynb", as_version=4)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    picture, caption, claim, table = shown
    assert picture["metadata"]["image/png"]["alt"] == "A red line."
    assert caption["data"]["text/markdown"] == "*A red line.*"
    assert "They are above nothing." in claim["data"]["text/markdown"]
    assert "They are above nothing." in table["data"]["text/markdown"]
    assert copy.check("--release").returncode == 0


def test_more_threads_are_marked_and_not_published(copy):
    copy.edit("paperlib/toy/arithmetic.py", "2 *", "3 *")
    copy.commit()
    done = copy.python("paperlib.runs.publish", "--only", "01_one", PAPERLIB_THREADS="2")
    assert done.returncode == 1
    assert "01_one: ran with 2 threads: valid is 1" in done.stderr


def test_an_undeclared_file_is_refused(project):
    project.edit("notebooks/graph.yaml", "data: [checkpoints/small.txt]", "data: []")
    done = project.python("paperlib.runs.graph", "--profile", "smoke", "--only", "02_two")
    assert done.returncode == 1
    assert "data/checkpoints/small.txt is read, but notebooks/graph.yaml" in done.stdout


def test_an_archive_runs_and_records_no_commit(project):
    shutil.rmtree(project / ".git")
    done = project.python("paperlib.runs.graph", "--profile", "smoke", "--only", "01_one")
    assert done.returncode == 0, done.stderr
    made = (project / "outputs/smoke-openmoji-seed0/01_one/provenance.json").read_text()
    assert json.loads(made)["commit"] == "none"


def test_killed_alone_the_scheduler_leaves_no_runner_that_overwrites(project):
    words = ("paperlib.runs.graph", "--profile", "smoke", "--only", "01_one")
    process = project.start(*words, TEST_SLOW="01_one")
    run = project / "outputs/smoke-openmoji-seed0"
    while not [*run.glob(".01_one-*/01_one/begun")]:
        assert process.poll() is None
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    project.edit("notebooks/01_one.py", "values[-1]", "values[-2]")
    assert project.python(*words).returncode == 0
    assert json.loads((run / "01_one/claims/toy-evens.json").read_text())["values"] == [2]
    assert not [*run.glob(".01_one-*")]
