"""Ranges a channel in LayerNorms: the same network, one quantizer an input, all on integers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from paperlib.d4c.folding import FoldedAttention, fold, quantize_folded
from paperlib.d4c.integer import IntegerLayer, integer_tower, largest_difference, share_of_weights
from paperlib.d4c.pipeline import quantize_image
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantizers import quantize
from paperlib.d4c.settings import Settings
from paperlib.d4c.storage import load_quantized, save_quantized

FAST = Settings(weight_bits=4, range_fractions=8, reconstruction_iterations=0)


def ranged(clip, inputs, **changes):
    model = QuantizedClip(clip, replace(FAST, **changes))
    model.set_ranges(*inputs)
    return model


def only_activations(model):
    """Weights in floating point."""
    for _, layer in model.layers():
        layer.weight_quantizer.active = False
    return model


def image_layers(model):
    return {n: layer for n, layer in model.layers() if n.startswith("clip.visual.")}


def test_switched_off_it_is_the_model(vit, inputs, features):
    folded = fold(ranged(vit, inputs))
    folded.switch(False)
    for ours, due in zip(features(folded, *inputs), features(vit, *inputs), strict=True):
        assert due.std() > 0.01
        torch.testing.assert_close(ours, due, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bits", [3, 8])
def test_with_quantized_activations_it_is_the_unfolded_one(vit, inputs, features, bits):
    """In float64, where no value is so near a half that it is rounded the other way."""
    unfolded = ranged(vit, inputs, activation_bits=bits).double()
    folded = fold(unfolded)
    images, tokens = inputs[0].double(), inputs[1]
    ours, due = (features(only_activations(m), images, tokens) for m in (folded, unfolded))
    exact = features(vit.double(), images, tokens)
    assert (due[0] - exact[0]).abs().max() > 1e-3  # the quantization is on
    for mine, theirs in zip(ours, due, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)


def test_what_is_quantized_once(vit, inputs):
    unfolded = ranged(vit, inputs)
    before = {key: value.clone() for key, value in unfolded.state_dict().items()}
    folded = fold(unfolded)
    assert all(torch.equal(value, before[key]) for key, value in unfolded.state_dict().items())
    parts = ["attn.qkv", "attn.out", "mlp.c_fc", "mlp.c_proj"]
    stem = "clip.visual.transformer.resblocks"
    layers = image_layers(folded)
    assert sorted(layers) == sorted(f"{stem}.{i}.{part}" for i in range(2) for part in parts)
    assert all(layer.input.scale.shape == () for layer in layers.values())
    theirs, whole = unfolded.get_submodule(f"{stem}.0.attn"), layers[f"{stem}.0.attn.qkv"]
    assert theirs.q.input.scale.unique().numel() > 10  # ranges that there was something to fold of
    torch.testing.assert_close(whole.input.scale, theirs.q.input.scale.mean())
    assert len(whole.weight) == 3 * len(theirs.q.weight)
    assert torch.equal(whole.output.k.scale, theirs.k.output.scale)


def test_the_codes_of_an_input_are_those_of_before(vit, inputs):
    """Behind the first LayerNorm, in float32, up to values next to a half."""
    unfolded = ranged(vit, inputs)
    seen = []
    for model in (unfolded, fold(unfolded)):
        block = model.visual.transformer.resblocks[0]
        layer = getattr(block.attn, "qkv", None) or block.attn.q
        quantizer = layer.input

        def keep(_, args, quantizer=quantizer):
            given = quantizer.scale, quantizer.zero_point, quantizer.bits, quantizer.axis
            seen.append(quantize(args[0], *given).int())

        with torch.no_grad(), quantizer.register_forward_pre_hook(keep):
            model.encode_image(inputs[0])
    assert seen[0].unique().numel() > 200
    assert (seen[0] - seen[1]).abs().max() <= 1
    assert (seen[0] != seen[1]).float().mean() < 1e-3


def test_all_linear_layers_run_on_integers_and_give_what_is_simulated(vit, inputs):
    unfolded = ranged(vit, inputs)
    folded = fold(unfolded)
    tower, names = integer_tower(folded)
    assert names == list(image_layers(folded)) and share_of_weights(folded, names) == 1
    assert share_of_weights(unfolded, integer_tower(unfolded)[1]) < 0.6
    given = {}
    for name, layer in image_layers(folded).items():
        layer.register_forward_pre_hook(lambda _, args, name=name: given.update({name: args[0]}))
    with torch.no_grad():
        folded.encode_image(inputs[0])
        for name, layer in image_layers(folded).items():
            integers = tower.get_submodule(name)
            assert isinstance(integers, IntegerLayer)
            x = given[name]
            due, ours = layer(x), integers(x)
            step = 0.0
            if name.endswith("qkv"):  # its outputs are quantized: a code may fall the other way
                step = 1.01 * max(float(q.scale) for q in layer.output.children())
            torch.testing.assert_close(ours, due, atol=max(1e-4, step), rtol=1e-4)
            assert (ours - due).abs().median() < 1e-5 and due.std() > 0.001
    assert largest_difference(tower, folded, inputs[0]) < 0.02


def test_it_is_reconstructed_saved_and_read_back(vit, inputs, tmp_path, features):
    images = inputs[0]
    settings = {"reconstruction_iterations": 40, "rounding_rate": 0.02, "weight_bits": 2}
    text_done = ranged(vit, inputs, **settings)
    model = quantize_folded(text_done, images)
    names = [error.name.rpartition(".")[2] for error in model.errors]
    assert names == ["qkv", "out", "c_fc", "c_proj"] * 2
    assert sum(error.after < 0.9 * error.before for error in model.errors) > 4
    nearest, exact = fold(text_done), features(vit, *inputs)[0]
    ours, rounded = ((features(m, *inputs)[0] - exact).norm() for m in (model, nearest))
    assert ours < 0.9 * rounded
    scale = model.visual.transformer.resblocks[0].attn.qkv.input.scale
    assert scale != nearest.visual.transformer.resblocks[0].attn.qkv.input.scale  # it was learned
    path = tmp_path / "folded.safetensors"
    save_quantized(model, path)
    again = load_quantized(path, vit)
    assert isinstance(again.visual.transformer.resblocks[0].attn, FoldedAttention)
    for mine, theirs in zip(features(again, *inputs), features(model, *inputs), strict=True):
        assert torch.equal(mine, theirs)


def test_the_default_stays_unfolded(vit, inputs):
    model = quantize_image(ranged(vit, inputs), inputs[0])
    assert model.visual.transformer.resblocks[0].attn.q.input.scale.ndim == 1


def test_what_cannot_be_folded_is_said(vit, clip, inputs):
    with pytest.raises(ValueError, match="no ranges"):
        fold(QuantizedClip(vit, FAST))
    model = ranged(vit, inputs)
    folded = fold(model)
    with pytest.raises(ValueError, match="^model: it is folded already"):
        fold(folded)
    with torch.no_grad():
        model.visual.transformer.resblocks[1].attn.k.input.scale.mul_(1.01)
    with pytest.raises(ValueError, match="^model: q, k and v learned scales of their own"):
        fold(model)
    if hasattr(clip.visual, "attnpool"):
        with pytest.raises(ValueError, match="^model: its image tower has no LayerNorms"):
            fold(ranged(clip, inputs))
    x = torch.zeros(1, 3, 64)
    with pytest.raises(ValueError, match="^attn_mask: "):
        folded.visual.transformer.resblocks[0].attn(x, x, x, attn_mask=nn.Parameter(x[0, :, :3]))
