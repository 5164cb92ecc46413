"""Plans, what is quantized once for several of them, and the comparison beside plain loops."""

import inspect
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from paperlib.code import with_imports
from paperlib.d4c import comparison, quantized_clip, quantized_layers, quantizers, zero_shot
from paperlib.d4c.comparison import (
    compare,
    decisive_plans,
    first_plans,
    float_top1,
    plans_at,
    quantization_plans,
    text_towers,
)
from paperlib.d4c.pipeline import (
    image_steps,
    quantize_image,
    quantize_text,
    quantize_without_images,
)
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.sizes import NEAREST, SIZES, TINY_D4C
from paperlib.d4c.zero_shot import load_draws, task_features, top1
from paperlib.seeds import derive

TINY = {**TINY_D4C, "range_fractions": 2}


@pytest.fixture(scope="module")
def tests():
    return load_draws("openmoji", "test", 8, 2, 0)


def in_short(plans):
    return [
        (p.encoder, p.bits, p.draw, p.settings.reconstruction_iterations, p.decisive) for p in plans
    ]


def test_plans_of_the_notebooks():
    sizes = replace(
        SIZES["12_quantization"]["smoke"],
        encoders={"vit": TINY},
        seeds=3,
        bits={"W4A8": 2, "W4A3": 3, "W8A8": 9},
    )
    plans = quantization_plans(sizes, 5)
    decisive = [("vit", "W4A3", k, 0, True) for k in range(3)]
    others = [("vit", "W4A8", k, 0, False) for k in range(2)]
    others += [("vit", "W8A8", k, 0, False) for k in range(3)]
    assert in_short(plans) == [*decisive, *others]
    assert decisive_plans(sizes, 5) == plans[:3]
    assert {p.without for p in plans if not p.decisive} == {("spectrum", "leaves")}
    assert {p.without for p in plans if p.decisive} == {()}
    assert [p.settings.seed for p in plans[:3]] == [derive(5, "draw", k) for k in range(3)]
    assert (plans[0].settings.weight_bits, plans[0].settings.activation_bits) == (4, 3)
    whole = in_short(quantization_plans(replace(sizes, rounding={}), 5))
    assert whole == [(*row[:3], 2, *row[4:]) for row in [*decisive, *others]]
    sizes = replace(SIZES["14_deployment"]["default"], encoders={"vit": TINY})
    rows = [("vit", bits, 0, 2, False) for bits in ("W4A8", "W2A8")]
    assert in_short(first_plans(sizes, 5)) == rows


def test_ranges_of_weights_are_searched_once_for_all_draws(vit_clip, monkeypatch):
    nearest = {**TINY, **NEAREST}
    plans = plans_at("vit", "W4A3", nearest, range(2), 0)
    plans += plans_at("vit", "W4A8", nearest, [0], 0)
    plans += plans_at("vit", "W2A8", nearest, [0], 0)
    templates, searched = zero_shot_task("openmoji").templates, []
    alone = [quantize_text(*vit_clip["vit"], plan.settings, templates) for plan in plans]
    whole = quantized_clip.search_range

    def counting(rows, bits, *given):
        searched.append(rows)
        return whole(rows, bits, *given)

    monkeypatch.setattr(quantized_clip, "search_range", counting)
    counts = []
    for (plan, ours), expected in zip(text_towers(vit_clip, plans, "openmoji"), alone, strict=True):
        assert ours.settings == plan.settings
        state = ours.state_dict()
        assert all(torch.equal(value, state[k]) for k, value in expected.state_dict().items())
        counts.append(len(searched))
        searched.clear()
    layers = len(list(ours.layers()))
    assert counts[1] == counts[2] == counts[0] - layers and counts[3] == counts[0]


def test_what_is_compared_is_what_a_plain_loop_finds(vit_clip, images, tests, tmp_path):
    nearest = {**TINY, **NEAREST}
    plans = plans_at("vit", "W4A3", nearest, range(2), 0, decisive=True)
    plans += plans_at("vit", "W4A8", nearest, [1], 0, without=("real",))
    plans += plans_at("vit", "W4A2", TINY, [0], 0)
    found = compare(vit_clip, plans, images, tests, "openmoji", tmp_path, without_images=True)
    rows, templates = [], zero_shot_task("openmoji").templates
    for plan in plans:
        text_done = quantize_text(*vit_clip["vit"], plan.settings, templates)
        texts = task_features(text_done, vit_clip["vit"][1], "openmoji")
        for method in ("d4c",) if plan.without else ("real", "d4c"):
            model = quantize_image(text_done, images["vit", plan.draw, method])
            share = 100 * top1(model, texts, tests[plan.draw])
            iterations = plan.settings.reconstruction_iterations
            row = ["vit", plan.bits, iterations, plan.draw, method, share]
            rows.append([*row, plan.decisive])
            steps = found.steps["vit", plan.bits, plan.draw, method]
            assert torch.equal(steps, image_steps(model))
            if iterations:
                mine = [error.name for error in found.errors["vit", 0, method]]
                assert mine and all(".visual." in name for name in mine)
        if plan.decisive:
            model = quantize_without_images(text_done, "dynamic")
            share = 100 * top1(model, texts, tests[plan.draw])
            assert found.alone["dynamic activations"]["vit", plan.draw] == share
    pd.testing.assert_frame_equal(found.top1, pd.DataFrame(rows, columns=list(found.top1)))
    assert len(found.steps) == 7 and len(found.errors) == 2
    assert list(found.alone) == [*comparison.ALONE.values()] and len(found.alone) == 2


