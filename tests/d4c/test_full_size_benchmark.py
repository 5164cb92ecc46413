"""What benchmarks/bench_d4c_full_size.py makes of what it timed; no time is asserted."""

import importlib.util

import pytest
import torch
from torch import nn

from paperlib.paths import ROOT


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "benchmarks" / "bench_d4c_full_size.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_stand_beside_the_reported_seconds(bench):
    ours = [
        bench.Measured("RN50", "synthesis, d4c", "float32", 2.0, 320, 24_000, 3 * 10**9),
        bench.Measured("ViT-B/32", "ranges", "float32", 4.0, 1, 12),
    ]
    rows = bench.table(ours, "a GPU")
    assert rows.device.tolist() == ["a GPU"] * 2
    assert rows.seconds_extrapolated.tolist() == [150.0, 48.0]
    assert rows.seconds_reported[0] == 1623 and rows.ratio[0] == 0.0924
    assert rows.peak_gpu_gb[0] == 3.0
    assert rows[["seconds_reported", "ratio", "peak_gpu_gb"]].loc[1].isna().all()


def test_all_modules_take_what_their_kinds_take_together(bench):
    kinds = [
        bench.Measured("ViT-B/32", "q", "float32", 1.0, 100, 240_000),
        bench.Measured("ViT-B/32", "c_fc", "float32", 3.0, 50, 240_000),
    ]
    whole = bench.all_modules("ViT-B/32", kinds, None)
    assert whole.steps == 150 and whole.whole == 480_000
    assert whole.extrapolated == pytest.approx(2_400 + 14_400)
    assert bench.table([whole], "a GPU").seconds_reported.tolist() == [6593]


def test_every_timed_synthesis_has_reported_seconds(bench):
    known = bench.table(
        [
            bench.Measured(encoder, f"synthesis, {method}", "float32", 1.0, 1, 24_000)
            for method, encoder, _ in bench.ROWS
            if method != "reconstruction"
        ],
        "a GPU",
    )
    assert known.seconds_reported.notna().all()


@pytest.mark.parametrize(("limit", "passes"), [(60, 4), (-1, 1)])
def test_a_pace_leaves_out_the_first_passes_and_those_without_gradients(bench, limit, passes):
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    pace = bench.Pace(layer, skip=3, count=4, limit=limit, stop=True)
    for _ in range(3 + passes):
        with torch.no_grad():
            layer(x)
        layer(x)
    with pytest.raises(bench.Enough):
        layer(x)
    assert pace.passes == passes and pace.seconds > 0
    layer(x)  # there is no second end
