"""The command line: every word is checked, and nothing is needed for that but Python 3.9."""

import ast
import subprocess
import sys

import pytest

from paperlib import __version__
from paperlib.code import with_imports
from paperlib.names import DATASETS, PROFILES, ROOT, notebooks
from paperlib.runs import options


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "run"),
        ("run", "run"),
        ("--profile smoke", "run --profile smoke"),
        ("--profile=smoke --dataset=cifar10", "run --profile smoke --dataset cifar10"),
        ("--seed 4294967295", "run --seed 4294967295"),
        ("--only 03_occlusion", "run --only 03_occlusion"),
        ("--only 3", "run --only 03_occlusion"),
        ("--only 03,14", "run --only 03_occlusion --only 14_deployment"),
        ("--only 3 --seed 1 --only=2", "run --only 03_occlusion --only 02_rct --seed 1"),
        ("--only 3,03_occlusion --only 3", "run --only 03_occlusion"),
        ("--jobs 2 --dry-run --quiet", "run --jobs 2 --dry-run --quiet"),
        ("--cluster folder --jobs 9", "run --cluster folder --jobs 9"),
        ("sweep a.yaml --cluster b", "sweep a.yaml --cluster b"),
        ("compare", "compare"),
        ("compare a-run --against b c", "compare a-run c --against b"),
        ("doctor", "doctor"),
        ("sweep a.yaml --dry-run --jobs=3", "sweep a.yaml --dry-run --jobs 3"),
        ("claims show", "claims show"),
        ("claims show a b --format json", "claims show a b --format json"),
        ("test", "test"),
        ("test system", "test system"),
        ("check --release --profile paper", "check --release --profile paper"),
        ("publish --only 3 --profile default", "publish --only 03_occlusion --profile default"),
        ("scorecard", "scorecard"),
        ("site", "site"),
        ("lab", "lab notebooks/00_tour.ipynb"),
        ("lab --no-browser --seed x", "lab notebooks/00_tour.ipynb"),
        ("--only 0", "run --only 00_tour"),
        ("list", "--list"),
        ("--list", "--list"),
        ("-h", "--help"),
        ("check --help", "--help"),
        ("--seed 1 --version", "--version"),
    ],
)
def test_a_command_in_full(given, words):
    assert options.parse(given.split(), {}) == words.split()


