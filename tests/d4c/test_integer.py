from dataclasses import replace

import pytest
import torch

from paperlib.d4c import integer
from paperlib.d4c.integer import IntegerLayer, integer_tower, share_of_weights
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.settings import Settings

FAST = Settings(weight_bits=4, range_fractions=8)


@pytest.fixture
def ranged(clip, inputs):
    ours = QuantizedClip(clip, FAST)
    ours.set_ranges(*inputs)
    return ours


@pytest.fixture(params=[True, False])
def kernels(request, monkeypatch):
    """With torch's integer kernels, where it has them, and without."""
    if request.param and not integer.has_kernels():
        pytest.skip("this torch has no integer kernels")
    monkeypatch.setattr(integer, "has_kernels", lambda: request.param)


@pytest.mark.usefixtures("kernels")
def test_every_layer_computes_what_is_simulated(ranged):
    torch.manual_seed(0)
    compared = set()
    for name, layer in ranged.layers():
        if layer.input.axis is not None:
            continue
        shape = (3, layer.weight.shape[1], 5, 5) if layer.weight.ndim == 4 else (3, 7)
        shape = shape if layer.weight.ndim == 4 else (*shape, layer.weight.shape[1])
        x = torch.randn(shape)
        with torch.no_grad():
            integers = IntegerLayer(layer)
            due, ours = layer(x), integers(x)
        assert (integers.packed is not None) == integer.has_kernels()
        step = getattr(layer.output, "scale", None)  # a code may fall the other way at .5
        tolerance = 1e-4 if step is None else 1.01 * step.item()
        torch.testing.assert_close(ours, due, atol=tolerance, rtol=1e-4)
        assert (ours - due).abs().median() < 1e-5
        assert due.std() > 0.001, name
        compared.add((layer.weight.ndim, layer.weight.shape[-1]))
    assert compared


@pytest.mark.usefixtures("kernels")
def test_a_tower_gives_the_features_of_the_simulation(ranged, inputs):
    ours, names = integer_tower(ranged)
    assert integer.largest_difference(ours, ranged, inputs[0]) < 0.02
    assert all(isinstance(ours.get_submodule(name), IntegerLayer) for name in names)
    assert not any(isinstance(module, IntegerLayer) for module in ranged.modules())


def test_what_is_computed_with_integers(ranged):
    _, names = integer_tower(ranged)
    image = [(n, layer) for n, layer in ranged.layers() if n.startswith("clip.visual.")]
    assert names == [name for name, layer in image if layer.input.scale.ndim == 0]
    share = share_of_weights(ranged, names)
    resnet = hasattr(ranged.visual, "attnpool")
    assert share == 1 if resnet else 0.2 < share < 0.6


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("channels", ["one", "all"])
def test_8_bit_weights_that_do_not_fit_have_a_channel_of_ones(clip, inputs, channels):
    ours = QuantizedClip(clip, replace(FAST, weight_bits=8))
    ours.set_ranges(*inputs)
    layers = {n: layer for n, layer in ours.layers() if n.startswith("clip.visual.")}
    for layer in layers.values():
        quantizer = layer.weight_quantizer
        some = slice(0, 1) if channels == "one" else slice(None)
        quantizer.codes[some, 0], quantizer.zero_point[some] = 255, 100
        quantizer.codes[-1, 0] = 0
    tower, names = integer_tower(ours)
    torch.manual_seed(0)
    for name in names:
        layer, integers = layers[name], tower.get_submodule(name)
        assert integers.shift.shape == layer.weight.shape[:1]
        assert len(integers.weight) == len(layer.weight) + 1
        shape = (3, layer.weight.shape[1], 5, 5) if layer.weight.ndim == 4 else (3, 7)
        x = torch.randn(shape if layer.weight.ndim == 4 else (*shape, layer.weight.shape[1]))
        with torch.no_grad():
            due, found = layer(x), integers(x)
        step = getattr(layer.output, "scale", None)
        tolerance = 1e-3 if step is None else 1.01 * step.item()
        torch.testing.assert_close(found, due, atol=tolerance, rtol=1e-4)
        assert (found - due).abs().median() < 1e-4 * due.std()
    assert len(names) == (19 if hasattr(ours.visual, "attnpool") else 2 * 2)


def test_a_model_without_ranges_is_refused(vit):
    with pytest.raises(ValueError, match="no ranges"):
        integer_tower(QuantizedClip(vit, FAST))
