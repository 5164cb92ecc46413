"""The scorecard: every claim beside what each profile measured of it, for README and terminal.

``python -m paperlib.runs.scorecard show [--run FOLDER]``, ``write README.md`` (fills it in) and
``check README.md`` (exit 1 when it is stale).
"""

import argparse
import math
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from paperlib import paths
from paperlib.notebook.claims import (
    Claim,
    ClaimError,
    Measurement,
    Profile,
    Status,
    load_claims,
    load_measurements,
)
from paperlib.notebook.provenance import write_files

if TYPE_CHECKING:
    import pandas as pd

BEGIN, END = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"
PUBLISHED: tuple[Profile, ...] = ("default", "paper")
DATASET_NAMES = {
    "openmoji": "OpenMoji",
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10, JPEG copy",
    "photographs": "photographs",
    "coco": "COCO",
}
NONE = "–"


def scorecard(folders: Iterable[Path], profiles: Sequence[Profile] = PUBLISHED) -> "pd.DataFrame":
    """One row a claim, ready to display.

    Args:
        folders: where to look for measurements, at or below; a missing folder holds none.
        profiles: the profiles to show; two columns each, "<profile> measured" and
            "<profile> status".

    Returns:
        Index id; columns paper, where, claim, quantity, check, unit, reported, then those of
        the profiles. Numbers are text, rounded.

    Raises:
        ClaimError: a claim or a measurement is wrong, or of a profile that is not shown.
    """
    import pandas as pd  # here, because the command starts twice as fast without it

    claims, found = _load(folders, profiles)
    rows = {}
    for claim in claims.values():
        rows[claim.id] = {
            "paper": claim.paper,
            "where": claim.where,
            "claim": claim.statement,
            "quantity": claim.quantity,
            "check": str(claim.check),
            "unit": claim.unit,
            "reported": _reported(claim),
        }
        for profile in profiles:
            measurement = found.get((claim.id, profile))
            measured = measured_text(claim, measurement) if measurement else NONE
            rows[claim.id][f"{profile} measured"] = measured
            rows[claim.id][f"{profile} status"] = status_of(measurement)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("id")


def markdown(folders: Iterable[Path]) -> str:
    """The README's scorecard: a count, a table of one row a claim, and what the blanks mean.

    Raises:
        ClaimError: as for `scorecard`.
    """
    claims, found = _load(folders, PUBLISHED)
    heads = ["paper", "where, notebook", "claim, what we measure, what must hold", "reported"]
    heads += ["default profile (drawn data)", "paper profile (real data)"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for claim in claims.values():
        what = f"{claim.statement}<br>*{claim.quantity}*: {claim.check} ({claim.unit})"
        where = f"{claim.where}<br>[{claim.notebook}](notebooks/{claim.notebook}.ipynb)"
        cells = [claim.paper, where, what, _reported(claim)]
        cells += [_cell(claim, found.get((claim.id, profile))) for profile in PUBLISHED]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    counts = [f"{profile} profile: {_count(claims, found, profile)}" for profile in PUBLISHED]
    blanks = dict.fromkeys(c.source for c in claims.values() if c.reported is None)
    lines = [f"{len(claims)} claims. {'; '.join(counts).capitalize()}.", "", *lines, ""]
    lines += [f"Reported “{NONE}”: {source}." for source in blanks]
    lines.append("Measured values are mean ± standard deviation over evaluation seeds.")
    return "\n".join(lines)


def plain(folders: Iterable[Path], profiles: Sequence[Profile] = PUBLISHED, width: int = 80) -> str:
    """The scorecard as plain text, at most `width` columns wide (60 at least).

    Raises:
        ClaimError: as for `scorecard`.
    """
    claims, found = _load(folders, profiles)
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
            f"{measured_text(claim, one)}  {one.status}" if one else status_of(one)
            for one in measured
        ]
        lines += _wrapped([claim.id, str(claim.check), *cells], widths)
        what = [f"{claim.quantity} ({claim.unit})", *(one.note for one in measured if one)]
        for text in filter(None, what):
            lines += textwrap.wrap(
                text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
            )
    lines.append("-" * width)
    lines += [f"{profile} profile: {_count(claims, found, profile)}" for profile in profiles]
    return "\n".join(lines)


