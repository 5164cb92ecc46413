"""What code decides a value: the files that a file imports of this project, and their hash.

The hash is over the syntax tree without comments, docstrings and places, so that only a change of
what is computed changes it. Imports the standard library alone.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from paperlib.names import ROOT

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Of `paperlib.notebook`, beside every ``…plots``: they only draw, record or check words.
WITHOUT_VALUES = ("claims", "figures", "parameters", "provenance", "run")


def with_imports(files: Iterable[Path], all_of_them: bool = False) -> set[Path]:
    """Python files, what they import of this project, what that imports, and so on.

    Args:
        files: to begin with.
        all_of_them: follow imports of modules through which no value passes, too.
    """
    found: set[Path] = set()
    left = set(files)
    while left:
        found |= left
        left = {module for file in left for module in imports(file)} - found
        if not all_of_them:
            left = {module for module in left if not _is_without_values(module)}
    return found


def _is_without_values(module: Path) -> bool:
    room = module.relative_to(ROOT / "paperlib").parts[0]
    return module.stem.endswith("plots") or (room == "notebook" and module.stem in WITHOUT_VALUES)


def imports(file: Path) -> frozenset[Path]:
    """Files of this project that a Python file imports itself; none of a file that is missing."""
    return _imports_of(file.read_text(encoding="utf-8")) if file.is_file() else frozenset()


@functools.cache
def _imports_of(text: str) -> frozenset[Path]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    modules = set()
    for parts in (name.split(".") for name in names if name.startswith("paperlib")):
        for end in range(1, len(parts) + 1):  # packages are run before what is in them
            place = ROOT.joinpath(*parts[:end])
            modules |= {place.with_suffix(".py"), place / "__init__.py"}
    return frozenset(filter(Path.is_file, modules))


def code_hash(file: Path) -> str:
    """First 16 hex digits of the SHA-256 over a Python file's code.

    Comments, docstrings, blank lines, line breaks and line endings do not count.

    Raises:
        SyntaxError: it is no Python.
    """
    try:
        return source_hash(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise SyntaxError(f"{file}, line {error.lineno}: {error.msg}") from None


@functools.cache
def source_hash(text: str) -> str:
    """As `code_hash`, of Python in a text."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
