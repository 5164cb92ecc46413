r"""Ranges a channel folded into LayerNorms, so that a ViT's linear layers run on integers.

The input $x$ of q, k, v and of the first layer of the MLP is what a LayerNorm gives, with a scale
$s_c$ and a zero point $z_c$ a channel. With their means $\tilde s$ and $\tilde z$ (rounded) and

$$r_c = s_c / \tilde s, \quad t_c = \tilde s\,(z_c - \tilde z): \qquad
\gamma'_c = \gamma_c / r_c, \quad \beta'_c = \beta_c / r_c + t_c, \quad
W' = W\,\mathrm{diag}(r), \quad b' = b - W' t$$

the network is the same, for $x'_c = x_c / r_c + t_c$, and $x'_c / \tilde s + \tilde z =
x_c / s_c + z_c$: with one scale and zero point in all the codes are those of before. So the scales
come out of the sum of a product (`paperlib.d4c.integer`). The ranges of the weights are searched
after it, of $W'$, in which the scales of the channels are mixed: that costs accuracy at few bits.

q, k and v become one layer with one quantizer of its input, which they have to share: learned one
by one, as they are unfolded, three scales would not fit into one LayerNorm. Rounding and scale are
learned of the three together; their outputs keep a range each. The text tower stays as it is: what
computes on integers is the image tower. So it does here in all its linear layers; its products q·k
and softmax·v stay in floating point, of quantized values.

Source: Li et al., arXiv 2212.08254 (RepQ-ViT), whose scale reparameterization this is. D4C says
that the ranges fold; its code simulates them unfolded, which is the default here.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantized_layers import QuantizedAttention, QuantizedLayer, attend
from paperlib.d4c.quantizers import ActivationQuantizer
from paperlib.d4c.ranges import search_range
from paperlib.d4c.reconstruction import reconstruct


class Thirds(nn.Module):
    """q, k and v side by side in the last axis, each with a quantizer of its own."""

    def __init__(self, q: nn.Module, k: nn.Module, v: nn.Module) -> None:
        super().__init__()
        self.q, self.k, self.v = q, k, v

    def forward(self, x: Tensor) -> Tensor:
        """In the shape of `x` (..., 3 · channels)."""
        parts = zip((self.q, self.k, self.v), x.chunk(3, -1), strict=True)
        return torch.cat([quantizer(part) for quantizer, part in parts], -1)


class FoldedAttention(nn.Module):
    """Self-attention, batch first, whose q, k and v are one layer; without a mask.

    Attributes:
        qkv: the three projections, one below the other, with one quantizer of their input.
        out: the last projection.
        softmax: quantizer of the attention weights.
    """

    def __init__(self, attention: QuantizedAttention) -> None:
        super().__init__()
        three = attention.q, attention.k, attention.v
        linear = nn.Linear(three[0].weight.shape[1], 3 * len(three[0].weight), device="meta")
        linear.weight = _frozen(torch.cat([layer.weight for layer in three]))
        linear.bias = _frozen(torch.cat([layer.bias for layer in three]))
        bits = attention.q.weight_quantizer.bits, attention.q.input.bits
        self.qkv = QuantizedLayer(linear, *bits).to(linear.weight.device)
        self.qkv.output = Thirds(*(layer.output for layer in three))
        self.heads, self.out, self.softmax = attention.heads, attention.out, attention.softmax

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attention of `query` (b, tokens, channels) over itself; key and value are the same.

        Raises:
            ValueError: a mask, which image towers have none of.
        """
        if attn_mask is not None:
            raise ValueError("attn_mask: a folded attention is one of an image tower, without mask")
        x = self.qkv(query).unflatten(-1, (3, self.heads, -1))
        q, k, v = x.permute(2, 0, 3, 1, 4)  # (b, heads, tokens, width)
        return self.out(attend(q, k, v, self.softmax)), None


