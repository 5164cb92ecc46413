"""The command line of ``run_all.sh``: what may stand on it, checked before anything is set up.

``python -m paperlib.runs.options WORD...`` prints the command in full, one word a line, for
``run_all.sh`` to carry out; or it answers by itself (exit code `ANSWERED`: help, version, list), or
says in one sentence what is wrong (exit code 2). Imports the standard library alone and runs under
any Python from 3.9.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from paperlib import __version__
from paperlib.names import DATASETS, LARGEST_SEED, PROFILES, ROOT, notebooks

ANSWERED = 3  # exit code: there is nothing left to do
PUBLISHED = PROFILES[1:]
OPTIONS = {  # of each command; lab hands on what follows it
    "run": (
        *("--profile", "--dataset", "--only", "--seed"),
        *("--jobs", "--cluster", "--dry-run", "--quiet"),
    ),
    "test": (),
    "test system": (),
    "check": ("--release", "--profile"),
    "publish": ("--only", "--profile", "--because"),
    "scorecard": (),
    "site": (),
    "compare": ("--against",),
    "doctor": (),
    "sweep": ("--jobs", "--cluster", "--dry-run"),
    "claims show": ("--format",),
    "lab": (),
    "list": (),
}
FORMATS = ("table", "csv", "json")
NAMED_PLACES = ("--against", "--cluster")  # options that take a file or folder
REPEATED = ("--only", "--because")
FLAGS = ("--release", "--dry-run", "--quiet")
PLACES = (
    "compare",
    "sweep",
    "claims show",
)  # commands that take files or folders without an option's name
ANSWERS = ("--help", "--list", "--version")
SHORT = {"-h": "--help"}

USAGE = """\
Usage: ./run_all.sh [COMMAND] [OPTION VALUE]...

Without a command, or with "run": runs every notebook that is not up to date, writes figures and
claims to outputs/, and prints the scorecard.

