import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from paperlib.d4c import pipeline, synthesis
from paperlib.d4c.pipeline import (
    ABLATION,
    METHODS,
    calibration_images,
    data_free_baseline,
    quantize_image,
    quantize_text,
    settings_of,
)
from paperlib.d4c.prompts import calibration_texts, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip, denormalise, preprocess

FAST = Settings(
    images=3,
    prompts=6,
    synthesis_iterations=2,
    synthesis_batch=2,
    range_fractions=4,
    range_images=2,
    range_prompts=2,
    reconstruction_iterations=2,
    reconstruction_batch=2,
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module", params=["resnet", "vit"])
def model(tokenizer, request):
    torch.manual_seed(0)
    return build_small_clip(request.param, tokenizer.vocab_size).eval()


def test_the_rows_of_the_ablation_differ_in_scg_and_pae():
    on = {m: settings_of(m, FAST) for m in ABLATION}
    assert [(s.structural, s.perturbation is not None) for s in on.values()] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert settings_of("d4c", replace(FAST, perturbation=None)).perturbation is not None
    assert METHODS[-5:-1] == ABLATION
    with pytest.raises(ValueError, match="method='bns': valid are 'pgsi'"):
        settings_of("bns", FAST)


def test_names_of_bit_widths():
    assert bit_widths("W2A8") == {"weight_bits": 2, "activation_bits": 8}
    for name in ("W1A8", "W4A9", "w4a8", "W4A8 "):
        with pytest.raises(ValueError, match="valid are W2A2 to W8A8"):
            bit_widths(name)


def test_every_method_gives_images_of_its_own(model, tokenizer):
    baseline = data_free_baseline(model)
    assert baseline == ("bns" if hasattr(model.visual, "attnpool") else "pse")
    found = {}
    for method in ("real", "gaussian", baseline, *ABLATION):
        images = calibration_images(method, model, tokenizer, FAST, "openmoji")
        assert images.shape == (3, 3, 64, 64) and images.isfinite().all()
        assert all(not torch.equal(images, other) for other in found.values())
        found[method] = images
    clipped = denormalise(calibration_images("d4c_clipped", model, tokenizer, FAST, "openmoji"))
    torch.testing.assert_close(clipped, denormalise(found["d4c"]).clamp(0, 1))
    data = pipeline.load_images("openmoji", "train", 3, FAST.seed)
    assert {tuple(x) for x in found["real"].flatten(1).tolist()} == {
        tuple(x) for x in preprocess(data.images, 64).flatten(1).tolist()
    }
    other = "pse" if baseline == "bns" else "bns"
    with pytest.raises(ValueError, match=f"{other.upper()} needs an image tower"):
        calibration_images(other, model, tokenizer, FAST, "openmoji")
    with pytest.raises(ValueError, match="method='noise': valid are 'real'"):
        calibration_images("noise", model, tokenizer, FAST, "openmoji")


def test_kept_images_are_those_of_the_same_method_settings_weights_and_code(
    model, tokenizer, tmp_path, monkeypatch
):
    def make(method="d4c", settings=FAST, net=model):
        return calibration_images(method, net, tokenizer, settings, "openmoji", tmp_path)

    first = make()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".safetensors"]
    monkeypatch.setattr(pipeline, "synthesise", None)  # not called again
    assert torch.equal(make(), first)
    assert torch.equal(make(settings=replace(FAST, weight_bits=2, prompts=9)), first)
    changed = build_small_clip("vit", tokenizer.vocab_size)
    for changes in ({"settings": replace(FAST, seed=1)}, {"method": "pgsi"}, {"net": changed}):
        with pytest.raises(TypeError, match="NoneType"):
            make(**changes)
    monkeypatch.setattr(pipeline, "source_hash", lambda folder: "other")
    with pytest.raises(TypeError, match="NoneType"):
        make()


def test_images_that_another_is_making_are_waited_for(model, tokenizer, tmp_path, monkeypatch):
    made, whole = [], pipeline.synthesise

    def slow(*arguments, **options):
        time.sleep(0.5)
        made.append(options["checkpoint"])
        return whole(*arguments, **options)

    def make(bits):
        settings = replace(FAST, weight_bits=bits)
        return calibration_images("d4c", model, tokenizer, settings, "openmoji", tmp_path)

    monkeypatch.setattr(pipeline, "synthesise", slow)
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(make, (2, 4, 8)))
    assert len(made) == 1 and all(torch.equal(images, found[0]) for images in found)


def test_an_interrupted_synthesis_continues_at_other_bit_widths(
    model, tokenizer, tmp_path, monkeypatch
):
    def make(bits):
        settings = replace(FAST, weight_bits=bits)
        return calibration_images("d4c", model, tokenizer, settings, "openmoji", tmp_path)

    def interrupted(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    keep = synthesis._save
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "_save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(2)
    assert list(tmp_path.glob("*.pt"))
    assert torch.equal(make(8), calibration_images("d4c", model, tokenizer, FAST, "openmoji"))
    assert not list(tmp_path.glob("*.pt"))


def test_towers_one_after_the_other_give_the_model_that_both_at_once_give(model, tokenizer):
    images = torch.randn(3, 3, 64, 64)
    text = quantize_text(model, tokenizer, FAST, "openmoji")
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


def test_the_text_tower_needs_tokens(model, tokenizer):
    text = quantize_text(model, tokenizer, FAST, "openmoji")
    with pytest.raises(ValueError, match="tokens=None: the text tower"):
        reconstruct(text, torch.randn(2, 3, 64, 64), None)
