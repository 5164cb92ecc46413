"""Whether the published results are current: what decides each is compared with what stands now.

``python -m paperlib.runs.check`` lists what is stale and names what has changed; it fails when
README or docs/claims.md shows such a result as current. With ``--release`` it fails on everything
that is stale; with ``--mark`` it first writes those pages, which mark what is stale.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paperlib.data import external
from paperlib.names import PROFILES, STANDARD_SEED
from paperlib.notebook import figures, provenance
from paperlib.paths import ROOT
from paperlib.runs import pages
from paperlib.runs.command import command
from paperlib.runs.table import Entry, changed_parts, read_table

PUBLISHED = PROFILES[1:]


@dataclass(frozen=True)
class State:
    """How the published results of one notebook in one profile stand.

    Attributes:
        published: whether there are any.
        changed: parts whose change makes the values stale.
        looks: figures that would be drawn otherwise today; none where values are stale, as what is
            run anew is drawn anew.
        data: outside data that is here and is not what was measured.
        absent: outside data that is not here, so that nothing can be said of it.
    """

    published: bool
    changed: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether the values are from earlier code or data."""
        return bool(self.changed or self.data)


def state(entry: Entry, profile: str) -> State:
    """How the published results of a notebook stand.

    Raises:
        FileError: a file that the notebook needs, or one of the results, is missing or damaged.
    """
    folder = entry.published(profile)
    if not folder.is_dir():
        return State(published=False)
    made = provenance.load(folder)
    now = entry.parts(profile, entry.dataset(profile), STANDARD_SEED)
    changed = changed_parts(made["parts"], now)
    if not made["parts"]:
        changed = ("what decided it was not recorded",)
    data, absent = _outside(made["external"])
    drawn = [] if changed or data else saved_figures(folder)
    looks = tuple(name for name in drawn if _looks_changed(folder, name))
    return State(True, changed, looks, data, absent)


def saved_figures(folder: Path) -> list[str]:
    """Names of the figures that were saved in a folder with what draws them."""
    return [file.stem for file in sorted(folder.glob("*.json")) if file.name != provenance.FILE]


def _looks_changed(folder: Path, name: str) -> bool:
    saved = figures.load_figure(folder, name)
    return saved.about["looks"] != saved.looks()


def _outside(then: dict[str, dict[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    here = external.changed(then)
    changed = [f"{dataset}: {name}" for dataset, names in here.items() for name in names]
    return tuple(changed), tuple(dataset for dataset in then if dataset not in here)


def states(
    profiles: Sequence[str] = PUBLISHED, table: Mapping[str, Entry] | None = None
) -> dict[tuple[str, str], State]:
    """How everything that is published stands, by notebook and profile.

    Raises:
        FileError: the table, the claims or a result is wrong.
    """
    table = table if table is not None else read_table()
    return {
        (name, profile): state(entry, profile)
        for profile in profiles
        for name, entry in table.items()
    }


def stale(found: Mapping[tuple[str, str], State]) -> set[tuple[str, str]]:
    """Notebook and profile of every result that is from earlier code or data."""
    return {key for key, one in found.items() if one.stale}


def lines(found: Mapping[tuple[str, str], State]) -> list[str]:
    """What to say of every result that is not simply current."""
    said = []
    for (name, profile), one in found.items():
        where = f"{profile:<8}{name:<16}"
        if not one.published:
            said.append(f"{where}not run")
        if one.changed:
            said.append(f"{where}stale: {_few(one.changed)}")
        if one.data:
            said.append(f"{where}stale: other data: {_few(one.data)}")
        if one.looks:
            said.append(f"{where}drawn otherwise today: {_few(one.looks)}")
        if one.absent:
            said.append(f"{where}data not here: {', '.join(one.absent)}")
    return said


def _few(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.check",
        description="Whether the published results are what today's code would give.",
    )
    parser.add_argument("--release", action="store_true", help="fail on everything that is stale")
    parser.add_argument("--profile", choices=PUBLISHED, help="default: both")
    parser.add_argument("--mark", action="store_true", help="write the pages first")
    options = parser.parse_args(arguments)
    found = states()
    if options.mark:
        pages.write(ROOT, stale(found))
    shown = {key: one for key, one in found.items() if options.profile in (None, key[1])}
    print("\n".join(lines(shown)) or "everything that is published is current")
    failures = [*_failures(shown)] if options.release else []
    if not pages.is_current(ROOT, stale(found)):
        failures.append("README.md or docs/claims.md is not today's: run ./run_all.sh scorecard")
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    return 1 if failures else 0


def _failures(shown: Mapping[tuple[str, str], State]) -> list[str]:
    names = [
        f"{name} ({profile})" for (name, profile), one in shown.items() if one.stale or one.looks
    ]
    return [f"not fit for a release: {', '.join(names)}: run ./run_all.sh publish"] if names else []


if __name__ == "__main__":
    raise SystemExit(main())
