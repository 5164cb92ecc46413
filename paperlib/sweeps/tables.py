"""The table of a sweep: read, said in words, and summed up with intervals over seeds.

`paperlib.runs.sweep` writes it, a row for each value of each claim, and a row without a claim for
each run that has not finished. A run counts as one value $x_s$ of a claim, the mean over its draws.
At a point of the grid, with n seeds, the interval is Student's, at 95 %:

$$\\bar x \\pm t_{0.975, n-1}\\ s / \\sqrt n$$

How much a claim changes between two values a and b of a size is measured seed by seed,

$$d_s = x_s(b) - x_s(a)$$

each the mean over the other sizes of the grid, with the same interval: runs of one seed may share
images, which then drop out of the difference, and where they share none it is as right.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from paperlib.data import external
from paperlib.files import FileError
from paperlib.intervals import student
from paperlib.paths import DATA

SWEPT = ("notebook", "profile", "dataset")  # of which a sweep has one each
MEASURED = ("claim", "draw", "value", "unit")
SOURCE = ("run", "digest", "commit", "clean", "threads", "device")
NEEDED = (*SWEPT, "seed", "claim", "value", "unit", "commit")
CHANGED = ["claim", "size", "from", "to", "seeds", "difference", "low", "high", "unit"]
CHANGED += ["spread from", "spread to"]
WORDS = ("claim", "unit", "commit")
LISTED = 4  # runs that are named where some lack values


def read(file: Path) -> pd.DataFrame:
    """The table of one sweep, CSV or parquet, with the columns that `paperlib.runs.sweep` writes.

    Raises:
        FileError: it cannot be read, lacks a column, is of several sweeps, or has no value.
    """
    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:  # words such as "none" are values of a size
            kept = {"keep_default_na": False, "na_values": {"value": [""]}}
            table = pd.read_csv(file, dtype=dict.fromkeys((*WORDS, "digest", "run"), str), **kept)
    except (OSError, ValueError) as error:  # no file, no table, not UTF-8
        why = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
        raise FileError(f"{file}: no table that can be read ({why})") from None
    if absent := [name for name in NEEDED if name not in table]:
        raise FileError(
            f"{file}: no column {absent[0]}: expected the table that ./run_all.sh sweep writes"
        )
    for name in SWEPT:
        if len(found := table[name].unique()) > 1:
            one = ", ".join(map(str, found[:3]))
            raise FileError(f"{file}: {name} is {one}: expected the table of one sweep")
    table = table.assign(**{name: table[name].fillna("").astype(str) for name in WORDS})
    table["value"] = pd.to_numeric(table.value, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if not table.value[table.claim != ""].notna().any():
        raise FileError(f"{file}: no value of a claim is in it: run the sweep to its end")
    grid = ("seed", *axes(table))
    if absent := [name for name in grid if table[name].isna().any() or (table[name] == "").any()]:
        raise FileError(f"{file}: a row has no {absent[0]}: expected one grid of sizes and seeds")
    if not file.resolve().is_relative_to(DATA):
        external.note("sweep", [file])
    return table.reset_index(drop=True)


def axes(table: pd.DataFrame) -> list[str]:
    """The sizes of the grid, which are the columns that no other table has, in their order."""
    known = {*SWEPT, "seed", *MEASURED, *SOURCE}
    return [name for name in table if name not in known]


def levels(column: pd.Series) -> list:
    """What a size takes: numbers from the smallest to the largest, words as they come."""
    found = [*column.unique()]
    numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return sorted(found) if numbers else found


def per_run(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each run and claim: claim, unit, the sizes, seed, value (the mean over draws)."""
    measured = table[(table.claim != "") & table.value.notna()]
    keys = ["claim", "unit", *axes(table), "seed"]
    return measured.groupby(keys, sort=False, as_index=False).value.mean()


