"""Quantized layers that stand in place of a CLIP's, and the table of what becomes what.

Quantized are, weights per output channel and inputs per tensor unless said otherwise:

- ResNet: conv1 to conv3 of every bottleneck; q, k, v and c of the attention pool.
- Transformer (image and text): q, k, v, out and both layers of the MLP. The inputs of q, k, v and
  of the first MLP layer are quantized per channel. They are simulated so, q, k and v with scales of
  their own; `paperlib.d4c.folding` folds those of an image tower into the LayerNorm before.
- In the text tower both MLP layers have bits of their own (8), and the second a per-channel input.
- In every attention also q, k and v after their projection and the softmax.

In floating point stay stem and downsample convolutions, patch embedding, token and positional
embeddings, norms (BatchNorm is not folded) and the final projections.

Each of these kinds of layers is one row of `STAGES`; a tower of another family needs a row more.

Source: Zhang et al., arXiv 2511.15411, and its official code.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from open_clip.modified_resnet import AttentionPool2d, Bottleneck
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from paperlib.d4c.quantizers import ActivationQuantizer, WeightQuantizer
from paperlib.d4c.settings import Settings

Tower = Literal["image", "text"]


class QuantizedLayer(nn.Module):
    """A linear layer or convolution with a quantized input and weight, and output if asked for.

    Attributes:
        weight, bias: of the float layer.
        window: stride, padding, dilation and groups of a convolution; empty for a linear layer.
        input, weight_quantizer, output: the quantizers; `output` may be the identity.
    """

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        weight_bits: int,
        activation_bits: int,
        per_channel: bool = False,
        quantize_output: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.window, self.operation = (), F.linear
        if isinstance(layer, nn.Conv2d):
            self.window = layer.stride, layer.padding, layer.dilation, layer.groups
            self.operation = F.conv2d
        channels = self.weight.shape[1] if per_channel else None
        self.input = ActivationQuantizer(activation_bits, channels)
        self.weight_quantizer = WeightQuantizer(self.weight, weight_bits)
        self.output = ActivationQuantizer(activation_bits) if quantize_output else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """As the float layer."""
        weight = self.weight_quantizer(self.weight)
        return self.output(self.operation(self.input(x), weight, self.bias, *self.window))


class QuantizedAttention(nn.Module):
    """Multi-head attention, batch first, with the call of `nn.MultiheadAttention`.

    Attributes:
        q, k, v, out: the projections; q, k and v with quantized outputs.
        softmax: quantizer of the attention weights.
    """

    def __init__(
        self, projections: list[nn.Linear], heads: int, settings: Settings, per_channel: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        bits = _bits(settings)
        self.q, self.k, self.v = (
            QuantizedLayer(layer, *bits, per_channel, quantize_output=True)
            for layer in projections[:3]
        )
        self.out = QuantizedLayer(projections[3], *bits)
        self.softmax = ActivationQuantizer(settings.activation_bits)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attention of `query` (b, queries, channels) over the others (b, keys, channels)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, heads, tokens, width)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.unflatten(0, (-1, self.heads))
        return self.out(attend(q, k, v, self.softmax, attn_mask)), None


def attend(
    q: Float[Tensor, "b heads queries width"],
    k: Float[Tensor, "b heads keys width"],
    v: Float[Tensor, "b heads keys width"],
    softmax: nn.Module,
    mask: Tensor | None = None,
) -> Float[Tensor, "b queries channels"]:
    """Attention with quantized weights; `mask` is added to the scores."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask
    return (softmax(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)


class QuantizedAttentionPool(nn.Module):
    """`AttentionPool2d`: the mean token's attention over itself and all places."""

    def __init__(self, pool: AttentionPool2d, settings: Settings) -> None:
        super().__init__()
        self.positional_embedding = pool.positional_embedding
        projections = [pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj]
        self.attention = QuantizedAttention(projections, pool.num_heads, settings, False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, channels, height, width) to (b, outputs)."""
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        return self.attention(x[:, :1], x, x)[0][:, 0]


def quantize_bottleneck(block: Bottleneck, settings: Settings, tower: Tower) -> nn.Module:
    """The three convolutions, in place."""
    for name in ("conv1", "conv2", "conv3"):
        layer = QuantizedLayer(getattr(block, name), *_bits(settings))
        setattr(block, name, layer)
    return block


def quantize_pool(pool: AttentionPool2d, settings: Settings, tower: Tower) -> nn.Module:
    """Another module in its place."""
    return QuantizedAttentionPool(pool, settings)


def quantize_block(block: ResidualAttentionBlock, settings: Settings, tower: Tower) -> nn.Module:
    """Attention and MLP, in place.

    Raises:
        ValueError: an attention that is not batch first.
    """
    if not block.attn.batch_first:
        raise ValueError(f"{type(block).__name__}: its attention is not batch first")
    text = tower == "text"
    bits = (settings.text_mlp_bits,) * 2 if text else _bits(settings)
    projections, heads = _projections(block.attn), block.attn.num_heads
    block.attn = QuantizedAttention(projections, heads, settings, per_channel=True)
    block.mlp.c_fc = QuantizedLayer(block.mlp.c_fc, *bits, per_channel=True)
    block.mlp.c_proj = QuantizedLayer(block.mlp.c_proj, *bits, per_channel=text)
    return block


class StageType(NamedTuple):
    """What is done to one type of layer that a tower runs one after the other.

    Attributes:
        quantize: the layer, settings and tower to what stands in its place, with the same call.
        whole: rounding and scales are learned of the whole at once, not of each quantized layer.
    """

    quantize: Callable[[nn.Module, Settings, Tower], nn.Module]
    whole: bool


STAGES: dict[type[nn.Module], StageType] = {
    Bottleneck: StageType(quantize_bottleneck, whole=True),
    AttentionPool2d: StageType(quantize_pool, whole=False),
    ResidualAttentionBlock: StageType(quantize_block, whole=False),
}


def _bits(settings: Settings) -> tuple[int, int]:
    return settings.weight_bits, settings.activation_bits


def _projections(attention: nn.MultiheadAttention) -> list[nn.Linear]:
    """q, k, v and out as layers of their own."""
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        layers.append(layer)
    return [*layers, attention.out_proj]
