"""The scorecard: every claim beside what each profile measured of it, as plain text.

``python -m paperlib.runs.scorecard [--run FOLDER]`` prints it; `paperlib.runs.pages` writes that of
README.
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
from paperlib.files import FileError
from paperlib.names import PROFILES
from paperlib.notebook.claims import (
    Claim,
    Measurement,
    Profile,
    Status,
    load_claims,
    load_measurements,
)
from paperlib.notebook.outcomes import measured_text, notes
from paperlib.runs.command import command

PUBLISHED = PROFILES[1:]
EARLIER = "from earlier code"
NONE = "–"
Measured = Mapping[tuple[str, str], Measurement]  # by claim and profile
Stale = Collection[tuple[str, str]]  # notebook and profile


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
    lines += [f"{profile} profile: {_count(claims, found, profile)}" for profile in profiles]
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
    found = load(folders, load_claims(), profiles)
    print(plain(claims, found, profiles, shutil.get_terminal_size().columns))


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


def load(folders: Iterable[Path], claims: dict[str, Claim], profiles: Sequence[str]) -> Measured:
    """What was measured below some folders, in these profiles.

    Raises:
        FileError: a measurement is wrong, or of another profile.
    """
    found = load_measurements(folders, claims)
    for claim_id, profile in found:
        if profile not in profiles:
            raise FileError(
                f"measurement of {claim_id}: profile: {profile} has no place in a scorecard of "
                f"{', '.join(profiles)}"
            )
    return found


def _count(claims: Mapping[str, Claim], found: Measured, profile: str) -> str:
    measured = [(claim, found.get((claim.id, profile))) for claim in claims.values()]
    counts = Counter(claim.status(one) if one else "not run" for claim, one in measured)
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