def lacking(table: pd.DataFrame) -> pd.DataFrame:
    """Runs of the grid without a value of some claim: the sizes, seed, and how many claims lack."""
    sizes, runs = axes(table), per_run(table)
    points = itertools.product(*(levels(table[name]) for name in sizes), levels(table.seed))
    due = pd.DataFrame([*points], columns=[*sizes, "seed"])
    found = runs.groupby([*sizes, "seed"], as_index=False).claim.nunique()
    due = due.merge(found, how="left", on=[*sizes, "seed"])
    due["claims"] = runs.claim.nunique() - due.claim.fillna(0).astype(int)
    return due[due.claims > 0].drop(columns="claim").reset_index(drop=True)


def described(table: pd.DataFrame) -> str:
    """In words: what was run, over which grid and seeds, which runs lack values, and from where."""
    notebook, profile, dataset = (table[name].iloc[0] for name in SWEPT)
    sizes = axes(table)
    grid = [f"`{name}` {_listed(levels(table[name]))}" for name in sizes]
    seeds = levels(table.seed)
    several = f"{len(seeds)} seeds ({_listed(seeds)})" if len(seeds) > 1 else f"seed {seeds[0]}"
    over = f" over {' × '.join(grid)}, at each point with" if grid else " with"
    said = [f"`{notebook}`, profile {profile}, data {dataset},{over} {several}."]
    without, claims = lacking(table), per_run(table).claim.nunique()
    runs = math.prod(len(levels(table[name])) for name in (*sizes, "seed"))
    complete = f"{runs - len(without)} of {runs} runs have a value of every one of {claims} claims"
    named = [_named(row) for row in without.to_dict("records")[:LISTED]]
    more = f" and {len(without) - LISTED} more" if len(without) > LISTED else ""
    said.append(complete + (f", not {'; '.join(named)}{more}." if named else "."))
    if len(seeds) == 1:
        said.append("One seed: there is no interval, and no change can be told from chance.")
    commits = [commit[:7] for commit in table.commit.unique() if commit]
    return " ".join([*said, f"Made at commit {_listed(commits) or 'unknown'}."])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim and point: runs, mean, low and high of its interval, spread, unit.

    `spread` is the standard deviation over seeds; both it and the interval are NaN of one seed.
    """
    sizes, rows = axes(table), []
    for key, group in per_run(table).groupby(["claim", "unit", *sizes], sort=False):
        claim, unit, *point = key
        low, high = student(group.value)
        about = {"claim": claim, **dict(zip(sizes, point, strict=True)), "runs": len(group)}
        about |= {"mean": group.value.mean(), "low": low, "high": high}
        rows.append(about | {"spread": group.value.std(), "unit": unit})
    return pd.DataFrame(rows)


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim and size: what changes from its first value to its last, seed by seed.

    Columns: claim, size, from, to, seeds (that have both), difference, low, high, unit, and the
    spread at both, its square a mean over the other sizes. A size with one value, and a claim that
    no seed has at both, are left out.
    """
    runs, rows = per_run(table), []
    for (claim, unit), of_claim in runs.groupby(["claim", "unit"], sort=False):
        for size in axes(table):
            first, last = (levels(table[size])[at] for at in (0, -1))
            two = of_claim[of_claim[size].isin([first, last])]
            rest = [name for name in axes(table) if name != size]
            pairs = two.pivot(index=["seed", *rest], columns=size, values="value")
            if first == last or not {first, last} <= {*pairs}:
                continue
            by_seed = (pairs[last] - pairs[first]).dropna().groupby("seed").mean()
            if by_seed.empty:
                continue
            low, high = student(by_seed)
            variances = two.groupby([size, *rest]).value.var().groupby(size).mean()
            found = [claim, size, first, last, len(by_seed), by_seed.mean(), low, high, unit]
            found += [math.sqrt(variances[at]) for at in (first, last)]
            rows.append(dict(zip(CHANGED, found, strict=True)))
    return pd.DataFrame(rows, columns=CHANGED)


def _listed(values: Sequence) -> str:
    """Such as "50, 100 and 200"."""
    words = [*map(str, values)]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def _named(row: dict) -> str:
    """A run by its sizes and seed."""
    return ", ".join(f"{name} {value}" for name, value in row.items() if name != "claims")
