"""What a layer costs alone, and bits chosen by it: the errors, the bound, the controls."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from paperlib.d4c import quantization_plots as plots
from paperlib.d4c import sensitivity
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.sensitivity import (
    alone,
    choose_bits,
    deal,
    ends,
    image_layers,
    mean_bits,
    weight_ranges,
    with_bits,
)
from paperlib.d4c.settings import Settings
from paperlib.d4c.zero_shot import task_features, top1
from paperlib.data import LabelledImages
from paperlib.intervals import student
from paperlib.models.clip import encode_images, preprocess

FAST = Settings(weight_bits=4, range_fractions=4, reconstruction_iterations=0)


@pytest.fixture
def ranged(clip, inputs):
    model = QuantizedClip(clip, FAST)
    model.set_ranges(*inputs)
    return model


def table(costs, weights):
    """Of layers a, b, ...: the costs at 2, 3 and 4 bits, and how many weights."""
    rows = [
        [name, n, bits, cost]
        for name, n, each in zip("abcd", weights, costs, strict=False)
        for bits, cost in zip((2, 3, 4), each, strict=True)
    ]
    return pd.DataFrame(rows, columns=["layer", "weights", "bits", "cost"])


def test_alone_one_layer_is_quantized_and_the_rest_is_the_model(ranged, clip, inputs):
    names = [name for name, _ in image_layers(ranged)]
    before = {key: value.clone() for key, value in ranged.state_dict().items()}
    model = alone(ranged, weight_ranges(ranged, (3,)), names[2], 3)
    layers = dict(image_layers(model))
    assert layers[names[2]].weight_quantizer.active and layers[names[2]].input.active
    assert int(layers[names[2]].weight_quantizer.codes.max()) == 7
    others = [layer for name, layer in layers.items() if name != names[2]]
    assert not any(layer.weight_quantizer.active or layer.input.active for layer in others)
    assert not any(quantizer.active for _, quantizer in model.activations("text"))
    assert all(torch.equal(value, before[key]) for key, value in ranged.state_dict().items())
    ranged.check_ranges()
    exact, floats = (encode_images(m, inputs[0]) for m in (clip, sensitivity.floating(ranged)))
    torch.testing.assert_close(floats, exact, atol=1e-5, rtol=1e-5)


def test_a_cost_is_the_error_of_the_features_of_the_images_that_give_ranges(ranged, inputs):
    ranged.settings = replace(ranged.settings, range_images=5)
    images = inputs[0]
    ranges = weight_ranges(ranged, (2, 8))
    found = sensitivity.sensitivity(ranged, ranges, images)
    names = [name for name, _ in image_layers(ranged)]
    assert found.layer.tolist() == [name for name in names for _ in range(2)]
    assert found.bits.tolist() == [2, 8] * len(names)
    exact = encode_images(sensitivity.floating(ranged), images[:5])
    for _, row in found.iloc[[0, 5, -2]].iterrows():
        features = encode_images(alone(ranged, ranges, row.layer, row.bits), images[:5])
        due = ((features - exact) ** 2).sum() / 5
        assert row.cost == pytest.approx(float(due), rel=1e-4) and row.cost > 0
        assert row.weights == ranged.visual.get_submodule(row.layer).weight.numel()
    wide = found.pivot(index="layer", columns="bits", values="cost")
    assert wide[8].sum() < 0.02 * wide[2].sum()


def test_a_model_without_ranges_is_refused(vit, ranged, inputs):
    with pytest.raises(ValueError, match="no ranges"):
        sensitivity.sensitivity(QuantizedClip(vit, FAST), {}, inputs[0])
    with pytest.raises(ValueError, match=r"^bits: no ranges of \[\('stem', 2\)\]"):
        with_bits(ranged, {}, {"stem": 2})


def test_other_bits_are_those_of_a_model_that_had_them_from_the_start(ranged, clip, inputs):
    whole = QuantizedClip(clip, replace(FAST, weight_bits=3))
    whole.set_ranges(*inputs)
    names = [name for name, _ in image_layers(ranged)]
    ranges = weight_ranges(ranged, (3,))
    three = dict(image_layers(with_bits(ranged, ranges, dict.fromkeys(names, 3))))
    for name, due in image_layers(whole):
        ours = three[name].weight_quantizer
        assert ours.bits == 3 and torch.equal(ours.codes, due.weight_quantizer.codes)
        assert torch.equal(ours.scale, due.weight_quantizer.scale)
    assert dict(image_layers(ranged))[names[0]].weight_quantizer.bits == 4


def test_what_saves_most_for_its_size_goes_up_first():
    costs = table([(9, 1, 0), (8, 1, 0), (9, 2, 2)], (10, 1, 10))
    assert choose_bits(costs, 2) == {"a": 2, "b": 2, "c": 2}
    assert choose_bits(costs, 2.1) == {"a": 2, "b": 4, "c": 2}  # 7 and 1 a weight, then 0.8
    assert choose_bits(costs, 2.5) == {"a": 2, "b": 4, "c": 2}  # a saves more, for its size less
    assert choose_bits(costs, 2.6) == {"a": 3, "b": 4, "c": 2}
    assert choose_bits(costs, 4) == {"a": 4, "b": 4, "c": 3}  # c gains nothing from a fourth bit
    assert choose_bits(table([(5, 6, 0)], (1,)), 4) == {"a": 4}  # past what gains nothing
    assert mean_bits(costs, {"a": 3, "b": 4, "c": 2}) == pytest.approx((30 + 4 + 20) / 21)
    with pytest.raises(ValueError, match=r"^mean=1.5: numbers from 2"):
        choose_bits(costs, 1.5)


def test_the_bound_holds_and_what_is_left_is_spent():
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        fall = torch.rand(4, 3, generator=draw).sort(descending=True).values.tolist()
        weights = torch.randint(1, 50, (4,), generator=draw).tolist()
        costs = table(fall, weights)
        for mean in (2.3, 3.0, 3.6):
            chosen = choose_bits(costs, mean)
            assert mean_bits(costs, chosen) <= mean
            for name in chosen:
                if chosen[name] < 4:
                    more = {**chosen, name: chosen[name] + 1}
                    assert mean_bits(costs, more) > mean


def test_dealt_costs_are_those_of_whole_layers():
    costs = table([(9, 1, 0), (8, 2, 1), (7, 3, 2), (6, 4, 3)], (1, 2, 3, 4))
    dealt = deal(costs, 0)
    assert dealt.drop(columns="cost").equals(costs.drop(columns="cost"))
    rows = [tuple(each.cost) for _, each in dealt.groupby("layer")]
    assert sorted(rows) == [(6, 4, 3), (7, 3, 2), (8, 2, 1), (9, 1, 0)]
    assert len({tuple(deal(costs, seed).cost) for seed in range(5)}) > 1
    assert deal(costs, 3).equals(deal(costs, 3))


def test_the_ends_are_the_costliest_and_the_cheapest():
    costs = table([(6, 9, 0), (9, 1, 0), (7, 2, 1), (8, 3, 2)], (1, 1, 1, 1))
    found = ends(costs, 2, 1)
    assert found.index.tolist() == ["b", "a"] and found.loc["a"].tolist() == [6, 9, 0]
    assert ends(costs, 3, 1).index.tolist() == ["a", "b"]


def test_bits_by_cost_beside_the_same_bits(vit_clip):
    model, tokenizer = vit_clip["vit"]
    draw = torch.Generator().manual_seed(0)
    names = tuple("abc")
    pixels = torch.randint(256, (12, 3, 64, 64), generator=draw, dtype=torch.uint8)
    labels = torch.randint(3, (12,), generator=draw)
    test = LabelledImages(pixels, labels, names, "noise")
    ranged = QuantizedClip(model, FAST)
    images = preprocess(pixels[:4], 64)
    ranged.set_ranges(images, tokenizer(["a", "b"]))
    texts = task_features(ranged, tokenizer, "openmoji")[:3]
    ranges = weight_ranges(ranged, (2, 3, 8))
    costs = sensitivity.sensitivity(ranged, ranges, images)
    costs["cost"] = torch.rand(len(costs), generator=draw).tolist()  # so that the ways differ
    found = sensitivity.mixed_precision(ranged, ranges, costs, (3,), texts, test, 0)
    ways = {
        sensitivity.SAME: dict.fromkeys(costs.layer, 3),
        sensitivity.CHOSEN: choose_bits(costs, 3),
        sensitivity.DEALT: choose_bits(deal(costs, 0), 3),
    }
    assert found.bits.tolist() == list(ways) and found.budget.tolist() == [3] * 3
    exact, x = encode_images(sensitivity.floating(ranged), preprocess(pixels, 64)), {}
    count, cost = costs.drop_duplicates("layer").weights.sum(), costs.set_index(["layer", "bits"])
    for (way, bits), (_, row) in zip(ways.items(), found.iterrows(), strict=True):
        mixed = with_bits(ranged, ranges, bits)
        features = encode_images(mixed, preprocess(pixels, 64))
        x[way] = 100.0 * ((features @ texts.T).argmax(1) == labels).numpy()
        assert row["Top-1 (%)"] == pytest.approx(100 * top1(mixed, texts, test))
        due = (features - exact).square().sum(1).mean()
        assert row.error == pytest.approx(float(due), rel=1e-4)
        assert row["added costs"] == pytest.approx(cost.cost.loc[list(bits.items())].sum())
        gain = x[way] - x[sensitivity.SAME]
        assert [row.gain, row.low, row.high] == pytest.approx([gain.mean(), *student(gain)])
        assert row["bits a weight"] == mean_bits(costs, bits) <= 3
        assert row["weights (MB)"] == pytest.approx(row["bits a weight"] * count / 8e6)
    assert found["added costs"].nunique() == 3 and found.error.nunique() == 3


def test_a_row_of_the_figure_is_a_layer_and_a_point_a_width():
    costs = table([(9, 1, 0.1), (8, 2, 1)], (1, 2)).replace("a", "transformer.resblocks.0.attn.q")
    both = pd.concat([costs.assign(encoder=name) for name in ("resnet", "vit")])
    figure = plots.sensitivity(both)
    figure.canvas.draw()
    for ax in figure.axes:
        assert [text.get_text() for text in ax.get_yticklabels()] == ["0.attn.q", "b"]
        assert ax.yaxis_inverted() and ax.get_xscale() == "log"
        points = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
        assert points == {"2 bits": [9, 8], "3 bits": [1, 2], "4 bits": [0.1, 1]}
