"""The names that everything shares, under any Python from 3.9 and before anything is installed."""

import ast
import sys
from pathlib import Path

import pytest

from paperlib import names
from paperlib.names import DATASETS, LARGEST_SEED, PROFILES, ROOT, STANDARD_SEED, notebooks
from paperlib.runs.table import read_table


def test_notebooks_are_those_of_the_folder_in_their_order():
    found = notebooks()
    assert found == sorted(file.stem for file in (ROOT / "notebooks").glob("*.py"))
    assert [name[:2] for name in found] == [f"{n:02}" for n in range(len(found))]


def test_every_data_set_is_taken_by_a_notebook_and_has_a_title():
    assert {name for entry in read_table().values() for name in entry.datasets} == set(DATASETS)
    assert all(DATASETS.values())
    assert len(set(DATASETS.values())) == len(DATASETS)


def test_the_standard_seed_is_one_of_those_that_numpy_takes():
    assert 0 <= STANDARD_SEED <= LARGEST_SEED == 2**32 - 1
    assert PROFILES == ("smoke", "default", "paper")


@pytest.mark.parametrize("module", [names])
def test_it_needs_no_package_and_no_new_python(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                found = {alias.name.split(".")[0] for alias in imported}
            case ast.ImportFrom(module=name):
                found = {name.split(".")[0]}
            case _:
                found = set()
        assert found <= sys.stdlib_module_names
