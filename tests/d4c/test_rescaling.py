"""Rescaled channels: another network that computes the same."""

import pytest
import torch
from torch import nn

from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import photo
from paperlib.d4c.rescaling import rescaled
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.sizes import NEAREST, TINY_D4C
from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip


@pytest.fixture(scope="module", params=["resnet", "vit"])
def clip(request):
    torch.manual_seed(0)
    model = build_small_clip(request.param, make_tokenizer().vocab_size).eval()
    for part in model.visual.modules():  # as after a training: no bias is zero
        if isinstance(part, nn.BatchNorm2d | nn.MultiheadAttention):
            bias = part.bias if isinstance(part, nn.BatchNorm2d) else part.in_proj_bias
            nn.init.normal_(bias, std=0.1)
    return model


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spread", [0.5, 1.1, 2.0])
def test_it_computes_the_same_with_other_weights(clip, images, spread):
    other = rescaled(clip, spread, 0)
    with torch.inference_mode():
        exact, near = clip.encode_image(images), other.encode_image(images)
    torch.testing.assert_close(near, exact, rtol=2e-4, atol=2e-4 * float(exact.abs().max()))
    changed = {
        name
        for (name, a), b in zip(clip.named_parameters(), other.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed and all(name.startswith("visual.") for name in changed)
    if any("conv2" in name for name in changed):
        blocks = {name.split(".conv2")[0] for name in changed if ".conv2" in name}
        assert len(blocks) == sum(1 for n, _ in clip.visual.named_modules() if n.endswith(".conv2"))
        assert {"visual.attnpool.k_proj.weight", "visual.attnpool.c_proj.weight"} <= changed
        assert "visual.attnpool.c_proj.bias" not in changed
    else:
        kinds = {name.rpartition("attn.")[2] for name in changed}
        assert kinds == {"in_proj_weight", "in_proj_bias", "out_proj.weight"}


def test_factors_are_as_wide_as_they_should_be_and_the_same_for_a_seed(clip):
    name = next(
        n for n, _ in clip.named_parameters() if n.endswith(("v_proj.bias", "in_proj_bias"))
    )
    before = clip.get_parameter(name).detach()
    own, again, other = (
        (rescaled(clip, 1.1, seed).get_parameter(name).detach() / before)[-len(before) // 3 :].log()
        for seed in (0, 0, 1)
    )
    assert 0.8 < float(own.std()) < 1.4 and abs(float(own.mean())) < 0.4
    assert torch.equal(own, again) and not torch.equal(own, other)
    assert torch.equal(rescaled(clip, 0, 0).get_parameter(name), before)


def test_it_is_harder_to_quantize(clip, images):
    """What eight bits cost the features grows with the spread."""
    lost = []
    for spread in (0, 1.1):
        model = rescaled(clip, spread, 0)
        few = Settings(**{**TINY_D4C, **NEAREST, **bit_widths("W8A4"), "images": 3})
        text_done = quantize_text(model, make_tokenizer(), few, [photo])
        quantized = quantize_image(text_done, images)
        with torch.inference_mode():
            exact = model.encode_image(images)
            lost.append(float((quantized.encode_image(images) - exact).norm() / exact.norm()))
    assert lost[1] > 1.2 * lost[0]


def test_what_is_not_valid_is_said(clip):
    with pytest.raises(ValueError, match="spread=-1: valid"):
        rescaled(clip, -1, 0)
    strange = nn.Module()
    strange.visual = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Linear: valid are ResNets and ViTs"):
        rescaled(strange, 1, 0)