def status_of(measurement: Measurement | None) -> Status:
    """Status of a claim, "not run" where nothing was measured."""
    return measurement.status if measurement else "not run"


def measured_text(claim: Claim, measurement: Measurement) -> str:
    """Mean ± standard deviation, to 3 digits of the larger, more where it rounds to the limit."""
    mean, std = measurement.mean, measurement.std
    largest = max(abs(mean), std or 0)
    decimals = min(4, max(0, 2 - math.floor(math.log10(largest)))) if largest else 0
    limits = [claim.check.value + sign * (claim.check.tolerance or 0) for sign in (-1, 1)]
    while decimals < 9 and any(round(mean, decimals) == limit != mean for limit in limits):
        decimals += 1
    shown = f"{round(mean, decimals) + 0.0:.{decimals}f}"
    return shown if std is None else f"{shown} ± {std:.{decimals}f}"


def published_folders() -> list[Path]:
    """Where the committed measurements are."""
    return [paths.FIGURES / profile for profile in PUBLISHED]


def replace_block(readme: Path, scorecard_text: str) -> str:
    """Text of `readme` with `scorecard_text` between the marks.

    Raises:
        ClaimError: no such file, or the marks do not stand once each and in order.
    """
    if not readme.is_file():
        raise ClaimError(f"{readme}: no such file")
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ClaimError(f"{readme}: expected one line {BEGIN} and after it one line {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{scorecard_text}\n{END}{rest.split(END)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.scorecard", description="Show, write or check the scorecard."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print the scorecard")
    show.add_argument(
        "--run",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="outputs of a run; without it the committed ones",
    )
    for name, text in (
        ("write", "write the scorecard of the committed claims into a README"),
        ("check", "exit 1 when the README's scorecard is not that of the committed claims"),
    ):
        commands.add_parser(name, help=text).add_argument("readme", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "show":
            return _show(options.run)
        new = replace_block(options.readme, markdown(published_folders()))
        if options.command == "write":
            write_files({options.readme: new.encode()})
        elif new != options.readme.read_text(encoding="utf-8"):
            print(
                f"{options.readme}: the scorecard is stale; run ./run_all.sh publish",
                file=sys.stderr,
            )
            return 1
    except ClaimError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _show(runs: list[Path] | None) -> int:
    for run in runs or []:
        if not run.is_dir():
            raise ClaimError(f"{run}: no such folder")
    folders = runs or published_folders()
    profiles = PUBLISHED
    if runs:
        measured = {profile for _, profile in load_measurements(folders, load_claims())}
        profiles = tuple(name for name in get_args(Profile) if name in measured)
        if not profiles:
            where = ", ".join(map(str, runs))
            raise ClaimError(f"{where}: no measurement (claims/*.json) here or below")
    print(plain(folders, profiles, shutil.get_terminal_size().columns))
    return 0


def _load(
    folders: Iterable[Path], profiles: Sequence[Profile]
) -> tuple[dict[str, Claim], dict[tuple[str, str], Measurement]]:
    claims = load_claims()
    found = load_measurements(folders, claims)
    for claim_id, profile in found:
        if profile not in profiles:
            raise ClaimError(
                f"measurement of {claim_id}: profile: {profile} has no place in a scorecard of "
                f"{', '.join(profiles)}"
            )
    return claims, found


def _reported(claim: Claim) -> str:
    return NONE if claim.reported is None else f"{claim.reported:g} ({claim.source})"


def _dataset(name: str) -> str:
    return DATASET_NAMES.get(name, name)


def _cell(claim: Claim, measurement: Measurement | None) -> str:
    if measurement is None:
        return status_of(measurement)
    parts = [f"{measured_text(claim, measurement)}, **{measurement.status}**"]
    parts += [measurement.scale, measurement.source, measurement.note]
    return "<br>".join(part for part in parts if part)


def _count(
    claims: dict[str, Claim], found: dict[tuple[str, str], Measurement], profile: str
) -> str:
    counts = Counter(status_of(found.get((claim_id, profile))) for claim_id in claims)
    return ", ".join(f"{counts[name]} {name}" for name in get_args(Status) if counts[name])


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
