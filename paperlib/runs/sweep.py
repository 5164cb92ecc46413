"""Runs one notebook over a grid of sizes and seeds, and puts what it measures into one table.

``python -m paperlib.runs.sweep sweeps/images.yaml``. A sweep is a file::

    notebook: 01_spectrum
    profile: smoke             # whose other sizes are taken; without it: default
    dataset: openmoji          # without it: that of the profile
    grid:                      # sizes by name, each with the values that it takes
      images: [50, 100]
    seeds: [0, 1, 2]

Every point and seed is a run of its own, in its own folder of the outputs: values without a status,
which `publish` never takes. What is finished stays, so that a sweep that was stopped or killed goes
on where it was. The table has a row for each value of each claim, with where it comes from;
notebook 16 reads it, and a picture shows every claim over the grid.
"""

import argparse
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paperlib.files import FileError, read_yaml, write_files
from paperlib.names import LARGEST_SEED
from paperlib.notebook import provenance
from paperlib.notebook.claims import load_claims, load_measurement, problems
from paperlib.notebook.parameters import ParameterError, changed_row, closest
from paperlib.paths import outputs_dir
from paperlib.runs import graph
from paperlib.runs.command import command
from paperlib.runs.table import Entry, Job, read_table


class Sweep(BaseModel):
    """What a file says (see above)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    notebook: str
    profile: str = "default"
    dataset: str | None = None
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]], Field(min_length=1)] = [0]


def read_sweep(file: Path) -> Sweep:
    """The sweep that a file describes.

    Raises:
        FileError: it is no YAML, or a field is missing, unknown or wrong.
    """
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise FileError(f"{file}: expected notebook, grid and seeds")
    try:
        return Sweep.model_validate(content)
    except ValidationError as error:
        raise FileError(f"{file}: {problems(error, 'sweep')}") from None


def jobs(sweep: Sweep, table: Mapping[str, Entry], file: Path) -> list[Job]:
    """A job for each point of the grid and each seed.

    Raises:
        FileError: there is no such notebook, profile, data set or size, or a size does not take one
            of its values.
    """
    try:
        if sweep.notebook not in table:
            raise ParameterError(f"notebook {sweep.notebook}: {closest(sweep.notebook, table)}")
        entry = table[sweep.notebook]
        rows = entry.sizes.SIZES[sweep.notebook]
        if sweep.profile not in rows:
            raise ParameterError(f"profile {sweep.profile}: {closest(sweep.profile, rows)}")
        dataset = sweep.dataset or entry.dataset(sweep.profile)
        if dataset not in entry.datasets:
            raise ParameterError(f"dataset {dataset}: {closest(dataset, entry.datasets)}")
        points = [
            dict(zip(sweep.grid, values, strict=True))
            for values in itertools.product(*sweep.grid.values())
        ]
        for point in points:
            changed_row(rows, sweep.profile, point)
    except ParameterError as error:
        raise FileError(f"{file}: {error}") from None
    return [
        Job(entry, sweep.profile, dataset, seed, point)
        for point in points
        for seed in dict.fromkeys(sweep.seeds)
    ]


def results(planned: Sequence[Job], done: Sequence[Job], outputs: Path) -> pd.DataFrame:
    """What finished runs have measured: a row for each value of each claim.

    A run that has not finished has one row, without a claim.

    Columns: notebook, profile, dataset, seed; every size of the grid; claim, draw (which of the
    run's values), value, unit; run, digest, commit, clean, threads, device.
    """
    claims, rows, finished = load_claims(), [], {job.run for job in done}
    for job in planned:
        folder = outputs / job.run / job.entry.name
        about = {"notebook": job.entry.name, "profile": job.profile, "dataset": job.dataset}
        about |= {"seed": job.seed, **{name: _plain(value) for name, value in job.changes.items()}}
        if job.run not in finished:
            rows.append(about | {"claim": "", "run": job.run})
            continue
        made = provenance.load(folder)
        source = {name: made.get(name) for name in ("digest", "commit", "clean", "threads")}
        for file in sorted(folder.glob("claims/*.json")):
            measured = load_measurement(file, claims)
            for draw, value in enumerate(measured.values):
                one = {"claim": measured.claim, "draw": draw, "value": value}
                one["unit"] = claims[measured.claim].unit
                rows.append(about | one | {"run": job.run} | source | {"device": made["device"]})
    return pd.DataFrame(rows)


def _plain(value: Any) -> Any:
    """A size as a table can hold it."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def card(sweep: Sweep, planned: Sequence[Job], done: Sequence[Job]) -> bytes:
    """Where a sweep's table comes from, beside what stands in its rows, as JSON."""
    found = {"sweep": sweep.model_dump(), "runs": len(planned), "finished": len(done)}
    return f"{json.dumps(found | {'versions': provenance.versions()}, indent=1)}\n".encode()


def picture(table: pd.DataFrame) -> bytes:
    """Every value over the grid, as notebook 16 draws it, as PNG."""
    import matplotlib.pyplot as plt  # here: they take a second, which a plan does not need

    from paperlib.notebook.figures import style
    from paperlib.sweeps.plots import over_grid
    from paperlib.sweeps.tables import per_run

    style()
    figure, drawn = over_grid(per_run(table)), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    plt.close(figure)
    return drawn.getvalue()


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.sweep",
        description="Run a notebook over a grid of sizes and seeds.",
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, help="runs side by side, at most the cores")
    parser.add_argument("--cluster", type=Path, help="folder of Snakemake's profile for a Slurm")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why")
    options = parser.parse_args(arguments)
    sweep = read_sweep(options.file)
    planned = jobs(sweep, read_table(), options.file)
    outputs = outputs_dir().resolve()
    plans = graph.plan(planned, outputs)
    *lines, total = graph.described(plans)
    if options.dry_run:
        print("\n".join([*lines, total]))
        return 0
    print(total, flush=True)
    code = graph.run(planned, options.jobs, quiet=True, cluster=options.cluster)
    done = [each.job for each in graph.plan(planned, outputs) if not each.why]
    table = results(planned, done, outputs)
    place = outputs / "sweeps" / f"{options.file.stem}.csv"
    if values := int((table.claim != "").sum()):
        write_files(
            {
                place: table.to_csv(index=False).encode(),
                place.with_suffix(".parquet"): table.to_parquet(index=False),
                place.with_suffix(".png"): picture(table),
                place.with_suffix(".json"): card(sweep, planned, done),
            }
        )
        print(f"{len(done)} of {len(planned)} runs, {values} values: {place}")
        print("beside it .parquet, a picture (.png) and its card (.json); notebook 16 reads it")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