def test_reasons_are_words_on_one_line_each():
    words = ["publish", "--because", "a: new seeds", "--because=more images "]
    expected = ["publish", "--because", "a: new seeds", "--because", "more images"]
    assert options.parse(words, {}) == expected
    for value in ("", " ", "one\ntwo"):
        with pytest.raises(options.OptionError, match="--because needs words, on one line"):
            options.parse(["publish", f"--because={value}"], {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--profil smoke", "option '--profil': did you mean --profile? valid are --profile, "),
        ("smoke", "command 'smoke': valid are run, test, "),
        ("tests", "command 'tests': did you mean test? valid are run, test, "),
        ("test sytem", "command 'test sytem': did you mean test system? valid are "),
        ("test --only 3", "test takes no --only: valid are --help, --list, --version"),
        ("check --seed 1", "check takes no --seed: valid are --release, --profile, "),
        ("--release", "run takes no --release: valid are --profile, "),
        ("--profile big", "--profile 'big': valid are " + ", ".join(PROFILES)),
        ("--profile", "--profile needs a value"),
        ("--profile --seed 1", "--profile needs a value"),
        ("--profile=", "--profile '': valid are " + ", ".join(PROFILES)),
        ("publish --profile smoke", "--profile 'smoke': valid are default, paper"),
        ("--profile smoke --profile=smoke", "--profile is given twice"),
        ("--seed 1 --seed 1", "--seed is given twice"),
        ("check --release --release", "--release is given twice"),
        ("check --release=1", "--release takes no value"),
        ("--dataset mnist", "--dataset 'mnist': valid are " + ", ".join(DATASETS)),
        ("--only 3_oclusion", "did you mean 03_occlusion? valid are 00_tour, 01_spectrum, "),
        ("--only 99", "--only '99': valid are 00_tour, 01_spectrum, "),
        ("--only 3,", "--only '': valid are 00_tour, 01_spectrum, "),
        ("--jobs 0", "--jobs '0': valid are whole numbers, 1 to 9999"),
        ("--jobs=two", "--jobs 'two': valid are whole numbers, 1 to 9999"),
        ("--dry-run --dry-run", "--dry-run is given twice"),
        ("--quiet=1", "--quiet takes no value"),
        ("publish --quiet", "publish takes no --quiet: valid are "),
        ("compare --against", "--against needs a value"),
        ("compare --against a --against b", "--against is given twice"),
        ("sweep", "sweep needs one file, such as sweeps/images.yaml"),
        ("sweep a b", "sweep needs one file"),
        ("sweep a --seed 1", "sweep takes no --seed: valid are --jobs, "),
        ("claims", "command 'claims': did you mean claims show? valid are "),
        ("claims shw", "command 'claims shw': did you mean claims show?"),
        ("claims show --format xml", "--format 'xml': valid are table, csv, json"),
        ("doctor all", "option 'all': valid are --help, --list, --version"),
        ("--seed -1", "--seed '-1': valid are whole numbers, 0 to 4294967295"),
        ("--seed 4294967296", "--seed '4294967296': valid are whole numbers, 0 to 4294967295"),
        ("--seed 01", "--seed '01': valid are whole numbers"),
        ("--seed 1 2", "option '2': valid are "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(given, message, capsys):
    with pytest.raises(options.OptionError) as error:
        options.parse(given.split(), {})
    assert str(error.value).startswith(message) or f": {message}" in str(error.value)
    assert options.main(given.split()) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"run_all.sh: {error.value}\n")


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_threads_are_checked_too(threads):
    with pytest.raises(options.OptionError, match=f"PAPERLIB_THREADS={threads}: valid are whole"):
        options.parse([], {"PAPERLIB_THREADS": threads})
    assert options.parse([], {"PAPERLIB_THREADS": ""}) == ["run"]
    assert options.parse([], {"PAPERLIB_THREADS": "2"}) == ["run"]


def test_folders_are_those_of_where_it_is_called_and_others_are_names_of_runs(tmp_path):
    (tmp_path / "a run").mkdir()
    called = {"PAPERLIB_CALLED_FROM": str(tmp_path)}
    (tmp_path / "images.yaml").touch()
    assert options.parse(["sweep", "images.yaml"], called)[1] == str(tmp_path / "images.yaml")
    words = ["compare", "a run", "default-openmoji-seed0", "--against", "./a run"]
    found = options.parse(words, called)
    there = str(tmp_path / "a run")
    assert found == ["compare", there, "default-openmoji-seed0", "--against", there]


def test_the_profile_of_a_run_is_not_taken_from_the_variable():
    assert options.parse([], {"PAPERLIB_PROFILE": "smoke"}) == ["run"]
    assert options.parse(["publish"], {"PAPERLIB_PROFILE": "smoke"}) == ["publish"]


def test_answers(capsys):
    assert options.main(["--version"]) == options.ANSWERED
    assert capsys.readouterr().out == f"paperlib {__version__}\n"
    assert options.main(["--list"]) == options.ANSWERED
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == notebooks()
    assert all(len(line.split()) > 2 for line in lines)
    assert options.main(["--help"]) == options.ANSWERED
    text = capsys.readouterr().out
    known = {word for words in options.OPTIONS.values() for word in words}
    for word in (*options.OPTIONS, *known, *options.ANSWERS, *PROFILES, *DATASETS):
        assert word in text


def test_it_needs_nothing_but_python_3_9():
    files = with_imports([ROOT / "paperlib/runs/options.py"])
    assert {file.name for file in files} == {"options.py", "names.py", "__init__.py"}
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
    words = [sys.executable, "-S", "-m", "paperlib.runs.options", "--only", "3"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "run\n--only\n03_occlusion\n"
