"""The scorecard: every claim beside what each profile measured of it, for README and terminal.

``python -m paperlib.runs.scorecard [--run FOLDER]`` prints it; `paperlib.runs.check` writes that of
README.
Rows whose result is from earlier code or data are marked, never shown as current.
"""

import argparse
import shutil
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import get_args

from paperlib import paths
from paperlib.files import FileError, write_files
from paperlib.names import PROFILES
from paperlib.notebook.claims import (
    Claim,
    Measurement,
    Profile,
    Status,
    load_claims,
    load_measurements,
    measured_text,
    notes,
)
from paperlib.runs.command import command

BEGIN, END = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"
PUBLISHED = PROFILES[1:]
EARLIER = "from earlier code"
NONE = "–"
Measured = Mapping[tuple[str, str], Measurement]  # by claim and profile
Stale = Collection[tuple[str, str]]  # notebook and profile


def markdown(stale: Stale) -> str:
    """README's scorecard: a count, a table of one row a claim, and what the blanks mean.

    Raises:
        FileError: a claim or a measurement is wrong.
    """
    claims = load_claims()
    found = _load([paths.FIGURES / profile for profile in PUBLISHED], claims, PUBLISHED)
    heads = ["paper", "where, notebook", "claim, what we measure, what must hold", "reported"]
    heads += ["default profile (drawn data)", "paper profile (real data)"]
    rows = []
    for claim in claims.values():
        what = f"{claim.statement}<br>*{claim.quantity}*: {claim.check} ({claim.unit})"
        where = f"{claim.where}<br>[{claim.notebook}](notebooks/{claim.notebook}.ipynb)"
        cells = [claim.paper, where, what, _reported(claim)]
        cells += [_cell(claim, profile, found, stale) for profile in PUBLISHED]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    counts = [f"{name} profile: {_count(claims, found, name, stale)}" for name in PUBLISHED]
    blanks = dict.fromkeys(claim.source for claim in claims.values() if claim.reported is None)
    lines = [f"{len(claims)} claims. {'; '.join(counts).capitalize()}.", ""]
    lines += [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads), *rows, ""]
    lines += [f"Reported “{NONE}”: {source}." for source in blanks]
    spread = "standard deviation over draws of images, not over trainings"
    lines.append(f"Measured values are mean ± {spread}.")
    return "\n".join(lines)


def plain(claims: Mapping[str, Claim], found: Measured, profiles: Sequence[str], width: int) -> str:
    """The scorecard as plain text, at most `width` columns wide (60 at least)."""
    width = max(width, 60)
    names = max(map(len, claims))
    checks = max(len("must be"), *(len(str(claim.check)) for claim in claims.values()))
    each = (width - names - checks - 2) // len(profiles) - 2
    widths = [names, checks] + [min(each, 32)] * len(profiles)
    lines = _wrapped(["claim", "must be", *(f"{name} profile" for name in profiles)], widths)
    lines.append("-" * width)
    for claim in claims.values():
        measured = [found.get((claim.id, profile)) for profile in profiles]
        cells = [
            f"{measured_text(claim, one)}  {claim.status(one)}" if one else "not run"
            for one in measured
        ]
        lines += _wrapped([claim.id, str(claim.check), *cells], widths)
        what = [f"{claim.quantity} ({claim.unit})"]
        what += [note for one in measured if one for note in notes(claim, one)]
        for text in what:
            lines += textwrap.wrap(
                text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
            )
    lines.append("-" * width)
    lines += [f"{profile} profile: {_count(claims, found, profile, ())}" for profile in profiles]
    return "\n".join(lines)


def show(runs: Sequence[Path] = (), notebooks: Collection[str] = ()) -> None:
    """Print the scorecard of runs, without any that of the published results.

    Args:
        runs: their folders.
        notebooks: whose claims are shown; without any, all.

    Raises:
        FileError: a claim or a measurement is wrong, or there is none.
    """
    claims = load_claims()
    if notebooks:
        claims = {key: claim for key, claim in claims.items() if claim.notebook in notebooks}
    profiles: Sequence[str] = PUBLISHED
    folders = [*runs] or [paths.FIGURES / profile for profile in PUBLISHED]
    if runs:
        measured = {profile for _, profile in load_measurements(folders, load_claims())}
        profiles = [name for name in get_args(Profile) if name in measured]
        if not profiles or not claims:
            return
    found = _load(folders, load_claims(), profiles)
    print(plain(claims, found, profiles, shutil.get_terminal_size().columns))


def with_scorecard(readme: Path, stale: Stale) -> str:
    """The text of a README with today's scorecard between the marks.

    Raises:
        FileError: no such file, or the marks do not stand once each and in order.
    """
    if not readme.is_file():
        raise FileError(f"{readme}: no such file")
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise FileError(f"{readme}: expected one line {BEGIN} and after it one line {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{markdown(stale)}\n{END}{rest.split(END)[1]}"


def is_current(readme: Path, stale: Stale) -> bool:
    """Whether a README shows today's scorecard."""
    return with_scorecard(readme, stale) == readme.read_text(encoding="utf-8")


def write(readme: Path, stale: Stale) -> None:
    """Write today's scorecard into a README."""
    write_files({readme: with_scorecard(readme, stale).encode()})


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.scorecard", description="Print the scorecard."
    )
    parser.add_argument(
        "--run",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="outputs of a run; without it the published results",
    )
    options = parser.parse_args(arguments)
    for folder in options.run:
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder")
    show(options.run)
    return 0


def _load(folders: Iterable[Path], claims: dict[str, Claim], profiles: Sequence[str]) -> Measured:
    found = load_measurements(folders, claims)
    for claim_id, profile in found:
        if profile not in profiles:
            raise FileError(
                f"measurement of {claim_id}: profile: {profile} has no place in a scorecard of "
                f"{', '.join(profiles)}"
            )
    return found


def _reported(claim: Claim) -> str:
    return NONE if claim.reported is None else f"{claim.reported:g} ({claim.source})"


def _cell(claim: Claim, profile: str, found: Measured, stale: Stale) -> str:
    measurement = found.get((claim.id, profile))
    if measurement is None:
        return "not run"
    status = f"**{claim.status(measurement)}**"
    if (claim.notebook, profile) in stale:
        status += f" ({EARLIER})"
    parts = [f"{measured_text(claim, measurement)}, {status}", measurement.scale]
    said = measurement.altered in measurement.source
    source = measurement.source if said else f"{measurement.source} ({measurement.altered})"
    parts += [source, *notes(claim, measurement)]
    return "<br>".join(parts)


def _count(claims: Mapping[str, Claim], found: Measured, profile: str, stale: Stale) -> str:
    counts: Counter[str] = Counter()
    for claim in claims.values():
        measurement = found.get((claim.id, profile))
        counts[claim.status(measurement) if measurement else "not run"] += 1
        counts[EARLIER] += bool(measurement) and (claim.notebook, profile) in stale
    names = (*get_args(Status), EARLIER)
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name])


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Lines of one table row, every cell wrapped to its column."""
    columns = [
        textwrap.wrap(cell, width, break_on_hyphens=False)
        for cell, width in zip(row, widths, strict=True)
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    ]


if __name__ == "__main__":
    raise SystemExit(main())
