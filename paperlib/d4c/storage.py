"""A quantized CLIP as a file: weights as integers packed to their bits, in safetensors.

What stays in floating point is kept as it is (float32), so that a model read back gives equal
features, bit for bit. The metadata hold the settings.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from paperlib.d4c.folding import share_inputs
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantizers import (
    ActivationQuantizer,
    WeightQuantizer,
    dequantize,
    largest_code,
)
from paperlib.d4c.settings import PerturbationSettings, Settings
from paperlib.files import write_files
from paperlib.models.checkpoints import CheckpointError

CODES = ".weight_quantizer.codes"
SETTINGS = "d4c-settings"


def pack(codes: UInt8[Tensor, "*shape"], bits: int) -> UInt8[Tensor, " bytes"]:
    """Codes below 2^bits one after the other, in ⌈n · bits / 8⌉ bytes.

    Raises:
        ValueError: a code does not fit, or `bits` is not 2 to 8.
    """
    if codes.numel() and int(codes.max()) > largest_code(bits):
        raise ValueError(f"codes up to {int(codes.max())} do not fit in {bits} bits")
    single = np.unpackbits(codes.cpu().numpy().reshape(-1, 1), axis=1)[:, 8 - bits :]
    return torch.from_numpy(np.packbits(single))


def unpack(
    packed: UInt8[Tensor, " bytes"], bits: int, shape: tuple[int, ...]
) -> UInt8[Tensor, "*shape"]:
    """The codes that `pack` packed.

    Raises:
        ValueError: `packed` is not as long as such codes are, or `bits` is not 2 to 8.
    """
    largest_code(bits)
    count = int(np.prod(shape))
    if len(packed) != -(-count * bits // 8):
        raise ValueError(f"{len(packed)} bytes do not hold {count} codes of {bits} bits")
    single = np.unpackbits(packed.cpu().numpy(), count=count * bits).reshape(count, bits)
    full = np.pad(single, ((0, 0), (8 - bits, 0)))
    return torch.from_numpy(np.packbits(full, axis=1)).view(shape)


def save_quantized(model: QuantizedClip, path: Path) -> None:
    """Write a model that has ranges; the file is never left half-written.

    Raises:
        ValueError: the model has no ranges yet, or is switched off.
    """
    model.check_ranges()
    tensors = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    for name, layer in model.layers():
        del tensors[f"{name}.weight"]
        quantizer = layer.weight_quantizer
        tensors[name + CODES] = pack(quantizer.codes, quantizer.bits)
        tensors[f"{name}.weight_quantizer.zero_point"] = quantizer.zero_point.byte().cpu()
    for name, quantizer in model.activations():
        tensors[f"{name}.zero_point"] = quantizer.zero_point.byte().cpu()  # 0 to 255
    metadata = {SETTINGS: json.dumps(asdict(model.settings))}  # one key: several change places
    write_files({path: save(tensors, metadata)})


def load_quantized(path: Path, model: nn.Module) -> QuantizedClip:
    """Read a model that `save_quantized` wrote, switched on.

    Switched off it computes with the dequantized weights, as those in floating point are not kept.

    Args:
        path: of the file.
        model: an open_clip model of the same architecture; its weights do not matter.

    Raises:
        CheckpointError: the file is missing, damaged, no such file, or of another architecture.
        ValueError: `model` cannot be quantized.
    """
    if not path.is_file():
        raise CheckpointError(f"no quantized model at {path}: save_quantized writes one")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error})") from None
    if SETTINGS not in metadata:
        raise CheckpointError(f"{path} is no quantized model: save_quantized writes them")
    ours = QuantizedClip(model, _settings(metadata[SETTINGS]))
    kind = type(model.visual).__name__
    try:
        if any(".attn.qkv." in key for key in tensors):
            share_inputs(ours)
        for name, layer in ours.layers():
            quantizer, key = layer.weight_quantizer, name + CODES
            tensors[key] = unpack(tensors[key], quantizer.bits, tuple(layer.weight.shape))
            scale = tensors[f"{name}.weight_quantizer.scale"]
            zero_point = tensors[f"{name}.weight_quantizer.zero_point"].int()
            tensors[f"{name}.weight"] = dequantize(tensors[key], scale, zero_point, 0)
        ours.load_state_dict(tensors, strict=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this {kind} model: {error}") from None
    ours.switch(True)
    return ours


def float_bytes(model: QuantizedClip, part: str = "") -> int:
    """Size of the weights of the same model in float32, in bytes; of those whose names begin so."""
    quantizers = tuple(
        f"{name}."
        for name, module in model.named_modules()
        if isinstance(module, ActivationQuantizer | WeightQuantizer)
    )
    state = [(key, value) for key, value in model.state_dict().items() if key.startswith(part)]
    return sum(4 * value.numel() for key, value in state if not key.startswith(quantizers))


def _settings(text: str) -> Settings:
    values = json.loads(text)
    if values["perturbation"] is not None:
        values["perturbation"] = PerturbationSettings(**values["perturbation"])
    for name in ("rounding_beta", "foreground_area"):
        values[name] = tuple(values[name])
    return Settings(**values)
