"""Both towers, one after the other, and what is kept of the image tower."""

from dataclasses import replace

import pytest
import torch

from paperlib.d4c import pipeline
from paperlib.d4c.pipeline import (
    image_steps,
    quantize_image,
    quantize_text,
    quantize_without_images,
)
from paperlib.d4c.prompts import calibration_texts, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantizers import DynamicQuantizer
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import Settings, bit_widths

FAST = Settings(
    prompts=6,
    range_fractions=4,
    range_images=2,
    range_prompts=2,
    reconstruction_iterations=2,
    reconstruction_batch=2,
)


@pytest.fixture(scope="module")
def text(model, tokenizer):
    return quantize_text(model, tokenizer, FAST, zero_shot_task("openmoji").templates)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_names_of_bit_widths():
    assert bit_widths("W2A8") == {"weight_bits": 2, "activation_bits": 8}
    for name in ("W1A8", "W4A9", "w4a8", "W4A8 "):
        with pytest.raises(ValueError, match="valid are W2A2 to W8A8"):
            bit_widths(name)


def test_towers_one_after_the_other_give_the_model_that_both_at_once_give(
    model, tokenizer, text, images
):
    before = {key: value.clone() for key, value in text.state_dict().items()}
    ours = quantize_image(text, images)
    assert all(torch.equal(value, before[key]) for key, value in text.state_dict().items())
    whole = QuantizedClip(model, FAST)
    templates = zero_shot_task("openmoji").templates
    tokens = tokenizer(calibration_texts(templates, FAST.prompts, FAST.seed))
    whole.set_ranges(images, tokens)
    reconstruct(whole, images, tokens)
    state = ours.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())
    assert not torch.equal(image_steps(ours), image_steps(text))


def test_the_text_tower_alone_has_no_ranges_of_images(text, images):
    with pytest.raises(ValueError, match="no ranges"):
        text.check_ranges()
    text.check_ranges(["text"])
    assert all(not quantizer.active for _, quantizer in text.activations("image"))
    quantize_image(text, images).check_ranges()


def test_ranges_that_were_found_before_are_taken(model, tokenizer, images):
    nearest = replace(FAST, reconstruction_iterations=0)
    text = quantize_text(model, tokenizer, nearest, zero_shot_task("openmoji").templates)
    first = quantize_image(text, images)
    again = quantize_image(text, images.flip(0), ranges=first.image_ranges())
    before = first.state_dict()
    assert all(torch.equal(value, before[k]) for k, value in again.state_dict().items())
    with pytest.raises(ValueError, match="ranges are of another model"):
        quantize_image(text, images, ranges={})


def test_without_iterations_the_nearest_rounding_stays_and_nothing_is_learned(
    model, tokenizer, images, tmp_path
):
    nearest = replace(FAST, reconstruction_iterations=0)
    text = quantize_text(model, tokenizer, nearest, zero_shot_task("openmoji").templates)
    for folder in (None, tmp_path, tmp_path):  # the last time from what is kept
        ours = quantize_image(text, images, folder)
        assert ours.errors == []
        for _, layer in ours.layers():
            codes = layer.weight_quantizer.codes.clone()
            layer.weight_quantizer.set_range(layer.weight, *scale_and_zero(layer))
            assert torch.equal(codes, layer.weight_quantizer.codes)
    whole = QuantizedClip(model, nearest)
    templates = zero_shot_task("openmoji").templates
    tokens = tokenizer(calibration_texts(templates, FAST.prompts, FAST.seed))
    whole.set_ranges(images, tokens)
    assert torch.equal(image_steps(ours), image_steps(whole))


def scale_and_zero(layer):
    quantizer = layer.weight_quantizer
    return quantizer.scale.clone(), quantizer.zero_point.clone()


def test_a_kept_image_tower_is_that_of_the_same_images(text, images, tmp_path, monkeypatch):
    first = quantize_image(text, images, tmp_path)
    fresh = quantize_image(text, images).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in first.state_dict().items())

    def refused(*arguments):
        raise RuntimeError("made again")

    monkeypatch.setattr(pipeline, "reconstruct", refused)
    again = quantize_image(text, images, tmp_path)
    assert all(torch.equal(value, fresh[key]) for key, value in again.state_dict().items())
    assert torch.equal(again.encode_image(images), first.encode_image(images))
    with pytest.raises(RuntimeError, match="made again"):
        quantize_image(text, images.flip(0), tmp_path)
    text.settings = replace(text.settings, reconstruction_iterations=3)
    with pytest.raises(RuntimeError, match="made again"):
        quantize_image(text, images, tmp_path)
    text.settings = FAST
    kept = next(tmp_path.glob("*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="made again"):
        quantize_image(text, images, tmp_path)


def test_the_text_tower_needs_tokens(text, images):
    with pytest.raises(ValueError, match="tokens=None: the text tower"):
        reconstruct(text, images, None)


def test_without_images_nothing_of_the_calibration_is_left(text, images):
    dynamic, alone = (quantize_without_images(text, kind) for kind in ("dynamic", "float"))
    found = dynamic.encode_image(images)
    for each in (dynamic, alone):  # whatever was calibrated changes nothing
        assert not [name for name, _ in each.activations() if ".visual." in name]
    assert torch.allclose(found[:1], dynamic.encode_image(images[:1]), atol=1e-5)  # each its own


@pytest.mark.parametrize("axes", [(-1,), (1, 2, 3)])
def test_a_dynamic_range_is_that_of_each_token_or_image(axes):
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    x[1] *= 100
    found = DynamicQuantizer(3, axes)(x)
    for one, whole in zip(found, x, strict=True):
        rows = (
            [(one, whole)]
            if axes == (1, 2, 3)
            else zip(one.view(-1, 5), whole.view(-1, 5), strict=True)
        )
        for codes, values in rows:
            assert len(codes.unique()) <= 8
            step = (values.max().clamp(min=0) - values.min().clamp(max=0)) / 7
            assert (codes - values).abs().max() <= step * 1.001
    assert torch.equal(DynamicQuantizer(3, axes)(torch.zeros(1, 3, 4, 5)), torch.zeros(1, 3, 4, 5))
