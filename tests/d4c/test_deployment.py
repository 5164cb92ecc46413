"""Files, integers and time of quantized CLIPs, by the names of encoder and bit-widths."""

import pandas as pd
import pytest
import torch

from paperlib.d4c import deployment
from paperlib.d4c import quantization_plots as plots
from paperlib.d4c.comparison import plans_at
from paperlib.d4c.folding import FoldedAttention
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.sizes import NEAREST, TINY_D4C
from paperlib.d4c.storage import float_bytes
from paperlib.d4c.zero_shot import load_images, task_features, top1
from paperlib.intervals import student
from paperlib.models.clip import preprocess


@pytest.fixture(scope="module")
def images():
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (4, 3, 70, 80), generator=draw, dtype=torch.uint8)


@pytest.fixture(scope="module")
def models(vit_clip, images):
    found, templates = {}, zero_shot_task("openmoji").templates
    for bits in ("W4A8", "W2A8"):
        settings = Settings(**{**TINY_D4C, **NEAREST, **bit_widths(bits), "range_fractions": 2})
        text_done = quantize_text(*vit_clip["vit"], settings, templates)
        found["vit", bits] = quantize_image(text_done, preprocess(images, 64))
    return found


def test_what_is_read_back_is_the_model_and_its_file_smaller(models, vit_clip, images):
    loaded, files = deployment.through_files(models, vit_clip)
    assert deployment.same_features(models, loaded, images)
    swapped = dict(zip(models, reversed(models.values()), strict=True))
    assert not deployment.same_features(models, swapped, images)
    assert files.bits.tolist() == ["W4A8", "W2A8"]
    whole = float_bytes(models["vit", "W4A8"]) / 1e6
    assert files["float32 (MB)"].tolist() == [whole, whole]
    assert whole > files["saved (MB)"][0] > files["saved (MB)"][1] > 0
    assert files["times smaller"][0] == pytest.approx(whole / files["saved (MB)"][0])


def test_three_kinds_side_by_side(models, vit_clip, images):
    towers, differences = deployment.on_integers(models, images)
    assert list(towers) == list(models) and (differences.iloc[:, 2] > 0).all()
    assert (differences["largest difference of features"] < 1).all()
    test = load_images("openmoji", "test", 8, 0)
    table, right = deployment.side_by_side(vit_clip, models, towers, test, "openmoji", 4, 0.01)
    kinds = [("–", "float32"), *((b, k) for _, b in models for k in ("simulated", "integers"))]
    assert list(zip(table.bits, table["computes with"], strict=True)) == kinds
    model, tokenizer = vit_clip["vit"]
    expected = 100 * top1(model, task_features(model, tokenizer, "openmoji"), test)
    assert table["Top-1 (%)"][0] == expected
    simulated = models["vit", "W2A8"]
    texts = task_features(simulated, tokenizer, "openmoji")
    assert table["Top-1 (%)"][3] == 100 * top1(simulated, texts, test)
    assert (100 * right.mean()).tolist() == table["Top-1 (%)"].tolist() and len(right) == 8
    assert (table["ms an image"] > 0).all() and table["times float32's speed"][0] == 1
    files = deployment.through_files(models, vit_clip)[1]
    drawn = deployment.deployment_table(files, table)
    assert drawn.bits.tolist() == ["float32", "W4A8", "W2A8", "float32", *table.bits[1:]]
    assert drawn["saved (MB)"].iloc[0] == files["float32 (MB)"][0]
    assert plots.deployment(drawn).axes


def test_a_vit_is_quantized_folded_too_and_nothing_is_learned_of_the_nearest(vit_clip, images):
    quick = TINY_D4C | {"range_fractions": 2}
    plans = plans_at("vit", "W4A8", quick, [0], 0)
    plans += plans_at("vit", "W2A8", quick | NEAREST, [0], 0)
    given = {("vit", 0, "d4c"): preprocess(images, 64)}
    found, nearest = deployment.quantize_towers(vit_clip, plans, given, "openmoji")
    names = [(bits, bits + deployment.FOLDED) for bits in ("W4A8", "W2A8")]
    assert list(found) == [("vit", name) for pair in names for name in pair]
    for (_, bits), model in found.items():
        model.check_ranges()
        folded = isinstance(model.visual.transformer.resblocks[0].attn, FoldedAttention)
        assert folded == bits.endswith(deployment.FOLDED)
        assert f"W{model.settings.weight_bits}A8" == bits.removesuffix(deployment.FOLDED)
    assert list(nearest) == ["vit"] and nearest["vit"].settings.weight_bits == 4
    nearest["vit"].check_ranges()
    learned, not_learned = (
        [error for error in model.errors if ".visual." in error.name]
        for model in (found["vit", "W4A8 folded"], nearest["vit"])
    )
    assert learned and not not_learned


def test_what_folding_gains_is_told_image_by_image():
    keys = [("vit", bits, kind) for bits in ("W4A8", "W4A8 folded") for kind in ("simulated", "no")]
    shares = dict(zip(keys, ([1, 1, 0, 0], [0] * 4, [1, 1, 1, 0], [1] * 4), strict=True))
    right = pd.DataFrame({key: [bool(x) for x in values] for key, values in shares.items()})
    (row,) = deployment.folding_gains(right).to_numpy().tolist()
    assert row[:5] == ["vit", "W4A8", 75, 50, 25]
    assert row[5:] == pytest.approx(student([0, 0, 100, 0]))
    assert not len(deployment.folding_gains(right.iloc[:, :2]))
