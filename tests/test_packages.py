"""What is imported is declared, what is declared is locked, and the two locks agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paperlib.names import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CUDA = ("cuda-", "nvidia-", "triton")  # beginnings of the names of what a CPU build does without


def declared(*lists: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(word).name) for words in lists for word in words}


def imported(folder: str) -> dict[str, str]:
    """Top-level modules that the Python files of a folder import, and one of the files."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], str(file.relative_to(ROOT)))
    return found


def locked(name: str) -> dict[str, tuple[str, str, int]]:
    """Version, marker and number of hashes by package of a lock."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
            version, marker, hashes = found[package]
            found[package] = version, marker, hashes + 1
            continue
        pin = re.fullmatch(r"([a-z0-9-]+)==([^ ]+)(?: ; ([^\\]+?))?(?: \\)?", line)
        assert pin, line
        package, version, marker = pin.groups()
        assert package not in found
        found[package] = version, marker or "", 0
    return found


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("paperlib", ["site"]),
        ("docs", ["site"]),
        ("notebooks", []),
        ("benchmarks", ["dev"]),
        ("tests", ["dev"]),
    ],
)
def test_what_is_imported_is_declared(folder, extras):
    optional = [PROJECT["optional-dependencies"][extra] for extra in extras]
    allowed = declared(PROJECT["dependencies"], *optional)
    distributions = packages_distributions()
    own = {path.stem for path in (*ROOT.iterdir(), *(ROOT / folder).glob("*.py"))}
    for module, file in imported(folder).items():
        if module not in sys.stdlib_module_names | own:
            packages = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert packages & allowed, f"{file} imports {module}: declare it in pyproject.toml"


@pytest.mark.parametrize(
    "words", [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
)
def test_nothing_is_declared_twice(words):
    assert len(declared(words)) == len(words)


def test_what_is_declared_is_locked_with_hashes():
    lock = locked("requirements.lock")
    wanted = declared(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    assert wanted <= set(lock)
    assert [name for name, (_, _, hashes) in lock.items() if not hashes] == []


def test_both_locks_have_the_same_versions_but_for_cuda():
    whole, cpu = locked("requirements.lock"), locked("requirements-cpu.lock")
    assert [name for name, (_, _, hashes) in cpu.items() if hashes] == []
    without = {name: pin[:2] for name, pin in whole.items() if not name.startswith(CUDA)}
    assert {name: pin[:2] for name, pin in cpu.items()} == without
    assert len(without) < len(whole)


def test_environment_has_the_versions_of_the_lock():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "- -r requirements-cpu.lock" in text
    lock = locked("requirements-cpu.lock") | {"pytorch": locked("requirements-cpu.lock")["torch"]}
    pins = re.findall(r"^  - ([a-z]+)=([0-9.]+)", text, re.MULTILINE)
    named = {name: version for name, version in pins if name != "python"}
    assert set(named) == {"jupyterlab", "jupytext", "pytorch", "torchvision"}
    for name, version in named.items():
        assert version == lock[name][0]
