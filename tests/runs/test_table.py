"""The table says what the notebooks do; what decides a result is all that it should be."""

import dataclasses
import re

import pytest

from paperlib.names import DATASETS, PROFILES
from paperlib.paths import CHECKPOINTS, NOTEBOOKS, ROOT
from paperlib.runs import table
from paperlib.runs.table import by_priority, read_table

TABLE = read_table()
each = pytest.mark.parametrize("name", TABLE)


def source_of(name):
    return (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")


def sources_of_paper(name):
    """The modules of its paper that a notebook imports by name."""
    lines = r"from (paperlib\.(?:freq|d4c|pedsam)\S*) import ([^(\n]+|\([^)]+\))"
    names = re.findall(lines, source_of(name))
    paths = {ROOT / f"{package.replace('.', '/')}.py" for package, _ in names}
    for package, what in names:
        paths |= {ROOT / package.replace(".", "/") / f"{n}.py" for n in re.findall(r"\w+", what)}
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())


def named_claims(source, claims, ending=""):
    """Of each name in a source, such as "d4c-1-control-{name}", the claims that it stands for."""
    named = set(re.findall(r'"((?:freq|d4c|pedsam)-[a-z0-9{}\[\]_-]+)"', source))
    patterns = [re.compile(re.sub(r"\{[^}]*\}", "[a-z0-9-]+", each) + ending) for each in named]
    return [{claim for claim in claims if pattern.fullmatch(claim)} for pattern in patterns]


@each
def test_claims_are_those_that_the_notebook_checks(name):
    """Itself or by a function of its paper; a run says what is missing."""
    claims = set(TABLE[name].claims)
    here = named_claims(source_of(name), claims)
    assert all(here)
    there = named_claims(sources_of_paper(name), claims, ending="(-[a-z]+)?")  # of an encoder
    assert set().union(*here, *there) == claims


@each
def test_rows_are_complete(name):
    entry = TABLE[name]
    for profiles in (entry.row.memory, entry.row.minutes, entry.sizes.SIZES[name]):
        assert set(profiles) == set(PROFILES)
    assert entry.datasets
    assert set(entry.datasets) <= set(DATASETS)


@each
def test_every_size_is_used_and_every_used_size_stands_in_the_profiles(name):
    """By the notebook, or by a function of its paper that takes its row of sizes.

    In notebooks of D4C the row is `own`, with the settings of the CLIP that is measured.
    """
    used = set(re.findall(r"\b(?:run\.sizes|own)\.(\w+)", source_of(name)))
    passed = set(re.findall(r"\bsizes\.(\w+)", sources_of_paper(name)))
    for profile in PROFILES:
        row = TABLE[name].sizes.SIZES[name][profile]
        fields = {field.name for field in dataclasses.fields(row)}
        assert used <= fields <= used | passed


def test_parts_are_what_values_pass_through():
    parts = TABLE["02_rct"].parts("default", "openmoji", 0)
    assert {
        "notebooks/02_rct.py",
        "paperlib/freq/dct.py",
        "paperlib/models/cnn.py",
        "paperlib/notebook/start.py",
        "paperlib/runtime.py",
        "data/openmoji10.csv",
        "data/checkpoints/openmoji-vgg_small-natural.safetensors",
        "parameters",
        "sizes",
    } <= set(parts)
    for part in parts:
        assert not part.startswith(("paperlib/runs", "paperlib/d4c", "paperlib/pedsam"))
        assert "figures" not in part
        assert "plots" not in part
        assert "claims" not in part
        assert "cifar10-" not in part


@each
def test_no_notebook_takes_the_checkpoints_of_another_paper(name):
    for profile in PROFILES:
        entry = TABLE[name]
        for part in entry.parts(profile, entry.dataset(profile), 0):
            if part.startswith("data/checkpoints/") and entry.row.package != "tour":
                stem = part.split("/")[-1]
                assert ("-clip-" in stem) == (entry.row.package == "d4c")
                assert stem.startswith(("sam-", "pedsam-")) == (entry.row.package == "pedsam")


def test_a_larger_profile_needs_as_much_memory_or_more():
    for name, entry in TABLE.items():
        needs = [entry.row.memory[profile] for profile in PROFILES]
        assert needs == sorted(needs), name


def test_parts_differ_by_parameters():
    parts = [
        TABLE["02_rct"].parts(*run)
        for run in (
            ("default", "openmoji", 0),
            ("default", "openmoji", 1),
            ("smoke", "openmoji", 0),
        )
    ]
    assert parts[0]["parameters"] != parts[1]["parameters"]
    assert parts[0]["sizes"] == parts[1]["sizes"] != parts[2]["sizes"]


def test_a_missing_checkpoint_is_named(monkeypatch):
    row = TABLE["02_rct"].row.model_copy(update={"data": ("checkpoints/none.*",)})
    with pytest.raises(table.FileError, match=r"checkpoints/none.* is missing; .*graph.yaml names"):
        dataclasses.replace(TABLE["02_rct"], row=row).parts("smoke", "openmoji", 0)
    assert CHECKPOINTS.is_dir()


NEEDS = "{smoke: 1, default: 1, paper: 1}"
GOOD = f"  package: freq\n  memory: {NEEDS}\n  minutes: {NEEDS}\n  data: []\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [", "not YAML: line 1"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"a: 1\na: 2\n", "line 2: 'a' stands twice"),
        (b"- a\n", "expected a row for each notebook"),
        (b"", "expected a row for each notebook"),
        (f"99_none:\n{GOOD}".encode(), "99_none: there is no notebooks/99_none.py"),
        (f"01_spectrum:\n{GOOD}  colour: red\n".encode(), "01_spectrum: colour: Extra inputs"),
        (
            f"01_spectrum:\n  package: freq\n  minutes: {NEEDS}\n  data: []\n".encode(),
            "01_spectrum: memory: Field required",
        ),
        (
            f"01_spectrum:\n  package: freq\n  memory: {NEEDS}\n  data: []\n".encode(),
            "01_spectrum: minutes: Field required",
        ),
        (b"01_spectrum: 3\n", "01_spectrum: row: Input should be"),
        (f"01_spectrum:\n{GOOD}".encode(), "00_tour has no row, but notebooks/00_tour.py is there"),
        (
            GOOD.replace("paper: 1", "paper: -1", 1).join(["01_spectrum:\n", ""]).encode(),
            "memory.paper",
        ),
        (f"01_spectrum:\n{GOOD.replace(NEEDS, '{smoke: 1}', 1)}".encode(), "memory: lacks default"),
        (
            f"01_spectrum:\n{GOOD.replace(f'minutes: {NEEDS}', 'minutes: {paper: 9}')}".encode(),
            "01_spectrum: minutes: lacks default, smoke",
        ),
    ],
)
def test_a_wrong_table_is_named_with_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "graph.yaml"
    file.write_bytes(text)
    with pytest.raises(table.FileError, match=message) as failed:
        read_table(file)
    assert str(file) in str(failed.value)
    assert "\n" not in str(failed.value)


def test_notebooks_of_a_higher_priority_come_first():
    ordered = [TABLE[name].row.priority for name in by_priority(TABLE)]
    assert ordered == sorted(ordered, reverse=True)
    assert ordered[0] > ordered[-1]
    assert sorted(by_priority(TABLE)) == sorted(TABLE)
