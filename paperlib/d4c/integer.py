r"""The image tower of a quantized CLIP with real integer products.

A quantized layer computes with $\hat x = s_x (q_x - z_x)$ and $\hat w = s_w (c - z_w)$. With the
integers $q_w = c - z_w$ of every output channel the scales come out of the sum,

$$y = s_x s_w \sum (q_x - z_x)\, q_w + b,$$

which oneDNN, a part of torch, computes from 8-bit integers into 32-bit ones. The result is that of
the simulation up to the rounding of float32. Where 8-bit weights have $q_w$ that do not fit 8 bits
with a sign, $c - 128$ stands for them, and one more output channel, whose weights are all 1, gives
$\sum (q_x - z_x)$, of which every channel takes $(z_w - 128)$ times away.

Layers whose input has a range a channel stay as they are, since its scales do not come out of the
sum. `paperlib.d4c.folding`, before the weights are quantized, leaves no layer of a ViT a range a
channel. BatchNorm, activations and the two products of an attention, q·k and softmax·v, are in
floating point.

Where torch has no such kernels, the same sums are computed in float32, as exactly and no faster.
"""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantized_layers import QuantizedLayer
from paperlib.d4c.quantizers import along, quantize

INT8 = torch.iinfo(torch.int8)


def has_kernels() -> bool:
    """Whether torch has 8-bit integer products on this processor."""
    operators = torch.ops.onednn
    return torch.backends.mkldnn.is_available() and hasattr(operators, "qconv_pointwise")


class IntegerLayer(nn.Module):
    """A quantized layer with one range for its input, computed with integers.

    Attributes:
        weight: q_w as 8-bit integers with a sign; or c - 128, and a channel of ones.
        scale: s_w, for each output channel; 1 of the channel of ones.
        shift: s_w (z_w - 128) where there is such a channel, else None.
        window: as of the quantized layer.
    """

    def __init__(self, layer: QuantizedLayer) -> None:
        super().__init__()
        quantizer = layer.weight_quantizer
        integers, scale, bias = quantizer.integers(), quantizer.scale.float(), layer.bias
        shift = None
        if int(integers.min()) < INT8.min or int(integers.max()) > INT8.max:
            shift = scale * (quantizer.zero_point + INT8.min)
            integers = torch.cat([quantizer.codes.int() + INT8.min, torch.ones_like(integers[:1])])
            scale = F.pad(scale, (0, 1), value=1)
            bias = None if bias is None else F.pad(bias, (0, 1))
        self.register_buffer("weight", integers.to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.register_buffer("bias", bias)
        self.register_buffer("zeros", torch.zeros(len(scale), dtype=torch.int32))
        self.input, self.output = layer.input, layer.output
        self.window = [list(part) if isinstance(part, tuple) else part for part in layer.window]
        self.packed = self._pack() if has_kernels() else None

    def _pack(self) -> Tensor:
        if not self.window:
            return torch.ops.onednn.qlinear_prepack(self.weight, None)
        s_x, z_x = self.input.scale.item(), int(self.input.zero_point)
        return torch.ops.onednn.qconv_prepack(self.weight, self.scale, s_x, z_x, *self.window, None)

    def forward(self, x: Tensor) -> Tensor:
        """As the quantized layer."""
        y = self._product(x)
        if self.shift is not None:
            axis = 1 if self.window else -1
            channels, sums = y.split([len(self.shift), 1], axis)
            y = channels - along(self.shift, axis, y.ndim) * sums
        return self.output(y)

    def _product(self, x: Tensor) -> Tensor:
        codes = quantize(x, self.input.scale, self.input.zero_point, self.input.bits)
        s_x, z_x = self.input.scale.item(), int(self.input.zero_point)
        if self.packed is None:
            return self._sums(codes.float() - z_x) * s_x
        weight = self.packed, self.scale, self.zeros, self.bias
        result = 1.0, 0, torch.float32, "none", [], ""
        if not self.window:
            rows = codes.flatten(0, -2)
            y = torch.ops.onednn.qlinear_pointwise(rows, s_x, z_x, *weight, *result)
            return y.unflatten(0, x.shape[:-1])
        return torch.ops.onednn.qconv_pointwise(codes, s_x, z_x, *weight, *self.window, *result)

    def _sums(self, integers: Tensor) -> Tensor:
        """The layer's product over s_x, from integers in float32."""
        weight = self.weight.float() * along(self.scale, 0, self.weight.ndim)
        bias = None if self.bias is None else self.bias / self.input.scale
        if not self.window:
            return F.linear(integers, weight, bias)
        return F.conv2d(integers, weight, bias, *self.window)


def integer_tower(model: QuantizedClip) -> tuple[QuantizedClip, list[str]]:
    """A copy whose image tower computes with integers, and the names of the layers that do.

    Args:
        model: with ranges, switched on; left as it is.

    Raises:
        ValueError: the model has no ranges yet, or is switched off.
    """
    model.check_ranges()
    model = copy.deepcopy(model)
    replaced = [name for name, layer in _image_layers(model) if layer.input.axis is None]
    for name in replaced:
        parent, _, child = name.rpartition(".")
        layer = model.get_submodule(name)
        setattr(model.get_submodule(parent), child, IntegerLayer(layer).eval())
    return model, replaced


def share_of_weights(model: QuantizedClip, names: list[str]) -> float:
    """Share of the quantized weights of the image tower that these layers hold, 0 to 1."""
    counts = {name: layer.weight.numel() for name, layer in _image_layers(model)}
    return sum(counts[name] for name in names) / sum(counts.values())


def largest_difference(
    model: nn.Module, other: nn.Module, images: Float[Tensor, "n 3 size size"]
) -> float:
    """Between the unit image features of two models."""
    with torch.no_grad():
        ours, theirs = (m.encode_image(images, normalize=True) for m in (model, other))
    return float((ours - theirs).abs().max())


def _image_layers(model: QuantizedClip) -> list[tuple[str, QuantizedLayer]]:
    return [(name, layer) for name, layer in model.layers() if name.startswith("clip.visual.")]
