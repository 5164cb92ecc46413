"""run_all.sh, the graph and the runner, on a small project made of the real ones.

The two notebooks of that project import no torch, so that a run takes seconds.
"""

import fcntl
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement

from paperlib.paths import ROOT
from paperlib.profiles import DATASETS, PROFILES

NOTEBOOK = """# %% [markdown]
# # A notebook

# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
import os
import time
from pathlib import Path

from paperlib.paths import run_folder

# %%
run = run_folder(profile, dataset, seed)
folder = Path(os.environ["PAPERLIB_OUTPUTS"], run, "{name}")
folder.mkdir(parents=True, exist_ok=True)
for kind in ("png", "csv", "json"):
    (folder / f"curve.{{kind}}").write_text(f"{{profile}} {{seed}}")
if os.environ.get("TEST_SLOW") == "{name}":
    time.sleep(60)
if os.environ.get("TEST_BREAK") == "{name}":
    raise ValueError("broken on purpose")
print("done")
"""
TABLE = """
01_one: {package: freq, datasets: [openmoji, cifar10], checkpoints: [],
  memory: {smoke: 200, default: 200, paper: 200}, figures: [curve]}
02_two: {package: freq, datasets: [openmoji, cifar10], checkpoints: [small],
  memory: {smoke: 200, default: 99999999, paper: 200}, figures: [curve]}
"""
CLAIMS = """
paper: Nobody 2000
dataset: cifar10
reported: null
source: nowhere
claims:
  - {id: one, where: here, statement: One is one., quantity: one, unit: ones,
     check: {op: ">", value: 0}, notebook: 03_three}
"""
README = "# Title\n<!-- scorecard:begin -->\n<!-- scorecard:end -->\n"


@pytest.fixture(scope="module")
def pins():
    """Fail where run_all.sh would have to install packages first."""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate():
                try:
                    installed = importlib.metadata.version(pin.name)
                except importlib.metadata.PackageNotFoundError:
                    installed = "0"
                if installed not in pin.specifier:
                    pytest.fail(f"needs {pin}, this environment has {installed}: ./run_all.sh test")


def write_project(folder: Path) -> Path:
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "paperlib", folder / "paperlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    files = {
        "notebooks/graph.yaml": TABLE,
        "notebooks/01_one.py": NOTEBOOK.format(name="01_one"),
        "notebooks/02_two.py": NOTEBOOK.format(name="02_two"),
        "data/claims/few.yaml": CLAIMS,
        "data/checkpoints/small.safetensors": "weights",
        "data/checkpoints/small.json": "{}",
        "README.md": README,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / "notebooks" / "Snakefile", folder / "notebooks")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory, pins):
    return write_project(tmp_path_factory.mktemp("project"))


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAPERLIB_")}
    kept.pop("PYTHONPATH", None)
    return kept | {"CONDA_PREFIX": sys.prefix} | more


def run_all(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [project / "run_all.sh", *arguments],
        env=environment(**more),
        cwd=project.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outcomes(done: subprocess.CompletedProcess) -> dict[str, str]:
    """Outcome by notebook, from the lines that begin with its name."""
    words = [line.split() for line in done.stdout.splitlines() if line.startswith("0")]
    return {first: second for first, second, *_ in words}


def results(project: Path, seed: int, name: str) -> set[str]:
    folder = project / "outputs" / f"smoke-openmoji-seed{seed}" / name
    return {file.name for file in folder.glob("*")}


CURVE = {"curve.png", "curve.csv", "curve.json"}


def test_help():
    done = run_all(ROOT, "--help")
    assert done.returncode == 0
    for word in ("test", "check", "lab", "publish", "--profile", "--only", "--seed"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profil", "smoke"], "valid are --profile --dataset --only --seed --help"),
        (["--profile", "big"], "--profile 'big': valid are " + " ".join(PROFILES)),
        (["--dataset", "mnist"], "--dataset 'mnist': valid are " + " ".join(DATASETS)),
        (["--only", "07_none"], "--only '07_none': valid are 0"),
        (["--seed", "-1"], "--seed '-1': valid are whole numbers, 0 to 4294967295"),
        (["--seed", "4294967296"], "valid are whole numbers, 0 to 4294967295"),
        (["--seed"], "--seed needs a value"),
        (["tests"], "command 'tests': valid are test check lab publish"),
        (["check", "--seed", "1"], "check takes no options"),
    ],
)
def test_wrong_words_fail_before_anything_is_set_up(tmp_path, arguments, message):
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.py").touch()
    done = run_all(tmp_path, *arguments, CONDA_PREFIX="")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_run_then_nothing_then_what_changed(project):
    smoke = ("--profile", "smoke")
    first = run_all(project, *smoke)
    assert first.returncode == 0, first.stderr
    assert outcomes(first) == {"01_one": "ok", "02_two": "ok"}
    assert " s " in first.stdout
    assert " MB" in first.stdout
    assert results(project, 0, "01_one") == results(project, 0, "02_two") == CURVE
    assert not (project / "figures").exists()

    (project / "notebooks" / "01_one.py").touch()
    started = time.monotonic()
    second = run_all(project, *smoke)
    took = time.monotonic() - started
    assert outcomes(second) == {"01_one": "unchanged", "02_two": "unchanged"}
    assert took < 10  # about 2 s where nothing else runs

    source = project / "notebooks" / "01_one.py"
    source.write_text(source.read_text() + "\n# %%\n1 + 1\n")
    assert outcomes(run_all(project, *smoke)) == {"01_one": "ok", "02_two": "unchanged"}

    (project / "data" / "checkpoints" / "small.safetensors").write_text("other weights")
    assert outcomes(run_all(project, *smoke)) == {"01_one": "unchanged", "02_two": "ok"}


