"""Parameters of a notebook: which there are, which values they take, and a clear word if not.

papermill only warns of a parameter that a notebook does not have; here it is an error, whichever
way the notebook is run.

Beside those of its parameters cell, every notebook takes `CHANGES`: sizes that replace those of its
row, by name, such as ``{"images": 20, "steps.square": 100}``.
"""

import ast
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

from paperlib.names import DATASETS, LARGEST_SEED, PROFILES

INJECTED = "# Parameters\n"  # how papermill begins the cell that it adds
CHANGES = "changes"  # the parameter that replaces sizes


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
        if name == CHANGES and not isinstance(value, Mapping):
            raise ParameterError(f"{CHANGES}={value!r}: valid are new sizes by name")
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


def chosen_profile(
    cell: str, given: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str, str]:
    """The profile that counts: an explicit parameter, else ``$PAPERLIB_PROFILE``, else the cell's.

    A batch (``$PAPERLIB_BATCH``) takes no notice of the variable.

    Args:
        cell: what stands in the notebook.
        given: parameters that papermill was given.
        environment: variables.

    Returns:
        The profile, and a sentence on which won; empty where the variable is not set.

    Raises:
        ParameterError: the variable names no profile.
    """
    named = "" if environment.get("PAPERLIB_BATCH") else environment.get("PAPERLIB_PROFILE", "")
    if not named:
        return cell, ""
    if "profile" in given:
        return cell, f"Profile {cell}: the parameter counts, not PAPERLIB_PROFILE={named}."
    if named not in PROFILES:
        raise ParameterError(f"PAPERLIB_PROFILE={named!r}: {closest(named, PROFILES)}")
    return named, f"Profile {named}: PAPERLIB_PROFILE counts, not the cell's {cell}."


def changed_row(rows: Mapping[str, Any], profile: str, changes: Mapping[str, Any]) -> Any:
    """A profile's row of sizes with some of them replaced.

    A size takes what is like its values in the profiles: a whole number from 1 (from 0 where a
    profile has 0), a number above 0, one of the profiles' words, yes or no, or a sequence of such.

    Args:
        rows: by profile, frozen dataclasses.
        profile: the one to begin with.
        changes: new values by name; what is in a mapping has the name MAPPING.KEY.

    Raises:
        ParameterError: there is no such size, or the value is out of its range.
    """
    examples: dict[str, list[Any]] = {}
    for row in rows.values():
        for name, value in _leaves(asdict(row)):
            examples.setdefault(name, []).append(value)
    found = asdict(rows[profile])
    for name, value in changes.items():
        if name not in examples:
            raise ParameterError(f"size {name}: {closest(str(name), examples)}")
        *above, last = name.split(".")
        place = found
        for key in above:
            place[key] = dict(place.get(key) or {})
            place = place[key]
        place[last] = _checked(name, value, examples[name])
    return replace(rows[profile], **found)


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _checked(name: str, value: Any, examples: list[Any]) -> Any:
    """`value` if it is like `examples`; a list becomes a tuple, as rows have them."""
    if any(isinstance(example, tuple) for example in examples):
        if not isinstance(value, (list, tuple)) or not value:
            raise ParameterError(f"size {name}: {value!r}: valid is a list that is not empty")
        inner = [each for example in examples for each in example]
        return tuple(_checked(name, each, inner) for each in value)
    kinds = {type(example) for example in examples}
    if bool in kinds:
        fits, valid = isinstance(value, bool), "true, false"
    elif str in kinds:
        words = sorted({*examples})
        fits, valid = value in words, ", ".join(words)
    elif kinds == {int}:
        least = min(1, *examples)
        fits, valid = type(value) is int and value >= least, f"whole numbers from {least}"
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits, valid = number and math.isfinite(value) and value > 0, "numbers above 0"
    if not fits:
        raise ParameterError(f"size {name}: {value!r}: valid are {valid}")
    return value
