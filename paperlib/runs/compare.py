"""Whether a run reproduces the published results: every value of it beside the published one.

``python -m paperlib.runs.compare [RUN]`` compares the values of every claim and every cell of every
figure's table, and says the verdict first. A number $x$ is within tolerance of the published $y$ if

$$|x - y| \\le R\\,|y| + S\\,s, \\qquad s = \\max y - \\min y$$

over the column of the table, or over the seeds of the claim (there, over one seed, $s = |y|$).
Words must be the same. What a clock measured (``clocked`` in notebooks/graph.yaml) says how fast a
machine is, and is left out.

Reproduced means that every claim is within tolerance and has the published status, and that of no
figure more than `OUTSIDE` of the values are not: a picture of a map has some pixels where an image
lies on the border between two classes.

Measured, at smoke sizes on one processor (AVX-512): with two threads in place of one, no value of
notebooks 8 and 10 was off by more than an eighth of its tolerance (a similarity of patches, 0.7 %);
with AVX2 in place of AVX-512 for torch, none of notebooks 1 and 3 in six digits. The tolerance is
eight times that since other processors and devices, a GPU among them, were not measured.

Products in bfloat16 are rightly not reproduced (``benchmarks/bench_compare.py``, which rounds what
goes into each product): 488 of 33,044 values of notebooks 10 and 15 were out of tolerance, nearly
all of 15's, the farthest by 19 tolerances (it attacks images, and a step's sign can change); of
10, two of 808 similarities and one claim, by 1.6, with its status unchanged. Notebook 1 refuses to
go on, as its linear model is no longer affine.
"""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paperlib.files import FileError, write_files
from paperlib.names import STANDARD_SEED
from paperlib.notebook import provenance
from paperlib.notebook.claims import Claim, Measurement, load_claims, load_measurement
from paperlib.paths import outputs_dir, run_folder
from paperlib.runs.command import command
from paperlib.runs.table import Entry, changed_parts, read_table

RELATIVE, SPREAD = 0.01, 0.02
OUTSIDE = 0.02


@dataclass(frozen=True)
class Part:
    """One claim, or one column of a figure's table, beside the published one.

    Attributes:
        notebook: that makes it.
        name: "claim ID", or "figure NAME, COLUMN".
        values: how many are compared.
        outside: how many of them are not within tolerance.
        worst: what to say of the one that is farthest off; empty if none is outside.
        decisive: whether it alone refutes that the run reproduces what is published.
        farthest: how far off the value that is farthest off is, in tolerances.
    """

    notebook: str
    name: str
    values: int
    outside: int
    worst: str
    decisive: bool
    farthest: float = math.inf


def excess(ours: np.ndarray, published: np.ndarray, spread: float) -> np.ndarray:
    """How far numbers are from the published ones, in tolerances: at most 1 is within.

    Args:
        ours, published: of one shape; a NaN is within tolerance of a NaN alone.
        spread: of the published ones.
    """
    allowed = RELATIVE * np.abs(published) + SPREAD * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(ours - published) / allowed
    off = np.where(ours == published, 0, off)
    off = np.where(np.isnan(ours) & np.isnan(published), 0, off)
    return np.where(np.isnan(off), np.inf, off)


def compare_claim(claim: Claim, ours: Measurement, published: Measurement) -> Part:
    """The values of one claim, one a seed."""
    name = f"claim {claim.id}"
    first, second = np.array(ours.values), np.array(published.values)
    if first.shape != second.shape:
        worst = f"{len(first)} values, published {len(second)}"
        return Part(claim.notebook, name, len(second), len(second), worst, True)
    spread = float(np.ptp(second)) or abs(published.mean)
    off = excess(first, second, spread)
    outside, at = int((off > 1).sum()), int(off.argmax())
    status = claim.status(ours), claim.status(published)
    worst = f"{first[at]:g}, published {second[at]:g}" if outside else ""
    if status[0] != status[1]:
        worst = f"{status[0]} ({ours.mean:g}), published {status[1]} ({published.mean:g})"
        outside = max(outside, 1)
    far = float(off.max())
    return Part(claim.notebook, name, len(second), outside, worst, bool(outside), far)


