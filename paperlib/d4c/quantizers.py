r"""Uniform asymmetric quantizers: of activations with a learned scale, of weights with AdaRound.

A value $x$ becomes the integer code $c$ and stands for $\hat x$ ($s$ scale, $z$ zero point, $b$
bits):

$$c = \mathrm{clip}\bigl(\lfloor x/s \rceil + z,\ 0,\ q_{\max}\bigr), \quad q_{\max} = 2^b - 1,
\qquad \hat x = s\,(c - z).$$

LSQ learns $s$ of an activation with the gradient below (rounding passes gradients straight
through), scaled by $1/\sqrt{n\, q_{\max}}$ for a tensor of $n$ values:

$$\frac{\partial \hat x}{\partial s} = \begin{cases} \lfloor x/s \rceil - x/s & \text{inside the
range} \\ -z \text{ or } q_{\max} - z & \text{clipped} \end{cases}$$

AdaRound learns for every weight whether it is rounded down or up, by a variable $V$ and the
rectified sigmoid $h$, which starts at the weight's fraction, so that $\hat w = w$:

$$\hat w = s\bigl(\mathrm{clip}(\lfloor w/s \rfloor + h(V) + z, 0, q_{\max}) - z\bigr), \quad
h(V) = \mathrm{clip}\bigl(\sigma(V)(\zeta - \gamma) + \gamma,\ 0,\ 1\bigr).$$

Sources: Esser et al., arXiv 1902.08153 (LSQ); Nagel et al., arXiv 2004.10568 (AdaRound).
"""

from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from paperlib.d4c.settings import VALID_BITS

GAMMA, ZETA = -0.1, 1.1  # stretch of the rectified sigmoid, so that it reaches 0 and 1


def largest_code(bits: int) -> int:
    """q_max, the largest code.

    Raises:
        ValueError: `bits` is not 2 to 8.
    """
    if bits not in VALID_BITS:
        raise ValueError(f"bits={bits}: whole numbers 2 to 8 are valid")
    return 2**bits - 1


def along(values: Tensor, axis: int | None, dimensions: int) -> Tensor:
    """`values` (one a channel, or one in all where `axis` is None) to broadcast along `axis`."""
    if axis is None:
        return values
    shape = [1] * dimensions
    shape[axis] = -1
    return values.view(shape)


def quantize(
    x: Float[Tensor, "*shape"],
    scale: Float[Tensor, "*channels"],
    zero_point: Int[Tensor, "*channels"],
    bits: int,
    axis: int | None = None,
) -> UInt8[Tensor, "*shape"]:
    """Codes 0 to 2^bits - 1 of `x`; one scale and zero point for all, or one a channel of `axis`.

    Raises:
        ValueError: `bits` is not 2 to 8.
    """
    s, z = along(scale, axis, x.ndim), along(zero_point, axis, x.ndim)
    return ((x / s).round() + z).clamp(0, largest_code(bits)).to(torch.uint8)


def dequantize(
    codes: UInt8[Tensor, "*shape"],
    scale: Float[Tensor, "*channels"],
    zero_point: Int[Tensor, "*channels"],
    axis: int | None = None,
) -> Float[Tensor, "*shape"]:
    """The values that `codes` stand for."""
    s, z = along(scale, axis, codes.ndim), along(zero_point, axis, codes.ndim)
    return (codes.to(s.dtype) - z) * s


class _FakeQuantize(torch.autograd.Function):
    """x̂ of an activation, with LSQ's gradient for the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, q_max: int) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.q_max = q_max
        return (x / scale).round_().clamp_(-zero_point, q_max - zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, s, z = ctx.saved_tensors
        ratio = x / s
        rounded = ratio.round()
        clipped = rounded.clamp(-z, ctx.q_max - z)
        inside = clipped == rounded
        slope = torch.where(inside, rounded - ratio, clipped).mul_(gradient)
        slope = slope.sum_to_size(s.shape) / (x.numel() * ctx.q_max) ** 0.5
        return gradient * inside if ctx.needs_input_grad[0] else None, slope, None, None


def fake_quantize(
    x: Float[Tensor, "*shape"],
    scale: Float[Tensor, "*channels"],
    zero_point: Int[Tensor, "*channels"],
    bits: int,
    axis: int | None = None,
) -> Float[Tensor, "*shape"]:
    """x̂: `x` quantized and back, with gradients for `x` (straight through) and `scale` (LSQ).

    Raises:
        ValueError: `bits` is not 2 to 8.
    """
    s, z = along(scale, axis, x.ndim), along(zero_point, axis, x.ndim)
    return _FakeQuantize.apply(x, s, z, largest_code(bits))


def initial_rounding(
    weight: Float[Tensor, "out *shape"], scale: Float[Tensor, " out"]
) -> Float[Tensor, "out *shape"]:
    """V at which h(V) is the fraction of w/s, so that rounding with it gives the weight back."""
    ratio = weight / along(scale, 0, weight.ndim)
    h = ratio - ratio.floor()
    return torch.logit((h - GAMMA) / (ZETA - GAMMA))


class _RoundWeight(torch.autograd.Function):
    """ŵ, with the gradient for V; in place where it can be, for this is bound by memory."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, lowest: Tensor, s: Tensor, z: Tensor, q_max: int) -> Tensor:
        h, slope = _rectified_sigmoid(v)
        codes = h.add_(lowest)
        ctx.save_for_backward(slope.mul_(codes >= 0).mul_(codes <= q_max).mul_(s))
        return codes.clamp_(0, q_max).sub_(z).mul_(s)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None, None, None


