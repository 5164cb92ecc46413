"""The graph's table says what the notebooks do, and the committed results are those it lists."""

import ast
import dataclasses
import itertools
import re

import pytest

from paperlib.paths import CHECKPOINTS, FIGURES, NOTEBOOKS, ROOT
from paperlib.profiles import DATASETS, PROFILES, SIZES
from paperlib.runs.graph import read_table

TABLE = read_table()
each = pytest.mark.parametrize("name", TABLE)


def source_of(name):
    return (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")


def named(name, method):
    """Every text that stands as an argument of ``run.<method>(...)`` in a notebook."""
    found = set()
    for node in ast.walk(ast.parse(source_of(name))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="run"), attr=attribute), args=args):
                if attribute == method:
                    found |= {arg.value for arg in args if isinstance(arg, ast.Constant)}
    return found


def test_table_sizes_and_notebooks_are_the_same_set():
    notebooks = sorted(file.stem for file in NOTEBOOKS.glob("[0-9]*.py"))
    assert list(TABLE) == notebooks == sorted(SIZES)


@each
def test_figures_are_those_that_the_notebook_saves(name):
    assert set(TABLE[name].figures) == named(name, "save_figure")


@each
def test_claims_are_those_that_the_notebook_checks(name):
    claims = set(TABLE[name].claims)
    assert named(name, "check") <= claims
    assert {claim for claim in claims if f'"{claim}"' in source_of(name)} == claims


@each
def test_needs_exist(name):
    entry = TABLE[name]
    assert set(entry.memory) == set(PROFILES) == set(SIZES[name])
    assert list((ROOT / "paperlib" / entry.package).glob("*.py"))
    assert entry.checkpoints
    assert entry.datasets and set(entry.datasets) <= set(DATASETS)
    for checkpoint, dataset in itertools.product(entry.checkpoints, entry.datasets):
        pattern = checkpoint.format(dataset=dataset)
        for kind in ("safetensors", "json"):
            assert list(CHECKPOINTS.glob(f"{pattern}.{kind}")), f"{pattern}.{kind}"


def test_committed_results_are_those_of_the_table():
    due = {f"{entry.name}/{file}" for entry in TABLE.values() for file in entry.outputs()}
    for profile in FIGURES.iterdir() if FIGURES.is_dir() else ():
        found = {str(f.relative_to(profile)) for f in profile.rglob("*") if f.is_file()}
        assert profile.name in ("default", "paper")
        assert found <= due
        if profile.name == "default":
            assert found == due


@each
def test_every_size_is_used_and_every_used_size_stands_in_the_profiles(name):
    used = set(re.findall(r"\brun\.sizes\.(\w+)", source_of(name)))
    for profile in PROFILES:
        assert {field.name for field in dataclasses.fields(SIZES[name][profile])} == used
