"""What each part adds and costs, and the controls where nothing and where something was added."""

import pandas as pd
import pytest
import torch

from paperlib.d4c import ablation
from paperlib.d4c.methods import AGAIN


def test_the_null_control_is_pgsi_of_the_next_draw():
    drawn = {("vit", k, "pgsi"): torch.full((1, 3, 4, 4), float(k)) for k in range(3)}
    others = {("vit", k, "d4c"): torch.zeros(1, 3, 4, 4) for k in range(3)}
    again = ablation.of_the_next_draw({**drawn, **others})
    assert {key: float(x.mean()) for key, x in again.items()} == {
        ("vit", 0, AGAIN): 1,
        ("vit", 1, AGAIN): 2,
        ("vit", 2, AGAIN): 0,
    }


def test_controls_are_nothing_and_something_added_to_the_same_draw():
    """A method's gain over itself is none, and the sign of the positive one is that of a gain."""
    rows = [
        [encoder, draw, method, top1 + draw]
        for encoder in ("vit", "resnet")
        for draw in (0, 1)
        for method, top1 in {"gaussian": 40.0, "pgsi": 70.0, AGAIN: 71.0, "d4c": 80.0}.items()
    ]
    measured = pd.DataFrame(rows, columns=["encoder", "draw", "method", "top1"])
    gains = ablation.control_gains(measured)
    null, positive = gains.columns
    assert (gains[null] == 1).all() and (gains[positive] == 30).all()
    same = measured.assign(top1=measured.top1.where(measured.method != AGAIN, measured.top1 - 1))
    assert (ablation.control_gains(same)[null] == 0).all()
    assert set(gains.index) == {(e, k) for e in ("vit", "resnet") for k in (0, 1)}


def test_each_part_is_added_to_pgsi_alone_and_to_the_other():
    wide = pd.DataFrame({"pgsi": [10.0], "pgsi_scg": [13.0], "pgsi_pae": [8.0], "d4c": [20.0]})
    gains = ablation.part_gains(wide).iloc[0].to_dict()
    assert gains == {
        "SCG to PGSI": 3,
        "PAE to PGSI": -2,
        "SCG to PGSI + PAE": 12,
        "PAE to PGSI + SCG": 7,
    }
    ticked = ablation.with_parts(pd.DataFrame({"method": list(wide)}))
    assert ticked.SCG.tolist() == ["", "✓", "", "✓"] and ticked.PAE.tolist() == ["", "", "✓", "✓"]


def test_what_a_part_costs_is_beside_pgsi():
    times = {"bns": 9.0, "pgsi": 2.0, "pgsi_scg": 4.0, "pgsi_pae": 3.0, "d4c": 5.0}
    cost = pd.DataFrame({"method": times.keys(), "ms an iteration": times.values()})
    found = ablation.part_factors(cost.assign(encoder="resnet"))
    assert found.loc["resnet"].to_dict() == {"SCG": 2.0, "PAE": 1.5}


def test_the_ablation_has_the_values_out_of_range_of_each_set():
    images = {("vit", k, "pgsi"): torch.zeros(1, 3, 4, 4) for k in (0, 1)}
    images |= {("vit", k, "d4c"): 9 * torch.ones(1, 3, 4, 4) for k in (0, 1)}
    rows = [["vit", "W4A3", 0, k, m, 50.0 + 2 * k] for k in (0, 1) for m in ("pgsi", "d4c")]
    top1 = pd.DataFrame(rows, columns=["encoder", "bits", "iterations", "draw", "method", "top1"])
    table = ablation.ablation_table(top1, images)
    columns = ["encoder", "draw", "method", "top1", "out of range (%)", "bits"]
    assert list(table) == columns and table["out of range (%)"].tolist() == [0, 100, 0, 100]
    means = ablation.ablation_means(table).set_index("method")
    assert means["mean"].tolist() == [51, 51] and means["std"].tolist() == pytest.approx(
        [2**0.5] * 2
    )
    assert means["out of range (%)"].to_dict() == {"pgsi": 0, "d4c": 100}
    assert means.SCG.to_dict() == {"pgsi": "", "d4c": "✓"}