class _Penalty(torch.autograd.Function):
    """Σ(1 - |2h - 1|^β), with the gradient for V."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, beta: float) -> Tensor:
        h, slope = _rectified_sigmoid(v)
        signed = h.mul_(2).sub_(1)
        power = signed.abs().pow_(beta - 1)
        ctx.save_for_backward(slope.mul_(signed.sign()).mul_(power).mul_(-2 * beta))
        return v.numel() - power.mul_(signed.abs_()).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


def _rectified_sigmoid(v: Tensor) -> tuple[Tensor, Tensor]:
    """h(V) and its slope."""
    p = torch.sigmoid(v)
    h = (p * (ZETA - GAMMA)).add_(GAMMA)
    slope = p.addcmul_(p, p, value=-1).mul_(ZETA - GAMMA).mul_(h >= 0).mul_(h <= 1)
    return h.clamp_(0, 1), slope


def soft_rounding(v: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """h(V), 0 for down to 1 for up."""
    return _rectified_sigmoid(v)[0]


def round_weight(
    v: Float[Tensor, "out *shape"],
    lowest: Float[Tensor, "out *shape"],
    scale: Float[Tensor, " out"],
    zero_point: Int[Tensor, " out"],
    bits: int,
) -> Float[Tensor, "out *shape"]:
    """ŵ of the codes `lowest`, ⌊w/s⌋ + z, plus h(V), quantized per output channel.

    Raises:
        ValueError: `bits` is not 2 to 8.
    """
    s, z = along(scale, 0, v.ndim), along(zero_point, 0, v.ndim)
    return _RoundWeight.apply(v, lowest, s, z, largest_code(bits))


def rounding_penalty(v: Float[Tensor, "*shape"], beta: float) -> Float[Tensor, ""]:
    """Σ(1 - |2h(V) - 1|^β), the regulariser that drives every rounding to 0 or 1; β from 1."""
    return _Penalty.apply(v, beta)


class ActivationQuantizer(nn.Module):
    """x → x̂ once it has a range; x → x where `active` is False, as it is at first.

    Attributes:
        bits: 2 to 8.
        axis: -1 for one range a channel of the last axis, None for one range in all.
        scale: learned; one value, or one a channel.
        zero_point: codes of 0, as integers, same shape.
    """

    def __init__(self, bits: int, channels: int | None = None) -> None:
        super().__init__()
        largest_code(bits)
        self.bits, self.active = bits, False
        self.axis = None if channels is None else -1
        shape = () if channels is None else (channels,)
        self.scale = nn.Parameter(torch.ones(shape))
        self.register_buffer("zero_point", torch.zeros(shape, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Quantized and back, in the shape of `x`."""
        if not self.active:
            return x
        return fake_quantize(x, self.scale, self.zero_point, self.bits, self.axis)


class DynamicQuantizer(nn.Module):
    """x → x̂ with a range for each token, or image, from its own extremes: nothing to calibrate.

    Attributes:
        bits: 2 to 8.
        axes: over which the extremes are taken: -1 of tokens, 1 to 3 of images.
    """

    def __init__(self, bits: int, axes: tuple[int, ...] = (-1,)) -> None:
        super().__init__()
        largest_code(bits)
        self.bits, self.axes = bits, axes

    def forward(self, x: Tensor) -> Tensor:
        """Quantized and back, in the shape of `x`."""
        low, high = x.amin(self.axes, True).clamp(max=0), x.amax(self.axes, True).clamp(min=0)
        s = ((high - low) / largest_code(self.bits)).clamp(min=torch.finfo(x.dtype).tiny)
        return fake_quantize(x, s, (-low / s).round().int(), self.bits)


class WeightQuantizer(nn.Module):
    """A weight as integer codes per output channel (axis 0), and AdaRound's variable for them.

    Attributes:
        bits: 2 to 8.
        codes: what the quantized weight is.
        rounding: V while it is being learned, else None.
        lowest: codes of all weights rounded down, meanwhile.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        largest_code(bits)
        self.bits, self.active = bits, False
        self.rounding: nn.Parameter | None = None
        self.lowest: Tensor | None = None
        self.register_buffer("scale", torch.ones(len(weight), dtype=weight.dtype))
        self.register_buffer("zero_point", torch.zeros(len(weight), dtype=torch.int32))
        self.register_buffer("codes", torch.zeros(weight.shape, dtype=torch.uint8))

    def forward(self, weight: Tensor) -> Tensor:
        """The float weight (inactive), ŵ with soft rounding (while learned) or ŵ of the codes."""
        if not self.active:
            return weight
        if self.rounding is None:
            return dequantize(self.codes, self.scale, self.zero_point, 0)
        return round_weight(self.rounding, self.lowest, self.scale, self.zero_point, self.bits)

    def set_range(self, weight: Tensor, scale: Tensor, zero_point: Tensor) -> None:
        """Take a range, with every weight rounded to the nearest code."""
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        self.codes.copy_(quantize(weight, self.scale, self.zero_point, self.bits, 0))

    def integers(self) -> Tensor:
        """Codes minus zero points: what the weights are multiples of, as int32."""
        return self.codes.int() - along(self.zero_point, 0, self.codes.ndim)

    def start_rounding(self, weight: Tensor) -> nn.Parameter:
        """Make the rounding soft, starting at the float weight; returns V to be learned."""
        s, z = along(self.scale, 0, weight.ndim), along(self.zero_point, 0, weight.ndim)
        self.lowest = (weight / s).floor_() + z
        self.rounding = nn.Parameter(initial_rounding(weight, self.scale))
        return self.rounding

    def finish_rounding(self) -> None:
        """Round every weight down where h < 1/2, else up, for good."""
        with torch.no_grad():
            codes = self.lowest + (self.rounding >= 0)  # h(0) = 1/2
            self.codes.copy_(codes.clamp_(0, largest_code(self.bits)))
        self.rounding = self.lowest = None
