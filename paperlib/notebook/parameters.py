"""Parameters of a notebook: which there are, which values they take, and a clear word if not.

papermill only warns of a parameter that a notebook does not have; here it is an error, whichever
way the notebook is run.

Beside those of its parameters cell, every notebook takes `CHANGES`: sizes that replace those of its
row, by name, such as ``{"images": 20, "steps.square": 100}``.
"""

import ast
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

from paperlib.names import DATASETS, LARGEST_SEED, PROFILES

INJECTED = "# Parameters\n"  # how papermill begins the cell that it adds
CHANGES = "changes"  # the parameter that replaces sizes

# Ranges of sizes, both ends included, by name or a part of it; else a size is at most `LARGEST`.
LARGEST = 1_000_000
RANGES = {
    "servers": (1, 25),  # the windows of the published SAMs
    "sharing": (2, 16),  # servers of one image of the small SAM, up to its windows
    "epsilon": (0, 1),  # all that a pixel can change by
    "epsilon.pgd_l2": (0, 55),  # and all pixels of an image, in three colours
    "layers": (1, 3),  # four times the crops with each
    "bands": (1, 32),  # the side of the frequency paper's images
    "step": (1, 32),
    "wave_step": (1, 16),
    "seeds": (1, 100),
    "draws": (1, 100),
    "synthesis_rate": (0, 1),
    "rounding_rate": (0, 1),
    "image_scale_rate": (0, 1),
    "text_scale_rate": (0, 1),
}
NEEDED = {"servers": 4, "sharing": 4}  # which of its values a list must have
# Sizes that are a part of another one.
PARTS = {
    "black_box_images": "images",
    "hopskipjump_images": "images",
    "fewest": "images",
    "exact": "images",
    "few": "images",
    "occluded": "images",
    "timed_images": "test_images",
}
CHOSEN = ("encoders",)  # mappings of which a change may name the entries that are left
BITS = re.compile(r"W[2-8]A[2-8]")


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
    profile has 0), a number above 0, one of the profiles' words, bit-widths W2A2 to W8A8, yes or
    no, or a sequence of such; `RANGES`, `NEEDED` and `PARTS` say what else. A mapping by bit-widths
    takes others, too. One of `CHOSEN` takes the name of one of its entries, or a list of names: the
    others are left out.

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
    chosen = {name: changes[name] for name in CHOSEN if name in changes and name in found}
    for name, value in ((name, value) for name, value in changes.items() if name not in chosen):
        alike = _alike(str(name), examples)
        *above, last = name.split(".")
        place = found
        for key in above:
            place[key] = dict(place.get(key) or {})
            place = place[key]
        place[last] = _checked(name, value, alike)
    for name, entries in chosen.items():
        found[name] = _only(name, found[name], entries)
    for part, whole in PARTS.items():
        if {part, whole} & changes.keys() and found.get(part, 0) > found.get(whole, math.inf):
            raise ParameterError(f"size {part}: {found[part]} of {whole}: {found[whole]}")
    return replace(rows[profile], **found)


def _only(name: str, entries: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    """Those entries of a mapping that a word or a list of words names, in their order."""
    words = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(words, (list, tuple)) or not words or any(w not in [*entries] for w in words):
        valid = f"valid is one of {', '.join(entries)}, or a list of them"
        raise ParameterError(f"size {name}: {chosen!r}: {valid}")
    return {key: value for key, value in entries.items() if key in words}


def _alike(name: str, examples: Mapping[str, list[Any]]) -> list[Any]:
    """The values in the profiles of a size, or of another beside it if both are bit-widths."""
    if name in examples:
        return examples[name]
    above, _, last = name.rpartition(".")
    for other, values in examples.items():
        folder, _, inner = other.rpartition(".")
        if folder == above and BITS.fullmatch(last) and BITS.fullmatch(inner):
            return values
    raise ParameterError(f"size {name}: {closest(name, examples)}")


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
        needed = [NEEDED[part] for part in name.split(".") if part in NEEDED]
        if missing := [each for each in needed if each not in value]:
            raise ParameterError(f"size {name}: {value!r}: {missing[0]} is needed among them")
        if len(set(map(str, value))) < len(value):
            raise ParameterError(f"size {name}: {value!r}: each is valid once")
        return tuple(_checked(name, each, inner) for each in value)
    kinds = {type(example) for example in examples}
    names = [each for each in (name, *name.split(".")) if each in RANGES]
    least, most = RANGES[names[0]] if names else (0, LARGEST)
    if bool in kinds:
        fits, valid = isinstance(value, bool), "true, false"
    elif str in kinds and all(map(BITS.fullmatch, examples)):
        fits, valid = isinstance(value, str) and BITS.fullmatch(value), "W2A2 to W8A8"
    elif str in kinds:
        words = sorted({*examples})
        fits, valid = value in words, ", ".join(words)
    elif kinds == {int}:
        least = max(least, min(1, *examples))
        fits = type(value) is int and least <= value <= most
        valid = f"whole numbers from {least} to {most}"
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits, valid = number and 0 < value <= most, f"numbers above 0, to {most}"
    if not fits:
        raise ParameterError(f"size {name}: {value!r}: valid are {valid}")
    return value