def compare_figure(
    notebook: str, ours: Path, published: Path, clocked: Sequence[str] = ()
) -> list[Part]:
    """The columns of a figure's table.

    Args:
        notebook: that makes it.
        ours, published: its two CSV files; the first may be missing.
        clocked: columns that are left out.
    """
    figure, right = published.stem, pd.read_csv(published)
    left = pd.read_csv(ours) if ours.is_file() else pd.DataFrame()
    wanted = [column for column in right if column not in clocked]
    if [*left] != [*right] or len(left) != len(right):
        worst = f"{len(left)} rows of {', '.join(left) or 'nothing'}" if ours.is_file() else "none"
        values = len(right) * len(wanted)
        return [
            Part(notebook, f"figure {figure}", values, values, f"{worst}, published others", True)
        ]
    parts = []
    for column in wanted:
        first, second = left[column], right[column]
        if all(pd.api.types.is_numeric_dtype(one.dtype) for one in (first, second)):
            x, y = first.to_numpy(float), second.to_numpy(float)
            finite = y[np.isfinite(y)]
            off = excess(x, y, float(np.ptp(finite)) if len(finite) else 0.0)
        else:
            off = np.where(first.astype(str) == second.astype(str), 0, np.inf)
        outside, at = int((off > 1).sum()), int(off.argmax())
        worst = f"row {at + 2}: {first[at]}, published {second[at]}" if outside else ""
        name, decisive = f"figure {figure}, {column}", outside > OUTSIDE * len(second)
        far = float(off.max())
        parts.append(Part(notebook, name, len(second), outside, worst, decisive, far))
    return parts


def compare(entry: Entry, ours: Path, published: Path) -> list[Part]:
    """Everything that one notebook has published beside what it has made in a run.

    Args:
        entry: the notebook.
        ours, published: folders of its results.

    Raises:
        FileError: a claim or a measurement is wrong.
    """
    claims, parts = load_claims(), []
    for file in sorted(published.glob("claims/*.json")):
        then, mine = load_measurement(file, claims), ours / "claims" / file.name
        claim = claims[then.claim]
        if mine.is_file():
            parts.append(compare_claim(claim, load_measurement(mine, claims), then))
        else:
            count = len(then.values)
            parts.append(Part(entry.name, f"claim {claim.id}", count, count, "not measured", True))
    for file in sorted(published.glob("*.csv")):
        clocked = entry.row.clocked.get(file.stem, ())
        parts += compare_figure(entry.name, ours / file.name, file, clocked)
    return parts


def circumstances(ours: Path, published: Path) -> list[str]:
    """In what a notebook's run differs from the published one: code, threads, versions, device."""
    mine, then = provenance.load(ours), provenance.load(published)
    said = []
    if changed := changed_parts(then["parts"], mine["parts"]):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        said.append(f"other code or data: {', '.join(changed[:3])}{more}")
    for name in ("threads", "device"):
        if mine.get(name) != then.get(name):
            said.append(f"{name}: {mine.get(name)}, published {then.get(name)}")
    for name, version in then.get("versions", {}).items():
        if (found := mine.get("versions", {}).get(name)) != version:
            said.append(f"{name} {found}, published {version}")
    return said


def verdict(parts: Sequence[Part]) -> tuple[bool, str]:
    """Whether a run reproduces what is published, and the sentence that says so."""
    values, outside = sum(part.values for part in parts), sum(part.outside for part in parts)
    reproduced = not any(part.decisive for part in parts)
    first = "you reproduced it" if reproduced else "you did not reproduce it"
    said = f"{first}: {values - outside:,} of {values:,} values within tolerance"
    return reproduced, said + (", these are not" if outside else "")


def folders(runs: Sequence[Path], table: Mapping[str, Entry]) -> dict[str, Path]:
    """Where the results of every notebook are that these runs have; of the default run without any.

    Raises:
        FileError: one of them is no run, or two have the same notebook.
    """
    outputs = outputs_dir().resolve()
    standard = {
        name: outputs / run_folder("default", entry.dataset("default"), STANDARD_SEED)
        for name, entry in table.items()
    }
    found: dict[str, Path] = {}
    for run in runs or dict.fromkeys(standard.values()):
        place = run if run.is_dir() else outputs / run
        here = {name: place / name for name in table if (place / name / provenance.FILE).is_file()}
        if not here:
            raise FileError(f"{run}: no results of a run are here: start ./run_all.sh first")
        if twice := found.keys() & here.keys():
            raise FileError(f"{run}: {min(twice)} stands in {found[min(twice)].parent} too")
        found |= here
    return found


