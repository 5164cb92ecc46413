"""Which side of a notebook counts where they differ: content since the last commit, no times."""

import json
import os
import shutil
import subprocess

import nbformat
import pytest

from paperlib.files import FileError
from paperlib.paths import ROOT
from paperlib.runs.pairs import edited, pair, settle

SOURCE = """# %% [markdown]
# # Title

# %% tags=["parameters"]
seed = 0

# %%
print("hello")  # words
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A repository with one notebook, its pair in step."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "notebooks").mkdir()
    source = folder / "notebooks/01_one.py"
    source.write_text(SOURCE)
    pair(source, source.with_suffix(".ipynb"))
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], ["add", "--all"], [*who, "commit", "-qm", "All"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def source(committed, tmp_path):
    shutil.copytree(committed, tmp_path / "copy")
    return tmp_path / "copy/notebooks/01_one.py"


def edit(source, old, new):
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))


def newer(file, than):
    changed = than.stat().st_mtime_ns + 10**12
    os.utime(file, ns=(changed, changed))


def test_what_nobody_edited_stays_whichever_file_is_newer(source, capsys):
    notebook = source.with_suffix(".ipynb")
    before = source.read_bytes(), notebook.read_bytes()
    for one, other in ((source, notebook), (notebook, source)):
        newer(one, than=other)
        settle(["01_one"], source.parent)
    assert (source.read_bytes(), notebook.read_bytes()) == before
    assert capsys.readouterr().out == ""


def test_outputs_and_metadata_are_no_edit(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="hello\n")]
    notebook.metadata["widgets"] = {}
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    assert edited(source) == []


@pytest.mark.parametrize("ours_is_older", [True, False])
def test_an_edit_in_the_ipynb_alone_counts_and_is_told(source, capsys, ours_is_older):
    notebook = source.with_suffix(".ipynb")
    edit(notebook, "hello", "good day")
    newer(*((source, notebook) if ours_is_older else (notebook, source)))
    settle(["01_one"], source.parent)
    assert 'print("good day")  # words' in source.read_text()
    assert "good day" in notebook.read_text()
    told = "01_one: its .ipynb alone was edited; its .py now says the same\n"
    assert capsys.readouterr().out == told
    settle(["01_one"], source.parent)
    assert capsys.readouterr().out == ""


def test_tags_and_text_are_edits_too(source):
    edit(source.with_suffix(".ipynb"), '"parameters"', '"hide"')
    assert edited(source) == [".ipynb"]
    edit(source.with_suffix(".ipynb"), '"hide"', '"parameters"')
    edit(source.with_suffix(".ipynb"), "# Title", "# Another")
    assert edited(source) == [".ipynb"]


def test_an_edit_in_the_py_alone_counts_and_outputs_stay(source, capsys):
    notebook = source.with_suffix(".ipynb")
    content = json.loads(notebook.read_text())
    content["cells"][1] |= {"execution_count": 7}
    notebook.write_text(json.dumps(content))
    edit(source, "hello", "good day")
    newer(notebook, than=source)
    settle(["01_one"], source.parent)
    written = json.loads(notebook.read_text())["cells"]
    assert "good day" in "".join(written[2]["source"])
    assert written[1]["execution_count"] == 7
    assert "its .py alone was edited" in capsys.readouterr().out


def test_where_both_were_edited_a_person_chooses(source, capsys):
    notebook = source.with_suffix(".ipynb")
    edit(source, "hello", "good day")
    edit(notebook, "hello", "good night")
    before = source.read_bytes(), notebook.read_bytes()
    with pytest.raises(FileError) as refused:
        settle(["01_one"], source.parent)
    first, py, ipynb = str(refused.value).splitlines()
    assert "notebooks/01_one.py and notebooks/01_one.ipynb" in first
    assert (source.read_bytes(), notebook.read_bytes()) == before
    for line, chosen in ((ipynb, "good night"), (py, "good day")):
        choose = line.partition(":")[2].replace("NAME", "01_one").split()
        subprocess.run(choose, cwd=source.parent.parent, check=True, capture_output=True)
        settle(["01_one"], source.parent)
        assert chosen in source.read_text() and chosen in notebook.read_text()
        source.write_bytes(before[0])
        notebook.write_bytes(before[1])
    edit(notebook, "good night", "good day")
    assert edited(source) == []


def test_where_nothing_is_committed_a_person_chooses_if_they_differ(source):
    shutil.rmtree(source.parent.parent / ".git")
    assert edited(source) == []
    edit(source.with_suffix(".ipynb"), "hello", "good day")
    assert edited(source) == [".py", ".ipynb"]


def test_what_is_no_notebook_is_named(source):
    source.with_suffix(".ipynb").write_text("<<<<<<< mine")
    with pytest.raises(FileError, match=r"01_one\.ipynb: not a notebook"):
        edited(source)
