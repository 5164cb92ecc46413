"""What the notebooks of D4C give to the checks of their claims: values, scale, interval, stake.

The interval is the 95 % interval over draws (Student's t), as each draw has images of its own.
Beside it stands what is at stake: what the best that can be had, real images, gains over the same
opponent.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from paperlib.d4c.encoders import ENCODERS
from paperlib.d4c.tables import over_draws

STAKES = {  # of the columns of `gain_table`
    "gain": "real minus baseline",
    "above the spectrum": "real minus spectrum",
    "above the best control": "real minus the best control",
    "above the middle": "real minus noise",
}
LEARNED = {"learned": "gain", "learned-control": "above the spectrum"}  # with learned rounding
DECISIVE = {"decisive": "gain", "control": "above the spectrum"}
DECISIVE |= {"best-control": "above the best control", "real": "above the middle"}
PARTS = ("scg", "pae", "scg-to-pae", "pae-to-scg")  # in the order of `part_gains`


class Claimed(NamedTuple):
    """One claim as a run measured it.

    Attributes:
        claim: its id.
        encoder: that it is of.
        values: one a draw.
        about: scale, interval, over and stake, as `paperlib.notebook.run.Run.check` takes them.
    """

    claim: str
    encoder: str
    values: list[float]
    about: dict[str, Any]


def _claimed(
    claim: str, encoder: str, values: pd.Series, scale: str, stake: Iterable[float] | None = None
) -> Claimed:
    ends = over_draws(values)
    about = {"interval": ends, "over": "draws" if ends else ""}
    about["stake"] = None if stake is None else over_draws(stake)
    about["scale"] = f"{ENCODERS[encoder]}{scale}, {len(values)} draws"
    return Claimed(f"{claim}-{encoder}", encoder, values.tolist(), about)


def gain_claims(
    gains: pd.DataFrame,
    decisive: Mapping[str, str],
    images: int,
    claims: Mapping[str, str] = DECISIVE,
) -> Iterator[Claimed]:
    """What D4C gains over baseline, spectrum and the middle where images decide, by encoder.

    Args:
        gains: of `paperlib.d4c.tables.gain_table`.
        decisive: the bit-widths, by encoder.
        images: tested for each draw.
        claims: columns of `gains` by the claims that are made of them: `DECISIVE` or `LEARNED`.
    """
    for encoder, bits in decisive.items():
        mine = gains[(gains.encoder == encoder) & (gains.bits == bits)]
        for claim, column in claims.items() if len(mine) else ():
            given = mine[column], f", {bits}; {images} images", mine[STAKES[column]]
            yield _claimed(f"d4c-1-{claim}", encoder, *given)


def paper_bits_claims(gains: pd.DataFrame, images: int) -> Iterator[Claimed]:
    """What D4C gains over the baseline at W4A8, the paper's setting; arguments as `gain_claims`."""
    for encoder, mine in gains[gains.bits == "W4A8"].groupby("encoder", sort=False):
        stake = mine[STAKES["gain"]]
        yield _claimed("d4c-1-w4a8", encoder, mine.gain, f"; {images} images", stake)


def dynamic_claims(above: pd.DataFrame, images: int) -> Iterator[Claimed]:
    """What D4C gains over dynamic activations.

    Args:
        above: what "d4c" and "real" gain over them, in percentage points, by encoder and draw.
        images: tested for each draw.
    """
    for encoder, mine in above.groupby("encoder", sort=False):
        yield _claimed("d4c-1-dynamic", encoder, mine.d4c, f"; {images} images", mine.real)


def part_claims(gains: pd.DataFrame, stakes: pd.DataFrame, images: int) -> Iterator[Claimed]:
    """What each part of D4C adds, alone and to the other.

    Args:
        gains: of `paperlib.d4c.ablation.part_gains`, by encoder and draw.
        stakes: of `paperlib.d4c.ablation.part_stakes`, by the same.
        images: tested for each draw.
    """
    for encoder, mine in gains.groupby("encoder", sort=False):
        for claim, gain in zip(PARTS, gains, strict=True):
            given = mine[gain], f"; {images} images", stakes.loc[mine.index, gain]
            yield _claimed(f"d4c-3-{claim}", encoder, *given)


def information_claims(
    told: Mapping[tuple[str, int, str], float], images: int
) -> Iterator[Claimed]:
    """How many prompts more are told apart in D4C's images than in the best of its rivals'.

    Args:
        told: prompts told apart, by encoder, draw and method.
        images: of each.
    """
    for encoder, drawn in pd.Series(told).unstack().groupby(level=0, sort=False):
        rivals = drawn.drop(columns=["real", "d4c"]).max(axis=1)
        given = drawn.d4c - rivals, f", judged by the other; {images} images", drawn.real - rivals
        yield _claimed("d4c-2-information", encoder, *given)
