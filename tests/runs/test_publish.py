"""What is fit to be committed of an executed notebook, and results put in place in one step."""

import nbformat
import pytest

from paperlib.files import FileError
from paperlib.runs import publish
from paperlib.runs.publish import PublishError, replace_folder, with_outputs
from paperlib.runs.runner import read_notebook

SOURCE = """# %% [markdown]
# # Title

# %% tags=["parameters"]
seed = 0

# %%
print("hello")  # words
"""


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "01_one.py"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def executed(source):
    """The notebook as if it had been run, one output a cell."""
    notebook = read_notebook(source)
    for count, cell in enumerate(notebook.cells[1:], 1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="hello\n")]
        cell.metadata["papermill"] = {"duration": 1}
    notebook.metadata["papermill"] = {"version": "2"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    return notebook


def test_outputs_are_kept_and_no_trace_of_the_run(source, executed, tmp_path):
    publish.write_notebook(source, executed, tmp_path)
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert "papermill" not in text
    published = nbformat.reads(text, as_version=4)
    assert published.metadata.language_info.version == "3.11.7"
    assert [cell.execution_count for cell in published.cells[1:]] == [1, 2]
    assert published.cells[2].outputs[0].text == "hello\n"
    assert published.cells[1].metadata == {"tags": ["parameters"]}
    assert {file.name for file in tmp_path.iterdir()} == {"01_one.py", "01_one.ipynb"}


def test_words_may_be_newer_than_the_run_but_code_may_not(source, executed, tmp_path):
    source.write_text(SOURCE.replace("Title", "Another").replace("# words", "# other words"))
    publish.write_notebook(source, executed, tmp_path)
    published = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert published.cells[0].source == "# Another"
    assert published.cells[2].source == 'print("hello")  # other words'
    before = source.with_suffix(".ipynb").read_bytes()
    source.write_text(SOURCE.replace("hello", "goodbye"))
    with pytest.raises(PublishError, match="01_one: was executed from other code or other param"):
        publish.write_notebook(source, executed, tmp_path)
    assert source.with_suffix(".ipynb").read_bytes() == before


def test_what_is_refused(source, executed):
    def refused(message):
        with pytest.raises(PublishError, match=message):
            with_outputs(read_notebook(source), executed, "01_one")

    cell = executed.cells[2]
    cell.outputs[0].name = "stderr"
    refused(r"01_one, cell \[2\] wrote to stderr or failed: hello")
    cell.outputs = [nbformat.v4.new_output("error", ename="E", evalue="bad", traceback=[])]
    refused("wrote to stderr or failed: bad")
    cell.outputs = [nbformat.v4.new_output("display_data", data={publish.WIDGET: {}})]
    refused("shows a widget")
    for left in ("[Text(0.5, 0, 'x')]", "<Axes: xlabel='x'>", "[<matplotlib.lines.Line2D at 0x7>]"):
        cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": left})]
        refused(r"cell \[2\] shows what plotting returns: ")
    cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "Text: 3"})]
    with_outputs(read_notebook(source), executed, "01_one")
    cell.execution_count = None
    refused("a cell was not run: print")
    executed.cells.insert(2, nbformat.v4.new_code_cell("# Parameters\nseed = 1"))
    refused("other code or other parameters")


def test_a_notebook_that_jupytext_cannot_write_leaves_the_old_one(source, executed, tmp_path):
    (tmp_path / "jupytext.toml").write_text("formats = [")
    source.with_suffix(".ipynb").write_text("old")
    with pytest.raises(FileError, match=r"\.01_one\.ipynb: .*jupytext\.toml"):
        publish.write_notebook(source, executed, tmp_path)
    assert source.with_suffix(".ipynb").read_text() == "old"
    assert not (tmp_path / ".01_one.ipynb").exists()


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    for name, files in {"new": {"a": "1", "claims/b": "2"}, "old": {"a": "0", "gone": "0"}}.items():
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
    replace_folder(tmp_path / "new", tmp_path / "old")
    found = {file.relative_to(tmp_path / "old") for file in (tmp_path / "old").rglob("*")}
    assert {file.as_posix() for file in found} == {"a", "claims", "claims/b"}
    assert (tmp_path / "old/a").read_text() == "1"
    assert {file.name for file in tmp_path.iterdir()} == {"new", "old"}


def test_figures_that_hold_other_peoples_pictures_stay_behind(tmp_path):
    source = tmp_path / "new"
    source.mkdir()
    for name in ("curve.csv", "curve.png", "shown.csv", "shown.json", "shown.npz", "shown.png"):
        (source / name).write_text(name)
    replace_folder(source, tmp_path / "real", pictures=False)
    assert sorted(file.name for file in (tmp_path / "real").iterdir()) == ["curve.csv", "curve.png"]
    replace_folder(source, tmp_path / "drawn")
    assert len([*(tmp_path / "drawn").iterdir()]) == 6