def test_a_failing_notebook_is_named_and_the_others_run(project):
    arguments = ("--profile", "smoke", "--seed", "1")
    done = run_all(project, *arguments, TEST_BREAK="01_one")
    assert done.returncode == 1
    assert outcomes(done) == {"01_one": "FAILED", "02_two": "ok"}
    executed = project / "outputs" / "smoke-openmoji-seed1" / "01_one.ipynb"
    assert f"see {executed}" in done.stdout
    assert 'cell [4], line 9, `raise ValueError("broken on purpose")`' in done.stdout
    assert "broken on purpose" in executed.read_text()
    assert results(project, 1, "01_one") == set()
    assert results(project, 1, "02_two") == CURVE
    assert outcomes(run_all(project, *arguments)) == {"01_one": "ok", "02_two": "unchanged"}


def start_slow(project: Path, seed: int) -> subprocess.Popen:
    """Start a run in which 01_one sleeps, and wait until it does."""
    process = subprocess.Popen(
        [project / "run_all.sh", "--profile", "smoke", "--seed", str(seed), "--only", "01_one"],
        env=environment(TEST_SLOW="01_one"),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while results(project, seed, "01_one") != CURVE:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    return process


def test_interrupted_it_leaves_nothing_half_written_and_killed_it_runs_again(project):
    process = start_slow(project, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("ipykernel" in " ".join(child.cmdline()) for child in family)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert psutil.wait_procs(family, timeout=10)[1] == []
    run = project / "outputs" / "smoke-openmoji-seed2"
    assert [file for file in run.rglob("*") if file.is_file()] == []

    process = start_slow(project, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        child.kill()
    process.wait()
    assert results(project, 2, "01_one") == CURVE  # complete or not, nobody knows
    again = run_all(project, "--profile", "smoke", "--seed", "2", "--only", "01_one")
    assert again.returncode == 0, again.stderr
    assert outcomes(again) == {"01_one": "ok"}


def test_two_runs_at_once(project):
    (project / "outputs").mkdir(exist_ok=True)
    with open(project / "outputs" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run_all(project, "--profile", "smoke", "--seed", "4")
    assert done.returncode == 1
    assert "another run is writing to" in done.stderr


def test_a_missing_checkpoint_is_named(project):
    file = project / "data" / "checkpoints" / "small.safetensors"
    content = file.read_text()
    file.unlink()
    done = run_all(project, "--profile", "smoke", "--seed", "5", "--only", "02_two")
    file.write_text(content)
    assert done.returncode == 1
    assert str(file) in done.stderr


def test_a_standard_run_is_published(project):
    done = run_all(project, "publish")
    assert done.returncode == 0, done.stderr
    for name in ("01_one", "02_two"):
        folder = project / "figures" / "default" / name
        assert {file.name for file in folder.glob("*")} == CURVE
        notebook = (project / "notebooks" / f"{name}.ipynb").read_text()
        assert '"done\\n"' in notebook
        assert "papermill" not in notebook
    (project / "figures" / "default" / "01_one" / "curve.csv").unlink()
    assert outcomes(run_all(project)) == {"01_one": "unchanged", "02_two": "unchanged"}
    assert (project / "figures" / "default" / "01_one" / "curve.csv").exists()


STUB = """#!/usr/bin/env bash
echo "$*" >>"{log}"
case "$*" in
  "-c "*) ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip install"*lock) [[ ! -e "{broken}" ]] ;;
  "-m paperlib.runs.graph"*) echo ran ;;
esac
"""


def test_an_installation_that_breaks_off_goes_on(tmp_path):
    log, broken, stub = tmp_path / "log", tmp_path / "broken", tmp_path / "bin" / "python3.11"
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    stub.parent.mkdir()
    stub.write_text(STUB.format(log=log, broken=broken))
    stub.chmod(0o755)
    path = f"{stub.parent}:{os.environ['PATH']}"

    def calls() -> tuple[str, list[str]]:
        log.write_text("")
        done = run_all(tmp_path, PATH=path, CONDA_PREFIX="")
        return done.stdout, [line for line in log.read_text().splitlines() if " pip " in line]

    broken.touch()
    assert calls()[0] == ""  # the installation fails, nothing runs
    broken.unlink()
    printed, installed = calls()
    assert printed == "ran\n"
    assert [line.split()[-1] for line in installed] == ["requirements.lock", "."]
    assert calls() == ("ran\n", [])
    with open(tmp_path / "requirements.lock", "a") as lock:
        lock.write("another==1.0\n")
    assert len(calls()[1]) == 2
