"""Whether the code still makes a published set: its beginning made again, beside its card."""

from dataclasses import replace

import pandas as pd
from torch import nn

from paperlib.d4c.methods import settings_of
from paperlib.d4c.optimiser import Part
from paperlib.d4c.set_store import PublishedSet, card_names, card_settings, trajectory
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import synthesise_parts
from paperlib.models.clip import Tokenizer

CHECKED = (10, 25, 50)  # iterations that are made again to compare
# Relative, of what is made again. Rounding on another device moves single losses most: that of one
# ResNet by 3.1 % at iteration 50, its deviation and variation by less than one.
TOLERANCE = {"loss": 0.1, "deviation": 0.03, "variation": 0.03}


def beside_the_card(
    clip: tuple[nn.Module, Tokenizer], published: PublishedSet, settings: Settings | None = None
) -> pd.DataFrame:
    """The first mini-batch of a set of D4C made again for a few iterations, beside its card.

    Args:
        settings: other than the card's, to see that they are noticed.

    Returns:
        A row for each of the iterations `CHECKED` and what `trajectory` has, and for the loss of
        the first one: the card's value, the value now, their relative difference.

    Raises:
        ValueError: a difference is beyond `TOLERANCE`: the code or the settings are not those that
            made the set.
    """
    card = published.card
    few = replace(settings or card_settings(card), synthesis_iterations=max(CHECKED))
    short = settings_of(card["method"], few)
    part = Part(card["sets"][0]["seed"], short.synthesis_batch)
    (now,) = synthesise_parts(*clip, short, [part], card_names(card), snapshots=CHECKED)
    pairs = {"card": card["trajectory"], "now": trajectory(now, short.synthesis_batch)}
    tables = {name: pd.DataFrame(rows).set_index("iteration") for name, rows in pairs.items()}
    both = {k: table.loc[list(CHECKED), [*TOLERANCE]].stack() for k, table in tables.items()}
    both = pd.DataFrame(both)
    both.loc[(1, "loss"), :] = published.losses[0], now.losses[0, 0].item()
    both = both.sort_index(kind="stable").rename_axis(["iteration", "what"])
    both["difference"] = both.now / both.card - 1
    allowed = [0.01 if k == 1 else TOLERANCE[what] for k, what in both.index]  # 1: of the noise
    if (both.difference.abs() > allowed).any():
        raise ValueError(
            f"{card['command']}: made again, the first images differ from the card: the code or "
            f"the settings are others\n{both}"
        )
    return both
