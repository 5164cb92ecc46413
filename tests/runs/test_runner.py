"""One notebook is run: wrong parameters, cells that fail, kernels that die, disks that are full."""

import os
import resource
import signal
import subprocess
import sys

import nbformat
import pytest

from paperlib.notebook.parameters import ParameterError
from paperlib.runs import runner
from paperlib.runs.runner import parameters_of, read_notebook

SMALL = """# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
import os
import signal

# %%
{code}
"""


@pytest.fixture
def notebook(project):
    """Writes a notebook that imports nothing slow, in the place of the first; runs it."""

    def run(code: str, limit: int | None = None) -> subprocess.CompletedProcess:
        project.write("notebooks/01_one.py", SMALL.format(code=code))
        words = ["paperlib.runs.runner", "01_one", "--target", str(project / "outputs/01_one")]
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=project.folder,
            env=project.environment(),
            capture_output=True,
            text=True,
            preexec_fn=lambda: limit and resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            check=False,
        )

    return run


def left(project):
    return {file.name for file in (project / "outputs").iterdir()}


def test_read_notebook(project, tmp_path):
    source = project / "notebooks/01_one.py"
    first, again = read_notebook(source), read_notebook(source)
    assert [cell.id for cell in first.cells] == [cell.id for cell in again.cells]
    assert len({cell.id for cell in first.cells}) == len(first.cells) > 3
    assert first.metadata.kernelspec.language == "python"
    given = {"profile": "default", "seed": 0, "dataset": "openmoji"}
    assert parameters_of(first) == given
    with pytest.raises(ParameterError, match="did you mean 01_one"):
        read_notebook(source.with_stem("01_on"))
    first.cells[1].metadata.tags = []
    with pytest.raises(ParameterError, match="no cell is tagged parameters"):
        parameters_of(first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["profle", "smoke"], "unknown parameter profle: did you mean profile? valid are profile,"),
        (["profile", "big"], "profile='big': valid are smoke, default, paper"),
        (["dataset", "coco"], "dataset='coco': valid are openmoji, cifar10"),
        (["seed", "1.5"], "seed=1.5: valid are whole numbers"),
    ],
)
def test_it_refuses_before_anything_runs(tmp_path, capsys, given, message):
    assert runner.main(["01_spectrum", "--target", str(tmp_path / "made"), "-p", *given]) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_cell_that_fails_is_named_and_its_notebook_kept(project, notebook):
    done = notebook('if True:\n    raise ValueError("on purpose\\nand more")')
    assert done.returncode == 1
    first, why, see = done.stdout.splitlines()
    assert first.split()[:2] == ["01_one", "FAILED"]
    assert "line 2, `raise ValueError(" in why
    assert why.endswith(": ValueError: on purpose")
    assert see == f"  see {project / 'outputs/01_one.ipynb'}"
    assert left(project) == {"01_one.ipynb"}
    kept = nbformat.read(project / "outputs/01_one.ipynb", as_version=4)
    assert kept.cells[-1].outputs[0].evalue.startswith("on purpose")


def test_a_claim_that_is_not_measured_is_named(project, notebook):
    done = notebook("1 + 1")
    assert done.returncode == 1
    assert "did not measure toy-evens, which data/claims says it does" in done.stdout
    assert left(project) == set()


def test_a_claim_of_another_profile_is_not_asked_for(project, notebook):
    project.edit("data/claims/toy.yaml", "01_one}", "01_one, profiles: [paper]}")
    assert "did not measure" not in notebook("1 + 1").stdout


def test_a_kernel_that_was_killed_is_named_as_that(project, notebook):
    done = notebook("x = bytearray(300 * 2**20)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == 1
    why = done.stdout.splitlines()[1].strip()
    start = "the kernel was killed by signal 9, most likely for memory: it had "
    assert why.startswith(start)
    assert 300 < int(why.removeprefix(start).split()[0]) < 1000
    assert why.endswith(" MB; notebooks/graph.yaml says 200 MB for it")
    assert "/01_one.ipynb" in done.stdout
    nbformat.read(project / "outputs/01_one.ipynb", as_version=4)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the kernel ended by signal 11"),
        ("os._exit(7)", "the kernel ended with exit code 7"),
    ],
)
def test_a_kernel_that_died_otherwise_is_not_called_killed_for_memory(notebook, code, why):
    done = notebook(code)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].strip() == why


def test_the_systems_count_of_the_killed_decides_what_is_certain():
    assert "killed for memory" in runner.death(-signal.SIGKILL, killed=1, needs=1)
    assert "most likely for memory" in runner.death(-signal.SIGKILL, killed=0, needs=1)
    assert runner.death(-signal.SIGTERM, killed=1, needs=1) == "the kernel ended by signal 15"


def test_a_full_disk_leaves_no_half_notebook(project, notebook):
    notebook("1 / 0")
    assert left(project) == {"01_one.ipynb"}
    done = notebook("print('x' * 200_000)", limit=100_000)
    assert done.returncode == 1
    first, why = done.stdout.splitlines()
    assert first.split()[:2] == ["01_one", "FAILED"]
    assert why == f"  {project / 'outputs'}: File too large"
    assert left(project) == set()


def test_a_full_disk_in_the_notebook_names_the_folder(project, notebook):
    code = (
        "from pathlib import Path\n\nfrom paperlib.files import write_files\n\n"
        "write_files({Path(os.environ['PAPERLIB_FOLDER'], 'big.csv'): bytes(200_000)})"
    )
    done = notebook(code, limit=100_000)
    assert done.returncode == 1
    assert f"FileError: {project / 'outputs'}/.01_one-" in done.stdout
    assert done.stdout.splitlines()[1].endswith("cannot write big.csv there: File too large")
    assert left(project) == {"01_one.ipynb"}


def test_run_is_over_when_its_lock_is_free_or_another_s(tmp_path):
    import fcntl

    assert runner.run_is_over(tmp_path, "mine")
    (tmp_path / ".lock").write_text("mine")
    assert runner.run_is_over(tmp_path, "mine")
    holder = os.open(tmp_path / ".lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert not runner.run_is_over(tmp_path, "mine")
    assert runner.run_is_over(tmp_path, "another")
    os.close(holder)


def test_on_a_cluster_the_token_alone_says_whether_the_run_is_over(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERLIB_CLUSTER", "1")  # the lock is another node's, and not seen here
    assert runner.run_is_over(tmp_path, "mine")
    (tmp_path / ".lock").write_text("mine")
    assert not runner.run_is_over(tmp_path, "mine")
    assert runner.run_is_over(tmp_path, "another")
