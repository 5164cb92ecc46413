"""How the figures of D4C show a method: its colour, and its name where there is little room."""

import itertools

from paperlib.d4c.methods import AGAIN, METHODS, TITLES
from paperlib.notebook.figures import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)

PALETTE = (  # in the order of METHODS
    *(BLACK, GREY, ORANGE, SKY, GREEN, PURPLE, VERMILION, BLUE, BROWN),
    *("#7f3c8d", "#6b7a1f", "#b22f5b"),
)
COLOURS = dict(zip(METHODS, itertools.cycle(PALETTE))) | {AGAIN: "0.5"}
BROKEN = {name: title.replace(" + ", "\n+ ") for name, title in TITLES.items()}  # in two lines
BROKEN |= {"gaussian": "noise", "real": "real", AGAIN: "PGSI,\nother\ndraw"}
