"""A wrong file is one sentence in every command; any terminal takes what they print."""

import subprocess

import pytest

TARGET = ("--target", "outputs/here", "-p", "profile", "smoke")
COMMANDS = {
    "graph": ("graph", "--profile", "smoke"),
    "check": ("check",),
    "publish": ("publish",),
    "write": ("check", "--mark"),
    "runner": ("runner", "01_one", *TARGET),
}
ASCII = {
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "C",
}


def sentence(done: subprocess.CompletedProcess) -> str:
    """The one line that a command printed to stderr before it ended with exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_claims_are_one_sentence_in_every_command(project, command):
    project.edit("data/claims/toy.yaml", "notebook: 02_two", "notebook: 03_three")
    said = sentence(project.python(f"paperlib.runs.{COMMANDS[command][0]}", *COMMANDS[command][1:]))
    assert said.endswith(
        f"{project / 'data/claims/toy.yaml'}: claim toy-weights: notebook: "
        "there is no notebooks/03_three.py"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_table_is_one_sentence_in_every_command(project, command):
    (project / "notebooks/graph.yaml").write_bytes(b"01_one: \xff\n")
    said = sentence(project.python(f"paperlib.runs.{COMMANDS[command][0]}", *COMMANDS[command][1:]))
    assert f"{project / 'notebooks/graph.yaml'}: not UTF-8 at byte 8" in said


def test_wrong_claims_are_shown_by_no_scorecard(project):
    (project / "data/claims/toy.yaml").write_text("claims: [\n")
    said = sentence(project.python("paperlib.runs.scorecard"))
    assert said.startswith(f"{project / 'data/claims/toy.yaml'}: not YAML: line 2")


def test_wrong_claims_stop_a_notebook_at_its_start(project):
    project.edit("data/claims/toy.yaml", "id: toy-weights", "id: toy-evens")
    start = (
        "from paperlib.notebook.start import start; from paperlib.toy import sizes;"
        "start('01_one', sizes, profile='smoke', seed=0, dataset='openmoji')"
    )
    (project / "begin.py").write_text(start)
    done = project.python("begin")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith("toy.yaml: claim toy-evens: id: stands twice")
    assert last.startswith("paperlib.files.FileError: ")
    assert not (project / "outputs").exists()


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("graph", "outputs"),
        ("publish", "outputs"),
        ("runner", "outputs"),
    ],
)
def test_a_folder_that_takes_no_files_is_named(project, command, place):
    project.write(place, "a file in the place of the folder")
    said = sentence(project.python(f"paperlib.runs.{COMMANDS[command][0]}", *COMMANDS[command][1:]))
    assert said.startswith(str(project / place))
    assert said.endswith(": File exists")


def test_published_results_that_cannot_be_written_leave_the_old_notebook(copy):
    copy.edit("paperlib/toy/arithmetic.py", "2 *", "3 *")
    copy.git("rm", "-r", "--quiet", "figures")
    copy.write("figures", "a file in the place of the folder")
    copy.commit()
    before = (copy / "notebooks/01_one.ipynb").read_bytes()
    done = copy.python("paperlib.runs.publish", "--only", "01_one")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{copy / 'figures'}/default/.01_one.new")
    assert ": cannot write " in line
    assert (copy / "notebooks/01_one.ipynb").read_bytes() == before
    assert not [*(copy / "notebooks").glob(".*")]


def test_a_terminal_without_our_characters_changes_no_outcome(project):
    project.edit("data/claims/toy.yaml", "the last", "the last × ± 1 → ∞")
    project.edit("paperlib/toy/arithmetic.py", "Twice", "Twice, ×2,")
    project.commit()
    run = project.python("paperlib.runs.graph", "--only", "01_one", **ASCII)
    assert run.returncode == 0, run.stderr
    assert "the last ? ? 1 ? ?" in run.stdout
    assert run.stdout.splitlines()[0].split()[:2] == ["01_one", "ok"]
    published = project.python("paperlib.runs.publish", "--only", "01_one", **ASCII)
    assert published.returncode == 0, published.stderr
    assert "the last × ± 1 → ∞" in (project / "docs/claims.md").read_text(encoding="utf-8")
    for words in (("check",), ("scorecard",), ("check", "--mark")):
        done = project.python(f"paperlib.runs.{words[0]}", *words[1:], **ASCII)
        assert (done.returncode, done.stderr) == (0, ""), words


def test_a_failure_is_told_to_a_terminal_without_our_characters(project):
    project.edit("data/claims/toy.yaml", "notebook: 02_two}", "colour×: red}")
    said = sentence(project.python("paperlib.runs.check", **ASCII))
    assert "colour?" in said
