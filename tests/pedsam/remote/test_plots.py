"""Figures of costs, drawn from small tables: what is in them is in the picture."""

import pandas as pd
import pytest

from paperlib.notebook.figures import alt_text
from paperlib.pedsam.remote import plots
from tests.figures import titles


def test_bars_of_stages_stand_side_by_side():
    rows = [("small", "edge alone", 3.0, 0.0), ("small", "exact", 1.0, 0.5)]
    figure = plots.stages(pd.DataFrame(rows, columns=["SAM", "case", "edge", "server"]))
    edge, server = figure.axes[0].containers
    assert [bar.get_width() for bar in edge] == [3, 1]
    assert [bar.get_x() for bar in server] == [3, 1] and server[1].get_width() == 0.5


def test_modelled():
    rows = [
        (sam, network, case, 1.0, 2.0, 4.0)
        for sam in ("small", "vit_b")
        for network in ("5G", "wired")
        for case in ("edge alone", "exact")
    ]
    names = ["SAM", "network", "case", "edge", "servers", "transfer"]
    figure = plots.modelled(pd.DataFrame(rows, columns=names))
    assert titles(figure) == ["small, 5G", "small, wired", "vit_b, 5G", "vit_b, wired"]
    assert [bar.get_x() for bar in figure.axes[3].containers[2]] == [3, 3]


@pytest.mark.parametrize("name", ["stages", "modelled"])
def test_alternative_texts_are_sentences(name):
    assert alt_text(getattr(plots, name)).endswith(".")