class Folded(NamedTuple):
    """A layer behind a LayerNorm.

    Attributes:
        norm: the LayerNorm.
        layer: whose input is what it gives, with one range in all.
        inputs: the quantizers a channel that stood there.
    """

    norm: nn.LayerNorm
    layer: QuantizedLayer
    inputs: list[ActivationQuantizer]


def check_foldable(model: nn.Module) -> None:
    """Raise ValueError for a CLIP, quantized or not, whose image tower is no ViT."""
    if not any(isinstance(part, ResidualAttentionBlock) for part in model.visual.modules()):
        raise ValueError("model: its image tower has no LayerNorms to fold ranges into; a ViT has")


def share_inputs(model: QuantizedClip) -> list[Folded]:
    """Put one quantizer without a range where the image tower had ranges a channel, in place.

    Raises:
        ValueError: the image tower has no transformer, or has been folded already.
    """
    blocks = [stage.module for stage in model.stages("image")]
    check_foldable(model)
    if any(isinstance(block.attn, FoldedAttention) for block in blocks):
        raise ValueError("model: it is folded already")
    found = []
    for block in blocks:
        inputs = [getattr(block.attn, name).input for name in ("q", "k", "v")]
        block.attn = FoldedAttention(block.attn)
        found.append(Folded(block.ln_1, block.attn.qkv, inputs))
        first = block.mlp.c_fc
        found.append(Folded(block.ln_2, first, [first.input]))
        first.input = ActivationQuantizer(first.input.bits).to(first.weight.device)
    return found


@torch.no_grad()
def fold(model: QuantizedClip) -> QuantizedClip:
    """A copy with the ranges of the image tower's channels in its LayerNorms.

    Args:
        model: with the ranges of calibration images, before its reconstruction; left as it is.

    Raises:
        ValueError: no ranges yet, q, k and v with scales of their own as a reconstruction leaves
            them, no ViT, or one that is folded already.
    """
    model.check_ranges()
    model = copy.deepcopy(model)
    for norm, layer, inputs in share_inputs(model):
        first = inputs[0]
        if not all(torch.equal(first.scale, other.scale) for other in inputs):
            raise ValueError("model: q, k and v learned scales of their own; fold before that")
        scale, zero_point = first.scale.mean(), first.zero_point.double().mean().round()
        ratio = first.scale / scale
        shift = scale * (first.zero_point - zero_point).to(scale)
        norm.weight.div_(ratio)
        norm.bias.div_(ratio).add_(shift)
        layer.weight.mul_(ratio)
        layer.bias.sub_(layer.weight @ shift)
        layer.input.scale.copy_(scale)
        layer.input.zero_point.copy_(zero_point)
        _search_weight(layer, model)
    model.switch(True)
    return model


def quantize_folded(
    text_done: QuantizedClip,
    images: Float[Tensor, "n 3 size size"],
    checkpoint: Path | None = None,
) -> QuantizedClip:
    """As `paperlib.d4c.pipeline.quantize_image`, with the image tower folded.

    Args:
        text_done: of `paperlib.d4c.pipeline.quantize_text`; left as it is.
        images: calibration images, normalised as the model takes them.
        checkpoint: file that an interrupted reconstruction goes on from.

    Raises:
        ValueError: as `fold` and `paperlib.d4c.reconstruction.reconstruct`.
    """
    ranged = copy.deepcopy(text_done)
    images = images.to(next(ranged.parameters()).device)
    ranged.set_image_ranges(images)
    model = fold(ranged)
    if model.settings.reconstruction_iterations:
        errors = reconstruct(model, images, None, ["image"], checkpoint)
        model.errors = [*text_done.errors, *errors]
    return model


def _search_weight(layer: QuantizedLayer, model: QuantizedClip) -> None:
    settings, quantizer = model.settings, layer.weight_quantizer
    options = settings.range_exponent, settings.range_fractions
    found = search_range(layer.weight.detach(), quantizer.bits, *options)
    quantizer.set_range(layer.weight, found.scale, found.zero_point)


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)
