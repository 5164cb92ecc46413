"""run_all.sh: what it sets up, what it hands on, and a run from its first line to its last."""

import fcntl
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from paperlib.names import ROOT

TOOLS = ("bash", "cat", "cmp", "dirname", "rm")
STUB = """#!/usr/bin/env bash
echo "$*" >>"{log}"
case "$*" in
  "-c "*" 3.9 3.99") ;;
  "-c "*) [[ ! -e "{old}" ]] ;;
  "-m paperlib.runs.options"*) exec "{python}" "$@" ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip install"*lock) [[ ! -e "{broken}" ]] ;;
  "-m paperlib"* | "-m jupyterlab"*)
    echo "$*"
    env | grep -E "^(PAPERLIB_|[A-Z]*_NUM_THREADS)" | sort >"{log}.environment" ;;
esac
"""


def environment(**more: str) -> dict[str, str]:
    """As a user's: nothing of this project's set, no active environment."""
    ours = ("PAPERLIB_", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {name: value for name, value in kept.items() if "_NUM_THREADS" not in name} | more


def run_all(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [folder / "run_all.sh", *words],
        env=environment(**more),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


# --- before and while it is set up -----------------------------------------------------------


class Clone:
    """A fresh clone, with a Python that only writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        shutil.copytree(ROOT / "paperlib", self.folder / "paperlib")
        (self.folder / "notebooks").mkdir()
        (self.folder / "notebooks" / "01_one.py").write_text("# # 1 · One\n", encoding="utf-8")
        for name in ("run_all.sh", "requirements.lock", "requirements-cpu.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        self.log, self.broken, self.old = (folder / name for name in ("log", "broken", "old"))
        self.bin = folder / "bin"
        self.bin.mkdir()
        stub = self.bin / "python3"
        facts = {"log": self.log, "broken": self.broken, "old": self.old, "python": sys.executable}
        stub.write_text(STUB.format(**facts))
        stub.chmod(0o755)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess:
        """Run it, with the stub as its first Python; `asked` has what that was asked."""
        self.log.write_text("")
        return run_all(self.folder, *words, **{"PATH": f"{self.bin}:{os.environ['PATH']}"} | more)

    def asked(self, word: str) -> list[str]:
        """Lines of what the Python was asked with a word in them."""
        return [line for line in self.log.read_text().splitlines() if word in line]

    def hide_other_pythons(self) -> str:
        """A PATH with the stub and the tools that run_all.sh needs."""
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        return str(self.bin)


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "Usage: ./run_all.sh"),
        (["--list"], 0, "01_one            One\n"),
        (["--version"], 0, "paperlib "),
        (["--profil", "smoke"], 2, "did you mean --profile?"),
        (["--seed"], 2, "--seed needs a value"),
    ],
)
def test_it_answers_at_once_where_nothing_is_installed(clone, words, code, said):
    clone.old.touch()
    done = clone.run(*words, PATH=clone.hide_other_pythons())
    assert done.returncode == code
    assert said in (done.stderr if code else done.stdout)
    assert not (clone.folder / ".venv").exists()


def test_without_a_python_that_fits_it_says_what_to_do(clone):
    clone.old.touch()
    done = clone.run(PATH=clone.hide_other_pythons())
    assert done.returncode == 2
    assert re.fullmatch(r"run_all.sh: no Python of 3\.11 .* install one .*\n", done.stderr)
    assert not (clone.folder / ".venv").exists()
    (clone.bin / "python3").unlink()
    none = clone.run(PATH=str(clone.bin))
    assert none.returncode == 2
    assert none.stderr == "run_all.sh: needs Python 3.11 or newer: none is on the PATH\n"


def test_its_pythons_are_those_of_the_project():
    text = (ROOT / "run_all.sh").read_text()
    named = re.search(r"^pythons=\((.*?)\)", text, re.MULTILINE)[1].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    assert named == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]


def test_an_installation_that_breaks_off_goes_on(clone):
    path = clone.hide_other_pythons()
    (clone.bin / "mkdir").symlink_to(shutil.which("mkdir"))
    for tool in ("cp", "env", "grep", "sort"):
        (clone.bin / tool).symlink_to(shutil.which(tool))
    clone.broken.touch()
    assert clone.run(PATH=path).stdout == ""  # the installation fails, nothing runs
    clone.broken.unlink()
    assert clone.run(PATH=path).stdout == "-m paperlib.runs.graph\n"
    asked = clone.asked("-m pip install")
    assert "--require-hashes -r requirements.lock" in asked[0]
    assert asked[1].endswith("-e .")
    assert clone.run(PATH=path).stdout == "-m paperlib.runs.graph\n"
    assert clone.asked("-m pip install") == []
    with open(clone.folder / "requirements.lock", "a") as lock:
        lock.write("another==1.0\n")
    clone.run(PATH=path)
    assert len(clone.asked("-m pip install")) == 2


@pytest.fixture
def ready(clone):
    """A clone that is set up, with the stub as Python."""
    (clone.folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(clone.bin / "python3", clone.folder / ".venv/bin/python")
    made_from = [
        (clone.folder / name).read_text() for name in ("requirements.lock", "pyproject.toml")
    ]
    (clone.folder / ".venv/made-from").write_text("".join(made_from))
    return clone


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        ("--only=1 --seed 3", "-m paperlib.runs.graph --only 01_one --seed 3"),
        (
            "publish --profile paper --only 1",
            "-m paperlib.runs.publish --profile paper --only 01_one",
        ),
        ("scorecard", "-m paperlib.runs.check --mark"),
        ("compare some-run", "-m paperlib.runs.compare some-run"),
        ("doctor", "-m paperlib.runs.doctor"),
        ("site", "-m paperlib.runs.site"),
        ("sweep a.yaml --jobs 2", "-m paperlib.runs.sweep a.yaml --jobs 2"),
        ("claims show", "-m paperlib.runs.statistics"),
        ("claims show a b", "-m paperlib.runs.statistics a b"),
        (
            "lab --no-browser",
            "-m paperlib.runs.pairs\n"
            "-m jupyterlab notebooks/01_one.ipynb --ServerApp.root_dir={} --no-browser",
        ),
    ],
)
def test_what_is_handed_on(ready, given, handed):
    done = ready.run(*given.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == handed.format(ready.folder) + "\n"


def test_a_path_with_a_space_stays_one_word(ready):
    (ready.folder.parent / "my runs").mkdir()
    ready.run("compare", "my runs")
    assert ready.asked(f"-m paperlib.runs.compare {ready.folder.parent}/my runs")
    assert ready.run("compare", "my runs", "--aginst", "x").returncode == 2


@pytest.mark.parametrize(
    ("given", "profile"),
    [
        ({"MEM_LIMIT": "2147483648"}, "smoke"),
        ({"MEM_LIMIT": "8589934592"}, ""),
        ({"MEM_LIMIT": "2147483648", "PAPERLIB_PROFILE": "default"}, "default"),
    ],
)
def test_a_small_session_of_binder_takes_the_smallest_sizes(given, profile):
    words = [ROOT / "start", "bash", "-c", 'echo "$PAPERLIB_PROFILE" "$@"', "bash", "a b"]
    done = subprocess.run(words, env=environment(**given), capture_output=True, text=True)
    assert done.stdout == f"{profile} a b\n"


def test_check_hands_its_options_to_the_check_of_results(ready):
    done = ready.run("check", "--release", "--profile=paper")
    assert "-m paperlib.runs.check --release --profile paper" in done.stdout
    assert ready.asked("-m ruff check")
    (line,) = ready.asked("-m pytest")
    for name in ("test_layout", "runs/test_pairing", "runs/test_table"):
        assert f"tests/{name}.py" in line


@pytest.mark.parametrize("command", ["run", "publish", "lab"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_every_command_has_the_same_threads(ready, command, threads):
    more = {} if threads == "1" else {"PAPERLIB_THREADS": threads}
    ready.run(command, OMP_NUM_THREADS="8", **more)
    given = Path(f"{ready.log}.environment").read_text().splitlines()
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        assert f"{library}_NUM_THREADS={threads}" in given


def test_paths_are_those_of_the_folder_that_it_is_called_from(ready):
    named = {"PAPERLIB_COCO": "coco", "PAPERLIB_CACHE": "/cache", "PAPERLIB_DEVICE": "cuda:1"}
    ready.run(PAPERLIB_NEW_DATA="../new", **named)
    given = Path(f"{ready.log}.environment").read_text().splitlines()
    called_from = ready.folder.parent
    for line in (
        f"PAPERLIB_COCO={called_from}/coco",
        f"PAPERLIB_NEW_DATA={called_from}/../new",
        "PAPERLIB_CACHE=/cache",
        "PAPERLIB_DEVICE=cuda:1",
    ):
        assert line in given


def test_system_tests_name_what_is_missing(ready):
    (ready.folder / "tests/system").mkdir(parents=True)
    (ready.folder / "tests/system/packages.txt").write_text("# words\none-package\nanother\n")
    for name, text in {"dpkg-query": "exit 1", "id": "echo 1000"}.items():
        (ready.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (ready.bin / name).chmod(0o755)
    done = ready.run("test", "system")
    assert done.returncode == 2
    assert done.stderr == (
        "run_all.sh: test system needs root and these packages of Debian: one-package another\n"
    )
    assert ready.asked("pytest") == []


# --- a run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def pins():
    """Fail where run_all.sh would have to install packages first."""
    for line in (ROOT / "requirements-cpu.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate():
                try:
                    installed = importlib.metadata.version(pin.name)
                except importlib.metadata.PackageNotFoundError:
                    installed = "0"
                if installed not in pin.specifier:
                    pytest.fail(f"needs {pin}, this environment has {installed}: ./run_all.sh test")


def run_smoke(project, *words: str, **more: str) -> subprocess.CompletedProcess:
    """A smoke run of the small project, in the environment of these tests."""
    more = {"VIRTUAL_ENV": sys.prefix} | more
    return run_all(project.folder, "--profile", "smoke", *words, **more)


def outcomes(done: subprocess.CompletedProcess) -> dict[str, str]:
    """Outcome by notebook, from the lines that begin with its name."""
    words = [line.split() for line in done.stdout.splitlines() if line.startswith("0")]
    return {first: second for first, second, *_ in words}


def test_a_run_then_nothing_then_what_changed(project):
    first = run_smoke(project)
    assert first.returncode == 0, first.stderr
    assert outcomes(first) == {"01_one": "ok", "02_two": "ok"}
    assert first.stdout.endswith("what it measures is too little to judge a claim by\n")
    assert "toy-evens" not in first.stdout
    assert " s " in first.stdout
    assert " MB" in first.stdout
    (project / "notebooks/01_one.py").touch()
    assert outcomes(run_smoke(project)) == {"01_one": "unchanged", "02_two": "unchanged"}
    project.edit("data/checkpoints/small.txt", "7", "8")
    assert outcomes(run_smoke(project)) == {"01_one": "unchanged", "02_two": "ok"}
    assert project.git("status", "--short").split() == ["M", "data/checkpoints/small.txt"]


def test_a_run_leaves_nothing_that_git_would_take_up(project):
    shutil.copy(ROOT / ".gitignore", project.folder)
    project.commit()
    done = run_smoke(project, "--only", "01_one")
    assert outcomes(done) == {"01_one": "ok"}
    assert [*(project / "outputs").rglob("curve.png")]
    assert project.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}],
)
def test_any_locale_will_do(project, locale):
    project.edit("data/claims/toy.yaml", "quantity: the last", "quantity: “the last” – ≥ 2")
    done = run_all(project.folder, "--only", "1", VIRTUAL_ENV=sys.prefix, **locale)
    assert (done.returncode, done.stderr) == (0, "")
    assert "≥" in done.stdout


def test_a_failing_notebook_is_named_and_the_others_run(project):
    done = run_smoke(project, "--seed", "1", TEST_BREAK="01_one")
    assert done.returncode == 1
    assert outcomes(done) == {"01_one": "FAILED", "02_two": "ok"}
    (shown,) = re.findall(r"see (.*\.ipynb)", done.stdout)
    assert "broken on purpose" in Path(shown).read_text()
    assert 'raise ValueError("broken on purpose")' in done.stdout
    assert outcomes(run_smoke(project, "--seed", "1")) == {"01_one": "ok", "02_two": "unchanged"}


def test_interrupted_it_leaves_nothing_half_written(project):
    process = subprocess.Popen(
        [project / "run_all.sh", "--profile", "smoke", "--only", "01_one"],
        env=environment(VIRTUAL_ENV=sys.prefix, TEST_SLOW="01_one"),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    outputs = project / "outputs"
    while not [*outputs.rglob("begun")]:
        assert process.poll() is None
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("ipykernel" in " ".join(child.cmdline()) for child in family)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert not [*outputs.rglob("begun"), *outputs.rglob("curve.*"), *outputs.rglob("*.ipynb")]
    assert outcomes(run_smoke(project, "--only", "01_one")) == {"01_one": "ok"}


def test_two_runs_at_once(project):
    (project / "outputs").mkdir()
    with open(project / "outputs/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run_smoke(project)
    assert done.returncode == 1
    assert "another run is writing to" in done.stderr


def test_a_missing_checkpoint_is_named(project):
    file = project / "data/checkpoints/small.txt"
    file.unlink()
    done = run_smoke(project, "--only", "02_two")
    assert done.returncode == 2
    assert "data/checkpoints/small.txt" in done.stderr
