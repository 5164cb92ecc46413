from dataclasses import replace

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from paperlib.d4c.integer import integer_tower
from paperlib.d4c.quantized_clip import QuantizedClip, first_not_finite
from paperlib.d4c.quantized_layers import STAGES, QuantizedLayer, StageType
from paperlib.d4c.quantizers import fake_quantize
from paperlib.d4c.ranges import search_range
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import Settings
from paperlib.d4c.storage import load_quantized, save_quantized

FAST = Settings(range_fractions=8)


@pytest.fixture
def assert_same_features(features):
    def check(model, ours, images, tokens):
        for mine, theirs in zip(
            features(ours, images, tokens), features(model, images, tokens), strict=True
        ):
            assert theirs.std() > 0.01
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)

    return check


def test_without_quantization_it_is_the_model(clip, inputs, assert_same_features):
    assert_same_features(clip, QuantizedClip(clip, FAST), *inputs)


@pytest.mark.parametrize(
    ("name", "vision", "text"),
    [
        ("RN50", {}, {"layers": 1}),
        ("ViT-B-32", {}, {"layers": 1}),
        ("ViT-L-14", {"layers": 2}, {"layers": 2}),
    ],
)
def test_full_width_without_quantization(name, vision, text, assert_same_features):
    """The image towers of RN50 and ViT-B/32 whole, ViT-L/14 with two layers of its width."""
    config = open_clip.get_model_config(name)
    config["vision_cfg"] |= vision
    config["text_cfg"] |= text | {"vocab_size": 1000}
    torch.manual_seed(0)
    model = CLIP(**config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # the last one of a block is zero at first
            nn.init.uniform_(module.weight, 0.2, 0.6)
    images, tokens = torch.randn(1, 3, 224, 224), torch.randint(1, 1000, (2, 77))
    assert_same_features(model, QuantizedClip(model, Settings()), images, tokens)


def test_a_text_tower_of_its_own(inputs, assert_same_features):
    """CustomTextCLIP, with a class token and so a mask for every head."""
    torch.manual_seed(0)
    text = {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 4, "layers": 1}
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
    model = CustomTextCLIP(24, vision, text | {"embed_cls": True}).eval()
    images, tokens = inputs
    tokens[:, 8:] = 0
    assert_same_features(model, QuantizedClip(model, FAST), images, tokens)


def test_what_is_quantized(clip):
    ours = QuantizedClip(clip, Settings(weight_bits=4, activation_bits=6))
    names = [name.removeprefix("clip.") for name, _ in ours.layers()]
    layers = dict(zip(names, (layer for _, layer in ours.layers()), strict=True))
    quantized = {id(layer.weight) for layer in layers.values()}
    block = ["attn.q", "attn.k", "attn.v", "attn.out", "mlp.c_fc", "mlp.c_proj"]
    text = [f"transformer.resblocks.{i}.{layer}" for i in range(2) for layer in block]
    if isinstance(clip.visual, ModifiedResNet):
        stages = ["layer1.0", "layer2.0", "layer3.0", "layer3.1", "layer4.0"]
        image = [f"visual.{stage}.conv{i}" for stage in stages for i in (1, 2, 3)]
        image += [f"visual.attnpool.attention.{layer}" for layer in ("q", "k", "v", "out")]
        assert all(layers[name].input.scale.shape == () for name in image)
    else:
        image = ["visual." + name for name in text]
        per_channel = [name for name in image if layers[name].input.scale.ndim]
        assert per_channel == [n for n in image if n.endswith((".q", ".k", ".v", "c_fc"))]
    assert sorted(names) == sorted(image + text)
    for name in names:
        layer, text_mlp = layers[name], name in text and ".mlp." in name
        assert layer.weight_quantizer.bits == (8 if text_mlp else 4)
        assert layer.input.bits == (8 if text_mlp else 6)
        assert isinstance(layer.output, nn.Identity) != name.endswith((".q", ".k", ".v"))
    assert all(layers[n].input.scale.ndim == 1 for n in text if n.endswith("mlp.c_proj"))
    left = [m for m in ours.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(left) == (3 + 4 if isinstance(clip.visual, ModifiedResNet) else 1)
    assert not quantized & {id(module.weight) for module in left}


@pytest.fixture
def ranged(clip, inputs):
    ours = QuantizedClip(clip, FAST)
    ours.set_ranges(*inputs)
    return ours


def test_ranges_are_those_of_the_float_model(ranged, clip, inputs, features):
    """A text layer's input and output are observed by hooks on open_clip's own modules."""
    block = clip.transformer.resblocks[1]
    seen = {}
    block.mlp.c_fc.register_forward_pre_hook(lambda _, x: seen.update(fc=x[0]))
    block.ln_1.register_forward_hook(lambda *args: seen.update(q=args[2]))
    features(clip, *inputs)
    ours = ranged.clip.transformer.resblocks[1]
    expected = search_range(seen["fc"].flatten(0, 1).T, 8, fractions=8)
    torch.testing.assert_close(ours.mlp.c_fc.input.scale.data, expected.scale)
    assert torch.equal(ours.mlp.c_fc.input.zero_point, expected.zero_point)
    expected = search_range(seen["q"].flatten(0, 1).T, 8, fractions=8)
    for layer in (ours.attn.q, ours.attn.k, ours.attn.v):
        torch.testing.assert_close(layer.input.scale.data, expected.scale)
    q = nn.functional.linear(seen["q"], *(p[:32] for p in block.attn.parameters() if len(p) == 96))
    expected = search_range(q.reshape(1, -1), 8, fractions=8)
    torch.testing.assert_close(ours.attn.q.output.scale.data, expected.scale[0])
    assert int(ours.attn.softmax.zero_point) == 0


def test_quantized_layers_compute_with_fake_quantized_values(ranged, inputs):
    layer = ranged.clip.transformer.resblocks[0].attn.out
    x = torch.randn(5, 32)
    found = search_range(layer.weight, 4, fractions=8)
    weight = fake_quantize(layer.weight, found.scale, found.zero_point, 4, 0)
    values = fake_quantize(x, layer.input.scale, layer.input.zero_point, 8)
    expected = nn.functional.linear(values, weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)


def test_more_bits_lose_less(clip, inputs, features):
    exact = features(clip, *inputs)
    errors = []
    for bits in [(2, 2), (4, 4), (8, 8)]:
        settings = replace(FAST, weight_bits=bits[0], activation_bits=bits[1])
        ours = QuantizedClip(clip, settings)
        ours.set_ranges(*inputs)
        pairs = zip(features(ours, *inputs), exact, strict=True)
        errors.append([float((a - b).norm() / b.norm()) for a, b in pairs])
    for image_or_text in zip(*errors, strict=True):
        assert image_or_text[0] > image_or_text[1] > image_or_text[2]
        assert image_or_text[2] < 0.03


def test_the_model_is_left_as_it_was(clip, inputs, features):
    before = {k: v.clone() for k, v in clip.state_dict().items()}
    exact = features(clip, *inputs)
    ours = QuantizedClip(clip, FAST)
    ours.set_ranges(*inputs)
    assert all(torch.equal(v, before[k]) for k, v in clip.state_dict().items())
    assert not torch.equal(features(ours, *inputs)[0], exact[0])
    ours.switch(False)
    torch.testing.assert_close(features(ours, *inputs), exact, atol=1e-5, rtol=1e-5)


def test_only_so_many_samples_give_the_ranges(vit, inputs):
    images, tokens = inputs
    few = QuantizedClip(vit, replace(FAST, range_images=3, range_prompts=2))
    few.set_ranges(images, tokens)
    first = QuantizedClip(vit, FAST)
    first.set_ranges(images[:3], tokens[:2])
    for a, b in zip(few.state_dict().values(), first.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_shared_input_of_q_k_and_v_is_searched_once(vit, inputs, monkeypatch):
    searched = []

    def count(rows, *options):
        searched.append(rows.shape)
        return search_range(rows, *options)

    monkeypatch.setattr("paperlib.d4c.quantized_clip.search_range", count)
    ours = QuantizedClip(vit, FAST)
    ours.set_ranges(*inputs)
    attentions = 4  # two layers a tower
    layers, activations = len(list(ours.layers())), len(list(ours.activations()))
    assert len(searched) == layers + activations - 2 * attentions


def test_ranges_of_the_image_tower_alone(clip, inputs):
    images, tokens = inputs
    whole = QuantizedClip(clip, FAST)
    whole.set_ranges(images[:6], tokens)
    again = QuantizedClip(clip, FAST)
    with pytest.raises(ValueError, match="no ranges"):
        again.set_image_ranges(images)
    again.set_ranges(images[6:], tokens)
    expected = whole.state_dict()
    assert any(not torch.equal(v, expected[k]) for k, v in again.state_dict().items())
    again.set_image_ranges(images[:6])
    assert all(torch.equal(v, expected[k]) for k, v in again.state_dict().items())
    with pytest.raises(ValueError, match=r"\(0, 3, 64, 64\).* n from 1"):
        again.set_image_ranges(images[:0])


@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_named(vit, inputs):
    images, tokens = inputs
    ours = QuantizedClip(vit, FAST)
    with pytest.raises(ValueError, match=r"\(12, 3, 32, 64\): the model takes \(n, 3, 64, 64\)"):
        ours.set_ranges(images[:, :, ::2], tokens)
    with pytest.raises(ValueError, match=r"\(0, 3, 64, 64\).* n from 1"):
        ours.set_ranges(images[:0], tokens)
    with pytest.raises(ValueError, match=r"\(16, 11\): the model takes \(m, 12\)"):
        ours.set_ranges(images, tokens[:, 1:])
    with pytest.raises(ValueError, match="Linear has no image tower: valid are open_clip's"):
        QuantizedClip(nn.Linear(2, 2), FAST)
    with pytest.raises(ValueError, match="weight_bits=1: whole numbers 2 to 8 are valid"):
        QuantizedClip(vit, Settings(weight_bits=1))
    with pytest.raises(ValueError, match="activation_bits=9: whole numbers 2 to 8 are valid"):
        QuantizedClip(vit, Settings(activation_bits=9))
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
    text = {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 4, "layers": 1}
    custom = CLIP(24, vision | {"qk_norm": True}, text)
    with pytest.raises(ValueError, match="a block CustomResidualAttentionBlock: valid are"):
        QuantizedClip(custom, FAST)


def test_the_first_sample_that_is_not_finite():
    samples = torch.zeros(4, 2, 3)
    assert first_not_finite(samples) is None
    assert first_not_finite(samples[:0]) is None
    samples[3, 0, 0], samples[1, 1, 2] = torch.nan, -torch.inf
    assert first_not_finite(samples) == 1


@pytest.mark.usefixtures("unchecked")
def test_images_that_no_layer_can_take_are_named(clip, inputs):
    images, tokens = inputs
    ours = QuantizedClip(clip, FAST)
    images[3, 1, 5, 7] = torch.nan
    with pytest.raises(ValueError, match=r"^images\[3\]: it has values that are not finite"):
        ours.set_ranges(images, tokens)
    with pytest.raises(ValueError, match=r"^images of torch.float16: the model takes"):
        ours.set_ranges(images.nan_to_num().half(), tokens)
    images[3] = 1e38  # finite itself, but not what the layers make of it
    with pytest.raises(ValueError, match=r"^clip\.visual\..*: what image or prompt 3 gives there"):
        ours.set_ranges(images, tokens)


def test_models_that_cannot_be_quantized_are_named(clip, vit):
    with pytest.raises(ValueError, match="^model: it is quantized already"):
        QuantizedClip(QuantizedClip(clip, FAST), FAST)
    vit.visual.image_size = (64, 48)
    with pytest.raises(ValueError, match="^model: it takes images of 64 x 48 pixels; square"):
        QuantizedClip(vit, FAST)


def test_a_text_tower_of_hugging_face_is_refused_in_a_sentence(vit):
    class BertLayer(nn.Linear):
        pass

    tower = nn.Module()  # as open_clip's HFTextEncoder has it: its model is `transformer`
    tower.transformer = nn.Module()
    tower.transformer.layer = nn.ModuleList([BertLayer(8, 8), BertLayer(8, 8)])
    vit.text = tower
    with pytest.raises(ValueError, match="a block BertLayer: valid are open_clip's CLIP models"):
        QuantizedClip(vit, FAST)


def test_a_family_of_layers_is_one_row(
    toy_clip, toy, inputs, tmp_path, monkeypatch, features, assert_same_features
):
    """From ranges to integers and a file, without another change."""
    with pytest.raises(ValueError, match="CLIP has a block Toy: valid are .* types Bottleneck, "):
        QuantizedClip(toy_clip, FAST)

    def quantize_toy(layer, settings, tower):
        assert tower == "image"
        layer.mix = QuantizedLayer(layer.mix, settings.weight_bits, settings.activation_bits)
        return layer

    monkeypatch.setitem(STAGES, toy, StageType(quantize_toy, whole=False))
    settings = replace(FAST, weight_bits=2, reconstruction_iterations=40, rounding_rate=0.02)
    exact = features(toy_clip, *inputs)
    assert_same_features(toy_clip, QuantizedClip(toy_clip, settings), *inputs)
    model = QuantizedClip(toy_clip, settings)
    model.set_ranges(*inputs)
    nearest = (features(model, *inputs)[0] - exact[0]).norm()
    errors = reconstruct(model, *inputs, ["image"])
    assert [error.name for error in errors] == [f"clip.visual.blocks.{i}.mix" for i in range(3)]
    assert (features(model, *inputs)[0] - exact[0]).norm() < 0.9 * nearest
    assert integer_tower(model)[1] == [error.name for error in errors]
    save_quantized(model, tmp_path / "toy.safetensors")
    again = load_quantized(tmp_path / "toy.safetensors", toy_clip)
    assert torch.equal(features(again, *inputs)[0], features(model, *inputs)[0])


def test_a_layer_of_another_type_among_known_ones_is_refused(vit, toy):
    vit.visual.transformer.resblocks[1] = toy(64)
    with pytest.raises(ValueError, match="CLIP has a block Toy"):
        QuantizedClip(vit, FAST)


def test_ranges_of_weights_are_those_of_another_with_the_same_weights(vit, inputs):
    """Activations are searched anew; other weights or another search are refused."""
    images, tokens = inputs
    first, expected, ours = (
        QuantizedClip(vit, replace(FAST, activation_bits=bits)) for bits in (3, 8, 8)
    )
    first.set_ranges(images.flip(-1), tokens[:4])
    expected.set_ranges(images, tokens)
    ours.set_ranges(images, tokens, weights_of=first)
    state = ours.state_dict()
    assert all(torch.equal(value, state[k]) for k, value in expected.state_dict().items())
    other = QuantizedClip(vit, replace(FAST, weight_bits=5))
    with pytest.raises(ValueError, match="weights_of: the ranges of its weights were searched oth"):
        other.set_ranges(images, tokens, weights_of=first)
    vit.visual.transformer.resblocks[0].mlp.c_fc.weight.data.mul_(2)
    changed = QuantizedClip(vit, FAST)
    with pytest.raises(ValueError, match=r"weights_of: other weights .* at clip\.visual.*c_fc"):
        changed.set_ranges(images, tokens, weights_of=first)
