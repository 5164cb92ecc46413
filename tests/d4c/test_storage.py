from dataclasses import replace

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import nn

from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import Settings
from paperlib.d4c.storage import float_bytes, load_quantized, pack, save_quantized, unpack
from paperlib.models.checkpoints import CheckpointError

SETTINGS = Settings(range_fractions=6, reconstruction_iterations=4)


def ranged(clip, inputs, **changes):
    model = QuantizedClip(clip, replace(SETTINGS, **changes))
    model.set_ranges(*inputs)
    return model


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(3, 5, 7), (8,), (1, 1)])
def test_pack_and_back(bits, shape):
    codes = torch.randint(2**bits, shape, dtype=torch.uint8)
    packed = pack(codes, bits)
    assert packed.numel() == -(-codes.numel() * bits // 8)
    assert torch.equal(unpack(packed, bits, shape), codes)


def test_packed_bits_lie_one_after_the_other():
    assert pack(torch.tensor([0b101, 0b011, 0b110], dtype=torch.uint8), 3).tolist() == [
        0b10101111,
        0b0,
    ]


@pytest.mark.parametrize(("weights", "activations"), [(4, 8), (3, 5), (8, 8), (2, 2)])
def test_a_reloaded_model_is_equal_bit_for_bit(
    clip, inputs, tmp_path, weights, activations, features
):
    model = ranged(clip, inputs, weight_bits=weights, activation_bits=activations)
    reconstruct(model, *inputs)
    save_quantized(model, tmp_path / "q.safetensors")
    for parameter in clip.parameters():  # the architecture alone counts
        nn.init.normal_(parameter)
    again = load_quantized(tmp_path / "q.safetensors", clip)
    assert again.settings == model.settings
    for mine, theirs in zip(features(again, *inputs), features(model, *inputs), strict=True):
        assert torch.equal(mine, theirs)
    save_quantized(again, tmp_path / "again.safetensors")
    both = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("q", "again")]
    assert both[0] == both[1]


def test_size(clip, inputs, tmp_path):
    model, path = ranged(clip, inputs, weight_bits=3), tmp_path / "q.safetensors"
    save_quantized(model, path)
    tensors = load_file(path)
    for name, layer in model.layers():
        bits = 8 if ".mlp." in name and "visual" not in name else 3
        packed = tensors[f"{name}.weight_quantizer.codes"]
        assert packed.numel() == -(-layer.weight.numel() * bits // 8)
        assert f"{name}.weight" not in tensors
    assert float_bytes(model) == 4 * sum(value.numel() for value in clip.state_dict().values())
    weights = sum(layer.weight.numel() for _, layer in model.layers())
    left = float_bytes(model) - 4 * weights
    assert path.stat().st_size < left + weights + 60_000  # scales and the header


def test_bad_files_are_refused(vit, inputs, tmp_path):
    path = tmp_path / "q.safetensors"
    with pytest.raises(CheckpointError, match="no quantized model at .*q.safetensors"):
        load_quantized(path, vit)
    save_quantized(ranged(vit, inputs), path)
    vision = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
    text = {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 4, "layers": 1}
    for other in (
        CLIP(24, vision, text),  # a layer fewer
        CLIP(24, vision | {"layers": 3}, text | {"layers": 2}),  # one more
        CLIP(24, vision | {"width": 128}, text | {"layers": 2}),
    ):
        with pytest.raises(CheckpointError, match="does not fit this VisionTransformer model"):
            load_quantized(path, other)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="is no whole safetensors file"):
        load_quantized(path, vit)
    save_file(vit.state_dict(), path)
    with pytest.raises(CheckpointError, match="is no quantized model"):
        load_quantized(path, vit)


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named(vit, tmp_path):
    with pytest.raises(ValueError, match="it has no ranges"):
        save_quantized(QuantizedClip(vit, SETTINGS), tmp_path / "q.safetensors")
    codes = torch.tensor([7, 8], dtype=torch.uint8)
    with pytest.raises(ValueError, match="codes up to 8 do not fit in 3 bits"):
        pack(codes, 3)
    with pytest.raises(ValueError, match="3 bytes do not hold 2 codes of 8 bits"):
        unpack(torch.zeros(3, dtype=torch.uint8), 8, (2,))
    with pytest.raises(ValueError, match="bits=9"):
        unpack(codes, 9, (2,))