def test_ranges_of_the_same_images_are_searched_once(vit_clip, images, tests, monkeypatch):
    """At the same bits of activations, whatever those of the weights; other bits are searched."""
    nearest, searched = {**TINY, **NEAREST}, []
    plans = [plan for w in ("W4A8", "W8A8", "W8A4") for plan in plans_at("vit", w, nearest, [0], 0)]
    whole = quantized_clip.QuantizedClip._observe

    def counting(model, quantizers, given, tokens):
        searched.append(given is not None)
        whole(model, quantizers, given, tokens)

    monkeypatch.setattr(quantized_clip.QuantizedClip, "_observe", counting)
    found = compare(vit_clip, plans, images, tests, "openmoji")
    assert sum(searched) == 2 * 2  # two methods, once at 8 bits and once at 4
    for method in ("real", "d4c"):
        at = [found.steps["vit", bits, 0, method] for bits in ("W4A8", "W8A8", "W8A4")]
        assert torch.equal(at[0], at[1]) and not torch.equal(at[0], at[2])
        fresh = quantize_text(
            *vit_clip["vit"], plans[1].settings, zero_shot_task("openmoji").templates
        )
        fresh = quantize_image(fresh, images["vit", 0, method])
        assert torch.equal(at[1], image_steps(fresh))


def test_an_accuracy_is_kept_for_the_same_model_and_images_alone(
    vit_clip, images, tests, monkeypatch, tmp_path
):
    plans, measured = plans_at("vit", "W4A3", {**TINY, **NEAREST}, [0], 0), []
    whole = zero_shot.zero_shot_top1

    def counting(*given):
        measured.append(given)
        return whole(*given)

    monkeypatch.setattr(zero_shot, "zero_shot_top1", counting)
    first = compare(vit_clip, plans, images, tests, "openmoji", tmp_path)
    assert len(measured) == 2  # real images and D4C's
    again = compare(vit_clip, plans, images, tests, "openmoji", tmp_path)
    pd.testing.assert_frame_equal(again.top1, first.top1)
    assert len(measured) == 2
    compare(vit_clip, plans, images, tests[::-1], "openmoji", tmp_path)
    assert len(measured) == 4
    swapped = replace(tests[0], labels=tests[0].labels.flip(0))
    other = compare(vit_clip, plans, images, [swapped], "openmoji", tmp_path)
    assert len(measured) == 6 and not other.top1.top1.equals(first.top1.top1)
    for bits, k in (("W4A4", 0), ("W3A3", 0), ("W4A3", 1)):
        before = len(measured)
        one = plans_at("vit", bits, {**TINY, **NEAREST}, [k], 0)
        compare(vit_clip, one, images, tests, "openmoji", tmp_path)
        assert len(measured) == before + 2
    compare(vit_clip, plans, images, tests, "openmoji")
    assert len(measured) == before + 4


def test_the_code_of_the_quantized_model_decides_a_kept_accuracy(
    vit_clip, images, tests, monkeypatch, tmp_path
):
    """Its tensors alone do not say what a forward pass does with them."""
    deciding, whole = [], comparison.cached

    def looking(*given, made_by):
        deciding.append(with_imports([Path(inspect.getsourcefile(inspect.unwrap(made_by)))]))
        return whole(*given, made_by=made_by)

    monkeypatch.setattr(comparison, "cached", looking)
    plans = plans_at("vit", "W4A3", {**TINY, **NEAREST}, [0], 0)
    compare(vit_clip, plans, images, tests, "openmoji", tmp_path)
    needed = {Path(each.__file__) for each in (quantized_clip, quantized_layers, quantizers)}
    assert len(deciding) == 2 and all(needed | {Path(zero_shot.__file__)} <= d for d in deciding)


def test_without_asking_nothing_is_measured_without_images(vit_clip, images, tests):
    plans = plans_at("vit", "W4A3", {**TINY, **NEAREST}, [0], 0, decisive=True)
    found = compare(vit_clip, plans, images, tests, "openmoji")
    assert found.alone is None and found.errors == {}
    assert found.top1.draw.tolist() == [0, 0] and found.top1.method.tolist() == ["real", "d4c"]


def test_accuracy_in_floating_point(vit_clip, tests):
    model, tokenizer = vit_clip["vit"]
    texts = task_features(model, tokenizer, "openmoji")
    found = float_top1(vit_clip, tests, "openmoji")
    assert found.to_dict() == {("vit", k): 100 * top1(model, texts, tests[k]) for k in range(2)}
