"""Which packages a result names; `tests/runs/test_current` holds the rest of what it records."""

import ast
import re
import sys
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paperlib.code import with_imports
from paperlib.names import ROOT, notebooks
from paperlib.notebook import provenance

WITHOUT_VALUES = {  # packages that no value passes through
    *("cryptography", "filelock", "grpcio-health-checking", "ipython", "ipywidgets", "jaxtyping"),
    *("pooch", "psutil", "pydantic", "pyyaml", "threadpoolctl", "tqdm"),
}


def imported():
    """Distributions that notebooks import, themselves or by what they import of paperlib."""
    of_module = metadata.packages_distributions()
    files = with_imports([ROOT / f"notebooks/{name}.py" for name in notebooks()], all_of_them=True)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    names = [alias.name for alias in node.names]
                case ast.ImportFrom(level=0):
                    names = [node.module]
                case _:
                    names = []
            for module in {name.partition(".")[0] for name in names} - {"paperlib"}:
                if module not in sys.stdlib_module_names:
                    yield from map(canonicalize_name, of_module[module])


def test_every_package_that_a_value_passes_through_is_recorded():
    recorded = {canonicalize_name(name) for name in provenance.PACKAGES}
    assert set(imported()) - WITHOUT_VALUES <= recorded
    assert not recorded & WITHOUT_VALUES
    assert len(recorded) == len(provenance.PACKAGES)


def test_they_are_named_as_they_are_declared_and_have_a_version():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = {Requirement(word).name for word in tomllib.loads(text)["project"]["dependencies"]}
    assert set(provenance.PACKAGES) <= declared
    found = provenance.versions()
    assert set(found) == {"python", *provenance.PACKAGES}
    assert all(re.match(r"\d+\.\d", version) for version in found.values())


def test_a_package_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    assert set(provenance.versions()) == {"python", "numpy"}
