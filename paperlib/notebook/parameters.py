"""Parameters of a notebook: which there are, which values they take, and a clear word if not.

papermill only warns of a parameter that a notebook does not have; here it is an error, whichever
way the notebook is run.
"""

import ast
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from paperlib.names import DATASETS, LARGEST_SEED, PROFILES

INJECTED = "# Parameters\n"  # how papermill begins the cell that it adds


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value that it does not take."""


def closest(word: str, valid: Iterable[str]) -> str:
    """What the end of a message says about the valid words, the likeliest first."""
    valid = list(valid)
    near = get_close_matches(word, valid, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}valid are {', '.join(valid)}"


def check_parameters(
    values: Mapping[str, Any], names: Collection[str], datasets: Collection[str] = tuple(DATASETS)
) -> None:
    """Check that every parameter is one of `names` and has a value that it takes.

    Args:
        values: by name.
        names: of the notebook's parameters.
        datasets: that the notebook takes.

    Raises:
        ParameterError: naming the first wrong parameter, and what is valid.
    """
    choices = {"profile": PROFILES, "dataset": datasets}
    for name, value in values.items():
        if name not in names:
            raise ParameterError(f"unknown parameter {name}: {closest(name, names)}")
        if name in choices and value not in choices[name]:
            raise ParameterError(f"{name}={value!r}: {closest(str(value), choices[name])}")
        if name == "seed" and (type(value) is not int or not 0 <= value <= LARGEST_SEED):
            raise ParameterError(f"seed={value!r}: valid are whole numbers, 0 to {LARGEST_SEED}")


def assigned(source: str) -> dict[str, Any]:
    """Names that a parameters cell assigns, with their values.

    Raises:
        ParameterError: the cell holds something else than names with plain values.
    """
    found = {}
    for statement in ast.parse(source).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                try:
                    found[name] = ast.literal_eval(value)
                except ValueError:
                    raise ParameterError(f"parameter {name}: expected a plain value") from None
            case _:
                text = ast.unparse(statement)
                raise ParameterError(f"parameters cell: expected NAME = VALUE, found {text!r}")
    return found


def injected(history: Iterable[str]) -> dict[str, Any]:
    """Parameters that papermill put into a notebook, from the sources of the cells run so far."""
    found: dict[str, Any] = {}
    for source in history:
        if source.startswith(INJECTED):
            found |= assigned(source)
    return found
