"""What came out of a claim, in words: the number, what must be known beside it, the verdict.

A notebook shows it beneath a check and at its end, `paperlib.runs` on the scorecard and its pages.
"""

import math
from pathlib import Path

from paperlib.notebook.claims import Claim, Measurement, load_claims, load_measurement

IN_WORDS: dict[str, str] = {  # what a status says of a claim
    "reproduced": "**It holds**, in the paper's own setting",
    "scaled-down": "**It holds** here",
    "disagrees": "**It does not hold** here",
    "no stake": "**Nothing is at stake** here",
    "undecided": "**Undecided** here",
    "not run": "Not measured",
    "no status": "Measured, without a verdict",
}


def measured_text(claim: Claim, measurement: Measurement) -> str:
    """Mean ± standard deviation, or mean and 95 % interval, with what that is over.

    To 3 digits of the largest of both, or of the interval's ends where they are 0; more where the
    mean rounds to the limit.
    """
    mean, std, ends = measurement.mean, measurement.std, measurement.interval
    largest = max(abs(mean), std or 0) or max(map(abs, ends or (0,)))
    decimals = min(4, max(0, 2 - math.floor(math.log10(largest)))) if largest else 0
    limits = [claim.check.value + sign * (claim.check.tolerance or 0) for sign in (-1, 1)]
    while decimals < 9 and any(round(mean, decimals) == limit != mean for limit in limits):
        decimals += 1
    shown = f"{round(mean, decimals) + 0.0:.{decimals}f}"
    if ends:
        low, high = (f"{round(end, decimals) + 0.0:.{decimals}f}" for end in ends)
        return f"{shown} [{low}, {high}] (95 % over {measurement.over})"
    return shown if std is None else f"{shown} ± {std:.{decimals}f}"


def notes(claim: Claim, measurement: Measurement) -> list[str]:
    """What a reader must know beside the number: the note, and draws that answer otherwise."""
    holds = claim.check.holds(measurement.mean)
    other = sum(claim.check.holds(value) != holds for value in measurement.values)
    draws = len(measurement.values)
    unclear = f"not clear of the threshold in {other} of {draws} draws" if other else ""
    ends = None if measurement.interval else measurement.ends  # an interval stands in the text
    if ends and not claim.check.decided(*ends):
        unclear = f"over {draws} draws {_from_to(ends)} {claim.unit} (95 %)"
    stake = measurement.stake and f"at stake: {_from_to(measurement.stake)} {claim.unit} (95 %)"
    return [text for text in (measurement.note, stake, unclear) if text]


def _from_to(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def outcome(claim: Claim, measurement: Measurement) -> str:
    """One line of Markdown: the claim, what was measured, and the status."""
    return (
        f"**{claim.statement}** ({claim.where}) {claim.quantity}: "
        f"{measured_text(claim, measurement)} ({claim.unit}), must be {claim.check} → "
        f"**{claim.status(measurement)}**"
    )


def outcomes(notebook: str, folder: Path) -> str:
    """What came out of a notebook's claims: each in plain words, and a table of them, as Markdown.

    Args:
        notebook: its name.
        folder: of its results.

    Raises:
        FileError: a claim or a measurement is wrong.
    """
    claims = load_claims()
    lines = [
        "| claim | reported | must be | measured | status |",
        "| --- | --- | --- | --- | --- |",
    ]
    said = []
    for claim in claims.values():
        if claim.notebook != notebook:
            continue
        file = folder / "claims" / f"{claim.id}.json"
        measured, status = "–", "not run"
        if file.is_file():
            measurement = load_measurement(file, claims)
            measured = measured_text(claim, measurement)
            status = claim.status(measurement)
        said.append(f"- {IN_WORDS[status]}: {claim.statement}")
        reported = "–" if claim.reported is None else f"{claim.reported:g}"
        cells = [claim.statement, reported, f"{claim.check} ({claim.unit})", measured, status]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*said, "", *lines])
