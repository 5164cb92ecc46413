"""Tables against plain loops over what was measured."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp, wasserstein_distance

from paperlib.d4c import tables
from paperlib.d4c.tables import REFERENCE

VALUES = {
    (encoder, draw, method): np.random.default_rng(seed).normal(size=7)
    for seed, (encoder, draw, method) in enumerate(
        (encoder, draw, method)
        for encoder in ("resnet", "vit")
        for draw in (0, 1)
        for method in ("real", "d4c", REFERENCE)
    )
}

DISTANCES = {"real": 0.1, "gaussian": 0.6, "pse": 0.5, "d4c": 0.3}


def test_cumulative_curves_are_quantiles_over_all_draws():
    table = tables.cumulative_table(VALUES)
    assert set(table.method) == {"real", "d4c"} and len(table) == 4 * 101
    mine = table[(table.encoder == "vit") & (table.method == "d4c")]
    pooled = np.concatenate([VALUES["vit", 0, "d4c"], VALUES["vit", 1, "d4c"]])
    assert mine.similarity.iloc[50] == pytest.approx(np.median(pooled))
    assert mine.similarity.iloc[-1] == pooled.max() and mine.share.iloc[-1] == 1


def test_distances_are_from_the_reference_of_the_same_draw():
    table = tables.distance_table({"patches": VALUES}).set_index(["encoder", "draw", "method"])
    assert len(table) == 8 and set(table.what) == {"patches"}
    for key in table.index:
        expected = wasserstein_distance(VALUES[key], VALUES[(*key[:2], REFERENCE)])
        assert table.distance[key] == pytest.approx(expected)


def test_nearer_is_less_far_than_the_nearest_other():
    rows = [["vit", "patches", k, m, d] for k in (0, 1) for m, d in DISTANCES.items()]
    distances = pd.DataFrame(rows, columns=["encoder", "what", "draw", "method", "distance"])
    table = tables.nearer_table(distances)
    assert table[["what", "encoder", "draw"]].to_numpy().tolist() == [
        ["patches", "vit", 0],
        ["patches", "vit", 1],
    ]
    assert table.nearer.tolist() == pytest.approx([0.2, 0.2])


def measured():
    rows = [
        ["vit", "W4A3", 0, "real", 60.0],
        ["vit", "W4A3", 0, "gaussian", 20.0],
        ["vit", "W4A3", 0, "pse", 35.0],
        ["vit", "W4A3", 0, "d4c", 50.0],
        ["vit", "W4A3", 0, "spectrum", 53.0],
        ["vit", "W4A3", 1, "real", 62.0],
        ["vit", "W4A3", 1, "gaussian", 20.0],
        ["vit", "W4A3", 1, "pse", 40.0],
        ["vit", "W4A3", 1, "d4c", 50.0],
        ["vit", "W4A3", 1, "spectrum", 46.0],
    ]
    return pd.DataFrame(rows, columns=["encoder", "bits", "draw", "method", "top1"])


def test_gains_are_over_the_baseline_of_the_encoder():
    wide = tables.by_method(measured(), ["encoder", "bits", "draw"])
    assert list(wide) == ["real", "gaussian", "pse", "d4c", "spectrum"]
    gains = tables.gain_table(wide, {"vit": "pse"})
    assert gains.gain.tolist() == [15, 10]
    assert gains["above the spectrum"].tolist() == [-3, 4]
    assert gains["above the middle"].tolist() == [10, 9]
    assert gains["real minus noise"].tolist() == [40, 42]
    assert gains["real minus baseline"].tolist() == [25, 22]
    assert gains["real minus spectrum"].tolist() == [7, 16]
    assert not any("best" in name for name in gains)
    best = tables.gain_table(wide.assign(leaves=[48.0, 52.0]), {"vit": "pse"}, "leaves")
    assert best["above the best control"].tolist() == [2, -2]
    assert best["real minus the best control"].tolist() == [12, 10]
    text = tables.mean_and_spread(wide, ["encoder"])
    assert text.loc["vit"].to_dict() == {
        "real images": "61.0 ± 1.4",
        "Gaussian noise": "20.0 ± 0.0",
        "PSE": "37.5 ± 3.5",
        "D4C": "50.0 ± 0.0",
        "natural spectrum": "49.5 ± 4.9",
    }


def test_information_is_a_share_of_its_cap():
    found = {("vit", 0, "d4c"): 2.0, ("vit", 1, "d4c"): 6.0, ("vit", 0, "real"): 16.0}
    table = tables.information_table(found, 16)
    assert table.loc[("vit", "d4c")].tolist() == pytest.approx([4.0, 0.5])
    assert table.loc[("vit", "real"), "share of log 16"] == pytest.approx(1)


def test_the_interval_over_draws_is_student_s():
    found = tables.over_draws([1.0, 2.0, 3.0, 4.0, 5.0])
    expected = ttest_1samp([1, 2, 3, 4, 5], 0).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high))
    assert tables.over_draws([0.0, 0.0]) == (0, 0)
    assert tables.over_draws([3.0]) is None and tables.over_draws([]) is None


def test_steps_are_multiples_of_those_with_real_images():
    steps = {("vit", "real"): torch.tensor([1.0, 2.0]), ("vit", "d4c"): torch.tensor([2.0, 16.0])}
    assert tables.widening(steps, ["vit"], "d4c") == pytest.approx(4)
    assert tables.widening(steps, ["vit"], "real") == pytest.approx(1)


def test_means_are_over_draws_and_without_the_reference():
    table = tables.mean_table(VALUES)
    assert list(table) == ["real", "d4c"] and list(table.index) == ["resnet", "vit"]
    both = [VALUES["vit", 0, "d4c"], VALUES["vit", 1, "d4c"]]
    assert table.d4c["vit"] == pytest.approx(np.mean(both))


def test_a_range_has_its_steps_beside_those_of_real_images():
    images = {
        ("vit", 0, "real"): torch.zeros(1, 3, 4, 4),
        ("vit", 0, "d4c"): 9 * torch.ones(1, 3, 4, 4),
    }
    steps = {
        ("vit", "W4A3", 0, "real"): torch.ones(2),
        ("vit", "W4A3", 0, "d4c"): torch.ones(2) * 3,
    }
    table = tables.range_table(images, steps, {"vit": "W4A3"}).set_index("method")
    assert table["values out of range (%)"].to_dict() == {"real": 0, "d4c": 100}
    found = table["steps, × those of real images"].to_dict()
    assert found == pytest.approx({"real": 1, "d4c": 3})