def published_beside(entry: Entry, ours: Path, against: Path | None) -> Path | None:
    """What a notebook's results are compared with; None if nothing is published of them.

    Raises:
        FileError: it was made with other parameters.
    """
    mine = provenance.load(ours)["parameters"]
    published = against / entry.name if against else entry.published(mine["profile"])
    if not (published / provenance.FILE).is_file():
        return None
    then = provenance.load(published).get("parameters", mine)
    for name, value in then.items():
        if mine.get(name) != value:
            raise FileError(f"{ours}: {name} is {mine.get(name)}, in {published} it is {value}")
    return published


@dataclass(frozen=True)
class Comparison:
    """Runs beside what is published, or beside another run.

    Attributes:
        pairs: folders of the results, ours and theirs, by notebook.
        parts: what was compared.
        remarks: the tolerance, in what the runs differ, and what was not compared.
    """

    pairs: Mapping[str, tuple[Path, Path]]
    parts: Sequence[Part]
    remarks: Sequence[str]

    @classmethod
    def of(
        cls, runs: Sequence[Path], table: Mapping[str, Entry], against: Path | None = None
    ) -> "Comparison":
        """Compare runs; see `folders` for what they may be.

        Raises:
            FileError: a folder is no run, or nothing is published of such a run.
        """
        here = folders(runs, table)
        if against:
            against = next(iter({place.parent for place in folders([against], table).values()}))
        beside = {name: published_beside(table[name], ours, against) for name, ours in here.items()}
        pairs = {name: (here[name], there) for name, there in beside.items() if there}
        if not pairs:
            raise FileError(
                f"{', '.join(here)}: nothing is published of such a run to compare with"
            )
        parts = [part for name, pair in pairs.items() for part in compare(table[name], *pair)]
        return cls(pairs, parts, remarks(pairs, [name for name in table if name not in pairs]))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 where the run reproduces what is published."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.compare",
        description="Whether a run reproduces the published results, value by value.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="default: the default run"
    )
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="in place of the published ones"
    )
    options = parser.parse_args(arguments)
    found = Comparison.of(options.runs, read_table(), options.against)
    parts, pairs = found.parts, found.pairs
    reproduced, said = verdict(parts)
    print("\n".join([said, *lines(parts)]))
    print("\n".join(found.remarks))
    for run in {ours.parent for ours, _ in pairs.values()}:
        names = [name for name, (ours, _) in pairs.items() if ours.parent == run]
        rows = pd.DataFrame([part for part in parts if part.notebook in names])
        write_files({run / "compare.csv": rows.to_csv(index=False).encode()})
        print(f"every part: {run / 'compare.csv'}")
    return 0 if reproduced else 1


def lines(parts: Iterable[Part]) -> list[str]:
    """What is not within tolerance, a line a part, what decides first."""
    outside = sorted((part for part in parts if part.outside), key=lambda part: not part.decisive)
    return [
        f"  {part.notebook:<16}{part.name}: {part.outside} of {part.values}, {part.worst}"
        for part in outside
    ]


def remarks(pairs: Mapping[str, tuple[Path, Path]], left_out: Sequence[str]) -> list[str]:
    """The tolerance, in what the runs differ, and what was not compared."""
    said = [f"tolerance: {RELATIVE:.0%} of a value and {SPREAD:.0%} of its column's spread"]
    differences: dict[str, list[str]] = {}
    for name, pair in pairs.items():
        for difference in circumstances(*pair):
            differences.setdefault(difference, []).append(name)
    for difference, names in differences.items():
        where = "everywhere" if len(names) == len(pairs) else ", ".join(names)
        said.append(f"differs: {difference} ({where})")
    if left_out:
        said.append(f"not compared: {', '.join(left_out)}")
    return said


if __name__ == "__main__":
    raise SystemExit(main())
