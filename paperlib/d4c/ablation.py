"""What each part of D4C adds, for notebook 13; with a null and a positive control beside it.

A gain is a difference of Top-1 in one draw: the same test images, weights and text tower, other
calibration images. Two controls are differences of the same kind. Where nothing was added, a set is
compared with that of the same method from the next draw: what differs is chance, and more of it
than in a gain, whose two sets share their start and their prompts. Where something surely was,
PGSI's set is compared with noise. What real images gain over a row says what could be added to it.
"""

from collections.abc import Mapping

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from paperlib.d4c.methods import ABLATION, AGAIN, METHODS
from paperlib.d4c.semantics import share_out_of_range

Images = Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]]  # normalised
CONTROLS = ("gaussian", AGAIN)  # beside the rows of the ablation
GAINS = {  # what each part adds: the row with it, and the row that it is added to
    "SCG to PGSI": ("pgsi_scg", "pgsi"),
    "PAE to PGSI": ("pgsi_pae", "pgsi"),
    "SCG to PGSI + PAE": ("d4c", "pgsi_pae"),
    "PAE to PGSI + SCG": ("d4c", "pgsi_scg"),
}


def of_the_next_draw(images: Images) -> dict[tuple[str, int, str], Tensor]:
    """PGSI's set of the next draw in the place of each draw's, as method `AGAIN`.

    Args:
        images: that calibrate, by encoder, draw (from 0, and after the last comes the first again)
            and method.
    """
    own = {(name, k): x for (name, k, method), x in images.items() if method == "pgsi"}
    draws = len({k for _, k in own})
    return {(name, k, AGAIN): own[name, (k + 1) % draws] for name, k in own}


def ablation_table(top1: pd.DataFrame, images: Images) -> pd.DataFrame:
    """A row an encoder, draw and method: Top-1 (%), and the share of values that no image has (%).

    Args:
        top1: of `paperlib.d4c.comparison.compare`.
        images: that calibrate, normalised, by encoder, draw and method.
    """
    keys = ["encoder", "draw", "method"]
    rows = top1[keys].itertuples(index=False)
    beyond = [100 * share_out_of_range(images[tuple(row)]) for row in rows]
    columns = {"out of range (%)": beyond, "bits": top1.bits}
    return top1[[*keys, "top1"]].assign(**columns)


def ablation_means(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of Top-1 over draws, with SCG and PAE ticked, by encoder."""
    groups = measured.groupby(["encoder", "bits", "method"], sort=False)
    beyond = groups["out of range (%)"].mean()
    return with_parts(groups.top1.agg(["mean", "std"]).join(beyond).reset_index())


def part_gains(wide: pd.DataFrame) -> pd.DataFrame:
    """What SCG and PAE each add to PGSI, alone and to the other, in percentage points."""
    return pd.DataFrame({gain: wide[ours] - wide[base] for gain, (ours, base) in GAINS.items()})


def part_stakes(wide: pd.DataFrame) -> pd.DataFrame:
    """What real images gain over the row that each part is added to; columns as `part_gains`."""
    return pd.DataFrame({gain: wide.real - wide[base] for gain, (_, base) in GAINS.items()})


def control_gains(measured: pd.DataFrame) -> pd.DataFrame:
    """The gains where nothing was added and where something surely was, by encoder and draw.

    Args:
        measured: of `ablation_table`, with the rows of `CONTROLS`.
    """
    wide = measured.pivot(index=["encoder", "draw"], columns="method", values="top1")
    return pd.DataFrame(
        {
            "null: PGSI to PGSI of another draw": wide[AGAIN] - wide.pgsi,
            "positive: PGSI to noise": wide.pgsi - wide.gaussian,
        }
    )


def part_factors(cost: pd.DataFrame) -> pd.DataFrame:
    """How many times longer an iteration is with SCG, and with PAE, than PGSI's, by encoder.

    Args:
        cost: of `paperlib.d4c.cost.synthesis_cost`.
    """
    wide = cost.pivot(index="encoder", columns="method", values="ms an iteration")
    return pd.DataFrame({"SCG": wide.pgsi_scg / wide.pgsi, "PAE": wide.pgsi_pae / wide.pgsi})


def with_parts(table: pd.DataFrame) -> pd.DataFrame:
    """With a column for SCG and one for PAE that tick the methods that have them."""
    for place, part in enumerate(("SCG", "PAE")):
        has = {method: "✓" if METHODS[method].parts[place] else "" for method in ABLATION}
        table = table.assign(**{part: table.method.map(has).fillna("")})
    return table
