r"""Quantized layers in the form that they are exported in: weights as packed integers.

A layer holds the codes $c$ of its weights, 2, 4 or 8 bits each and as many to a byte as fit, and
computes in one of two ways:

- simulated: $\hat w = s_w (c - z_w)$ and $\hat x$ are made and multiplied in floating point, by the
  same operations as in `paperlib.d4c.quantized_layers`, so that the result is equal bit for bit;
- on integers, in a file of ONNX alone: the sum $\sum (q_x - z_x)(c - z_w)$ is taken of 8-bit
  integers into 32-bit ones (MatMulInteger, ConvInteger) and multiplied with $s_x s_w$. A layer
  whose input has a range a channel stays simulated.

ConvInteger knows one zero point for all weights. One more output channel, all of whose weights are
1, gives $\sum (q_x - z_x)$, of which each channel takes $z_w$ times away.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantized_layers import QuantizedLayer
from paperlib.d4c.quantizers import (
    ActivationQuantizer,
    DynamicQuantizer,
    WeightQuantizer,
    along,
    largest_code,
)
from paperlib.d4c.storage import pack

WIDTHS = (2, 4, 8)  # bits of a packed code: so many codes fit a byte without a rest


class PackedWeight(nn.Module):
    """A quantized weight.

    Attributes:
        packed: codes, the first in the highest bits of a byte.
        scale, zero_point: of the output channels.
    """

    def __init__(self, quantizer: WeightQuantizer) -> None:
        super().__init__()
        self.shape, self.width = quantizer.codes.shape, packed_width(quantizer.bits)
        self.register_buffer("packed", pack(quantizer.codes, self.width))
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("zero_point", quantizer.zero_point.float())

    def codes(self) -> Float[Tensor, "out *shape"]:
        """What `packed` holds, by arithmetic that every format of networks has."""
        bytes_, base = self.packed.float(), 2.0**self.width
        places = [base**k for k in reversed(range(8 // self.width))]
        digits = torch.stack([(bytes_ / place).floor().remainder(base) for place in places], -1)
        return digits.flatten()[: self.shape.numel()].reshape(self.shape)

    def forward(self) -> Float[Tensor, "out *shape"]:
        """ŵ."""
        s, z = (along(values, 0, len(self.shape)) for values in (self.scale, self.zero_point))
        return (self.codes() - z) * s


class ExportedQuantizer(nn.Module):
    """An `ActivationQuantizer` without gradients."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.bits, self.per_channel = quantizer.bits, quantizer.axis is not None
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("zero_point", quantizer.zero_point.byte())
        lowest = -quantizer.zero_point.float()
        self.register_buffer("lowest", lowest)
        self.register_buffer("highest", lowest + largest_code(quantizer.bits))

    def forward(self, x: Tensor) -> Tensor:
        """x̂."""
        return (x / self.scale).round().clamp(self.lowest, self.highest) * self.scale

    def codes(self, x: Tensor) -> Tensor:
        """q_x as 8-bit integers, by an operation of ONNX."""
        given = x, self.scale, self.zero_point
        codes = symbolic("QuantizeLinear", given, dtype=torch.uint8, shape=x.shape)
        if self.bits == 8:
            return codes
        ends = (torch.tensor(end, dtype=torch.uint8) for end in (0, largest_code(self.bits)))
        return symbolic("Clip", (codes, *ends), dtype=torch.uint8, shape=x.shape)


class ExportedLayer(nn.Module):
    """A `QuantizedLayer` with a packed weight.

    Attributes:
        integers: whether its product is taken of integers, by operations of ONNX.
    """

    def __init__(self, layer: QuantizedLayer, integers: bool) -> None:
        super().__init__()
        self.input, self.output, self.bias = layer.input, layer.output, layer.bias
        self.weight = PackedWeight(layer.weight_quantizer)
        self.window, self.operation = layer.window, layer.operation
        self.integers = integers and not self.input.per_channel

    def forward(self, x: Tensor) -> Tensor:
        """As the quantized layer."""
        if self.integers:
            y = self._convolved(x) if self.window else self._multiplied(x)
            scale = self.input.scale * self.weight.scale
            places = (1, 1) if self.window else ()
            y = y * scale.view(-1, *places)
            return self.output(y if self.bias is None else y + self.bias.view(-1, *places))
        return self.output(self.operation(self.input(x), self.weight(), self.bias, *self.window))

    def _multiplied(self, x: Tensor) -> Tensor:
        zero_points = self.input.zero_point, self.weight.zero_point.byte()
        given = self.input.codes(x), self.weight.codes().byte().T, *zero_points
        shape = *x.shape[:-1], self.weight.shape[0]
        return symbolic("MatMulInteger", given, dtype=torch.int32, shape=shape).float()

    def _convolved(self, x: Tensor) -> Tensor:
        stride, padding, dilation, groups = (
            list(part) if isinstance(part, tuple) else part for part in self.window
        )
        outputs, channels, *kernel = self.weight.shape
        ones = torch.ones(1, channels, *kernel)
        weight = torch.cat([self.weight.codes(), ones]).byte()
        attributes = {"strides": stride, "pads": padding * 2, "dilations": dilation}
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
        ]
        sums = symbolic(
            "ConvInteger",
            (self.input.codes(x), weight, self.input.zero_point),
            attributes | {"group": groups},
            dtype=torch.int32,
            shape=(x.shape[0], outputs + 1, *size),
        ).float()
        return sums[:, :-1] - self.weight.zero_point.view(-1, 1, 1) * sums[:, -1:]


def packed_width(bits: int) -> int:
    """Bits that a code of `bits` takes in an exported file: 2, 4 or 8."""
    return next(width for width in WIDTHS if width >= bits)


def exported_tower(model: QuantizedClip, integers: bool) -> nn.Module:
    """The image tower with packed weights, images (n, 3, size, size) to features (n, width).

    Args:
        model: with ranges, switched on; left as it is.
        integers: products on integers where a layer can: for ONNX alone.

    Raises:
        ValueError: no ranges yet, switched off, or with dynamic ranges.
    """
    model.check_ranges()
    if any(isinstance(module, DynamicQuantizer) for module in model.visual.modules()):
        raise ValueError("model: ranges of each image's own are not exported; calibrate it")
    return _exported(copy.deepcopy(model.visual), integers).eval().requires_grad_(False)


def _exported(module: nn.Module, integers: bool) -> nn.Module:
    if isinstance(module, ActivationQuantizer):
        return ExportedQuantizer(module)
    for name, child in list(module.named_children()):
        setattr(module, name, _exported(child, integers))
    return ExportedLayer(module, integers) if isinstance(module, QuantizedLayer) else module
