"""Seconds of D4C's stages, by a clock that is known."""

import pytest
import torch

from paperlib.d4c import cost
from paperlib.d4c.methods import ABLATION
from paperlib.d4c.settings import Settings
from paperlib.data import LabelledImages


def clock(monkeypatch, *times):
    ticks = iter(times)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))


def test_an_image_costs_its_share_of_an_iteration(monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "data_free_baseline", lambda model: "bns")
    monkeypatch.setattr(
        cost, "calibration_images", lambda method, *clip_and: asked.append((method, clip_and[-1]))
    )
    clock(monkeypatch, *(time for k in range(5) for time in (100 * k, 100 * k + 6 * (k + 1))))
    clip = torch.nn.Identity(), lambda texts: torch.zeros(1)
    table = cost.synthesis_cost({"resnet": clip}, {"resnet": {}}, 3)
    assert [method for method, _ in asked] == ["bns", *ABLATION]
    assert {s.synthesis_iterations for _, s in asked} == {3}
    assert {s.images for _, s in asked} == {Settings.synthesis_batch}
    first = 6 / 3 / Settings.synthesis_batch
    assert table["ms an iteration"].iloc[0] == pytest.approx(1000 * first)
    assert table["s an image"].iloc[1] == pytest.approx(2 * first * Settings.synthesis_iterations)


def test_stages_follow_one_another(monkeypatch):
    for name in ("quantize_text", "quantize_image", "task_features", "top1"):
        monkeypatch.setattr(cost, name, lambda *_: None)
    clock(monkeypatch, 0, 1, 3, 7)
    test = LabelledImages(
        torch.zeros(5, 3, 4, 4, dtype=torch.uint8), torch.zeros(5, dtype=torch.long), ("a",), "here"
    )
    clip = torch.nn.Identity(), lambda texts: torch.zeros(1)
    found = cost.stage_seconds(clip, Settings(), torch.zeros(1, 3, 4, 4), test, "openmoji")
    assert found == {"weights, text tower": 1, "image tower": 2, "5 test images": 4}