Commands:
  test         check, unit tests, and every notebook executed as a test
  test system  tests that need packages of Debian or rights of root; as root it installs them
  check        lint, format, layout, pairs of notebooks; lists published results that are stale
  publish      run what is stale and write it into figures/, notebooks/*.ipynb and README.md
  scorecard    write README.md's scorecard and docs/claims.md anew from the published results
  site         build outputs/site: notebooks, scorecard and API as pages to be opened from disk
  compare      [RUN]...: whether a run (without RUN: the default one) reproduces what is published
  sweep FILE   a notebook over a grid of sizes and seeds, as a file such as sweeps/images.yaml says
  claims show  [RUN]...: mean and interval of every claim over several runs (without RUN: all)
  doctor       what this machine has, what is missing and how large that is; installs nothing
  lab          open JupyterLab on the first notebook; what follows goes to jupyter lab
  list         the notebooks

Options of a run:
  --profile P   one of {profiles}; without it: default
  --dataset D   one of {datasets}: the notebooks that take it;
                without it: openmoji, in profile paper the real data of each notebook
  --only NAME   this notebook alone, by name or number (3); more by --only 3,5 or --only 3 --only 5
  --seed N      a whole number; without it: 0
  --jobs N      at most so many notebooks side by side; without it: as many as there are cores
  --cluster F   as jobs of Slurm, as Snakemake's profile in folder F says, such as notebooks/slurm
  --dry-run     only say what would run, and why
  --quiet       only say what fails
Options of publish: --profile P ({published}), --only NAME, and --because WORDS, the reason that
                CHANGELOG.md gives, for all of an entry or, after "CLAIM: ", for one claim
Options of check: --profile P ({published}) and --release, which fails on what is stale
Option of compare: --against RUN, another run in place of what is published
Options of sweep: --jobs N, --cluster F and --dry-run; of claims show: --format F, one of {formats}
Everywhere: --help, --list, --version. --option=VALUE may be written too.

Python and all packages go to .venv, or come from the active environment (conda or venv) if it has
what requirements-cpu.lock says. Numeric libraries take one thread a notebook, or PAPERLIB_THREADS.
Real data is found as docs/running.md says.
"""


class OptionError(ValueError):
    """What stands on the command line is wrong; the message says what, in one sentence."""


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The command and its options in full: every value checked, every notebook by its name.

    Args:
        arguments: the words of the command line.
        environment: ``PAPERLIB_CALLED_FROM`` is the folder that paths start from.

    Returns:
        The words of the command; those of ``lab`` name the first notebook, and what follows is left
        to the caller; or one of `ANSWERS` alone.

    Raises:
        OptionError: a word is unknown, given twice, or has no valid value.
    """
    words = [SHORT.get(word, word) for word in arguments]
    command = "run"
    if words and not words[0].startswith("-"):
        command = words.pop(0)
        if command in ("test", "claims") and words[:1] and not words[0].startswith("-"):
            command = f"{command} {words.pop(0)}"
        one_of("command", command, OPTIONS)
    threads = environment.get("PAPERLIB_THREADS") or "1"
    if not re.fullmatch(r"[1-9][0-9]*", threads):
        raise OptionError(f"PAPERLIB_THREADS={threads}: valid are whole numbers above 0")
    if command == "lab":
        return ["lab", *(f"notebooks/{name}.ipynb" for name in notebooks()[:1])]
    given = _options(command, words, environment.get("PAPERLIB_CALLED_FROM", ""))
    answer = next((word for word in given if word in ANSWERS), None)
    if answer or command == "list":
        return [answer or "--list"]
    places = given.pop("", [])
    if command == "sweep" and len(places) != 1:
        raise OptionError("sweep needs one file, such as sweeps/images.yaml")
    found = [*command.split(), *places]
    for option, values in given.items():
        for value in values:
            found += [option] if option in FLAGS else [option, value]
    return found


def _options(command: str, words: Sequence[str], start: str) -> dict[str, list[str]]:
    """Values by option, in the order of the first ones; what has no option's name is under ""."""
    given: dict[str, list[str]] = {}
    left = list(words)
    while left:
        if command in PLACES and not left[0].startswith("-"):
            given.setdefault("", []).append(_place(left.pop(0), start))
            continue
        option, equals, value = left.pop(0).partition("=")
        valid = [*OPTIONS[command], *ANSWERS]
        if option not in valid and any(option in names for names in OPTIONS.values()):
            raise OptionError(f"{command} takes no {option}: valid are {', '.join(valid)}")
        one_of("option", option, valid)
        if option in given and option not in REPEATED:
            raise OptionError(f"{option} is given twice")
        if option in (*FLAGS, *ANSWERS):
            if equals:
                raise OptionError(f"{option} takes no value")
            given[option] = [""]
            continue
        if not equals:
            if not left or left[0].startswith("--"):
                raise OptionError(f"{option} needs a value")
            value = left.pop(0)
        if option in NAMED_PLACES:
            value = _place(value, start)
        values = [*given.get(option, []), *_values(command, option, value)]
        given[option] = [*dict.fromkeys(values)]
    return given


def _place(word: str, start: str) -> str:
    """A file or folder below `start`, in full; what does not exist may be the name of a run."""
    place = os.path.join(start, os.path.expanduser(word))
    return os.path.abspath(place) if word and os.path.exists(place) else word


def _values(command: str, option: str, value: str) -> list[str]:
    if option == "--only":
        return [_notebook(part.strip()) for part in value.split(",")]
    if option in NAMED_PLACES:
        return [value]
    if option == "--because":
        if not value.strip() or not value.isprintable():
            raise OptionError("--because needs words, on one line")
        return [value.strip()]
    if option == "--format":
        return [one_of(option, value, FORMATS)]
    if option == "--jobs":
        if not re.fullmatch(r"[1-9][0-9]{0,3}", value):
            raise OptionError(f"--jobs {value!r}: valid are whole numbers, 1 to 9999")
        return [value]
    if option == "--seed":
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", value) or int(value) > LARGEST_SEED:
            raise OptionError(f"--seed {value!r}: valid are whole numbers, 0 to {LARGEST_SEED}")
        return [value]
    profiles = PROFILES if command == "run" else PUBLISHED
    return [one_of(option, value, DATASETS if option == "--dataset" else profiles)]


def _notebook(value: str) -> str:
    """Name of a notebook that is given by name or number."""
    names = notebooks()
    for name in names:
        if re.fullmatch(r"[0-9]+", value) and int(name.split("_")[0]) == int(value):
            return name
    return one_of("--only", value, names)


def one_of(what: str, value: str, valid: Iterable[str]) -> str:
    """`value` if it is one of `valid`.

    Raises:
        OptionError: it is not; the message names the closest one, and all of them.
    """
    names = [*valid]
    if value in names:
        return value
    close = difflib.get_close_matches(value, names, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise OptionError(f"{what} {value!r}: {meant}valid are {', '.join(names)}")


def answer(word: str) -> str:
    """What ``--help``, ``--list`` or ``--version`` prints."""
    if word == "--version":
        return f"paperlib {__version__}\n"
    if word == "--list":
        return "".join(f"{name:<18}{_title(name)}\n" for name in notebooks())
    return USAGE.format(
        profiles=", ".join(PROFILES),
        datasets=", ".join(DATASETS),
        published=" or ".join(PUBLISHED),
        formats=", ".join(FORMATS),
    )


def _title(notebook: str) -> str:
    text = (ROOT / "notebooks" / f"{notebook}.py").read_text(encoding="utf-8")
    heading = re.search(r"^# # (?:\d+ · )?(.*)$", text, re.MULTILINE)
    return heading[1] if heading else ""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    try:
        words = parse(arguments)
    except OptionError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return 2
    if words[0] in ANSWERS:
        print(answer(words[0]), end="")
        return ANSWERED
    print("\n".join(words))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
