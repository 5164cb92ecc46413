"""Claims over several runs: the mean of what they measured, and how sure that mean is.

``python -m paperlib.runs.statistics RUN... [--format csv]``. Of n runs, most often of n seeds,
whose values have the mean $\\bar x$ and the standard deviation $s$, the interval is Student's, at
95 %:

$$\\bar x \\pm t_{0.975, n-1}\\ s / \\sqrt n$$

A run counts as one value, the mean over its draws. Runs with other sizes are told apart.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from paperlib.files import FileError
from paperlib.intervals import student
from paperlib.notebook.claims import load_claims, load_measurement
from paperlib.paths import outputs_dir
from paperlib.runs.command import command

FORMATS = ("table", "csv", "json")


def over_runs(runs: Sequence[Path]) -> pd.DataFrame:
    """A row for each claim, profile, data set and change of sizes.

    Columns: claim, profile, dataset, changed; runs, mean, low, high (NaN for one run), check,
    holds (share of the runs in which the check does), unit.

    Raises:
        FileError: a measurement is wrong, or there is none.
    """
    claims = load_claims()
    rows = []
    for run in runs:
        for file in sorted(run.glob("**/claims/*.json")):
            one = load_measurement(file, claims)
            key = {"claim": one.claim, "profile": one.profile, "dataset": one.dataset}
            rows.append(key | {"changed": one.changed, "value": one.mean})
    if not rows:
        where = ", ".join(map(str, runs)) or str(outputs_dir())
        raise FileError(f"{where}: no claim was measured here: start ./run_all.sh first")
    found = []
    keys = ["claim", "profile", "dataset", "changed"]
    for key, group in pd.DataFrame(rows).groupby(keys, sort=False):
        claim, values = claims[key[0]], group.value
        low, high = student(values)
        holds = sum(map(claim.check.holds, values)) / len(values)
        measured = {"runs": len(values), "mean": values.mean(), "low": low, "high": high}
        said = {"check": str(claim.check), "holds": holds, "unit": claim.unit}
        found.append(dict(zip(keys, key, strict=True)) | measured | said)
    return pd.DataFrame(found)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.statistics",
        description="Mean and interval of every claim over several runs.",
    )
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="default: all in outputs")
    parser.add_argument("--format", choices=FORMATS, default="table")
    options = parser.parse_args(arguments)
    outputs = outputs_dir().resolve()
    runs = [run if run.is_dir() else outputs / run for run in options.runs]
    table = over_runs(runs or sorted(outputs.glob("*-seed*")))
    if options.format == "csv":
        print(table.to_csv(index=False), end="")
    elif options.format == "json":
        print(json.dumps(json.loads(table.to_json(orient="records")), indent=1))
    else:
        print(table.to_string(index=False, na_rep="–", float_format="%.4g"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
