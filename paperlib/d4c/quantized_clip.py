"""An open_clip CLIP with quantized layers, which computes what the CLIP does while they are off.

Quantized are, weights per output channel and inputs per tensor unless said otherwise:

- ResNet: conv1 to conv3 of every bottleneck; q, k, v and c of the attention pool.
- Transformer (image and text): q, k, v, out and both layers of the MLP. The inputs of q, k, v and
  of the first MLP layer are quantized per channel, as they fold into the LayerNorm before.
- In the text tower both MLP layers have bits of their own (8), and the second a per-channel input.
- In every attention also q, k and v after their projection and the softmax.

In floating point stay stem and downsample convolutions, patch embedding, token and positional
embeddings, norms (BatchNorm is not folded) and the final projections.

Each of these kinds of layers is one row of `STAGES`; a tower of another family needs a row more.

Source: Zhang et al., arXiv 2511.15411, and its official code.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from open_clip.modified_resnet import AttentionPool2d, Bottleneck
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from paperlib.d4c.quantizers import ActivationQuantizer, WeightQuantizer
from paperlib.d4c.ranges import Range, search_range
from paperlib.d4c.settings import Settings
from paperlib.runtime import progress

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
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if attn_mask is not None:
            if attn_mask.ndim == 3:
                attn_mask = attn_mask.unflatten(0, (-1, self.heads))
            scores = scores + attn_mask
        x = self.softmax(scores.softmax(-1)) @ v
        return self.out(x.transpose(1, 2).flatten(2)), None


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


class Stage(NamedTuple):
    """A layer of a type in `STAGES`, quantized.

    Attributes:
        name: in the quantized model.
        module: what stands there.
        whole: as of its type.
    """

    name: str
    module: nn.Module
    whole: bool

    def parts(self) -> list[tuple[str, nn.Module]]:
        """Names and modules whose rounding and scales are learned one after the other."""
        if self.whole:
            return [(self.name, self.module)]
        inner = self.module.named_modules(prefix=self.name)
        return [(name, part) for name, part in inner if isinstance(part, QuantizedLayer)]


class QuantizedClip(nn.Module):
    """A copy of an open_clip model with the layers above quantized, once it has ranges.

    Attributes:
        clip: the copy, in eval mode and float32.
        settings: bit-widths and how ranges are searched.

    Raises:
        ValueError: a tower without layers of the types in `STAGES`, or with others among them.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        super().__init__()
        found = {tower: find_stages(model, tower) for tower in ("image", "text")}
        self.settings = settings
        self.clip = copy.deepcopy(model).float().eval().requires_grad_(False)
        self._stages = {
            tower: [self._quantize(name, tower) for name in names] for tower, names in found.items()
        }

    def _quantize(self, name: str, tower: Tower) -> tuple[str, bool]:
        parent, _, child = name.rpartition(".")
        layer = self.clip.get_submodule(name)
        kind = STAGES[type(layer)]
        place = self.clip.get_submodule(parent)
        setattr(place, child, kind.quantize(layer, self.settings, tower))
        return f"clip.{name}", kind.whole

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features (b, width) of images (b, 3, height, width), normalised as CLIP's are."""
        return self.clip.encode_image(image, normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features (b, width) of tokens (b, context length)."""
        return self.clip.encode_text(text, normalize)

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.clip.visual

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of what cosine similarities are multiplied with."""
        return self.clip.logit_scale

    def layers(self) -> Iterator[tuple[str, QuantizedLayer]]:
        """Names and quantized layers."""
        return ((n, m) for n, m in self.named_modules() if isinstance(m, QuantizedLayer))

    def activations(self) -> Iterator[tuple[str, ActivationQuantizer]]:
        """Names and quantizers of activations."""
        return ((n, m) for n, m in self.named_modules() if isinstance(m, ActivationQuantizer))

    def switch(self, on: bool) -> None:
        """Quantize, or compute what the float model does."""
        for module in self.modules():
            if isinstance(module, ActivationQuantizer | WeightQuantizer):
                module.active = on

    def stages(self, tower: Tower) -> list[Stage]:
        """The quantized layers of a tower that run one after the other, in their order."""
        return [Stage(name, self.get_submodule(name), whole) for name, whole in self._stages[tower]]

    @torch.no_grad()
    def set_ranges(
        self,
        images: Float[Tensor, "n 3 height width"],
        tokens: Int[Tensor, "m context"],
    ) -> None:
        """Search the range of every weight and activation, and switch quantization on.

        Activations are those of the float model on the first `range_images` and `range_prompts`.

        Args:
            images: calibration images, normalised as the model takes them.
            tokens: of calibration prompts.

        Raises:
            ValueError: there are none, or they have another size than the model takes.
        """
        self.check_inputs(images, tokens)
        for _, layer in progress(list(self.layers()), "Ranges of the weights"):
            rows, bits = layer.weight.flatten(1), layer.weight_quantizer.bits
            scale, zero_point, _ = self._search(rows, bits)
            layer.weight_quantizer.set_range(layer.weight, scale, zero_point)
        self._observe(list(self.activations()), images, tokens)

    def set_image_ranges(self, images: Float[Tensor, "n 3 height width"]) -> None:
        """Search the ranges of the activations in the image tower anew; the others stay.

        Args:
            images: as for `set_ranges`, which must have been called before.

        Raises:
            ValueError: the model has no ranges yet, there are no images, or they have another size.
        """
        self.check_inputs(images)
        self.check_ranges()
        tower = set(self.visual.modules())
        self._observe([(n, q) for n, q in self.activations() if q in tower], images, None)

    def _search(self, rows: Tensor, bits: int) -> Range:
        return search_range(rows, bits, self.settings.range_exponent, self.settings.range_fractions)

    @torch.no_grad()
    def _observe(
        self,
        quantizers: list[tuple[str, ActivationQuantizer]],
        images: Tensor,
        tokens: Tensor | None,
    ) -> None:
        """Search ranges of activations that the float model has, and switch quantization on.

        q, k and v have the same input: it is searched once.
        """
        bar = progress(range(len(quantizers)), "Ranges of the activations")
        seen: list[tuple[Tensor, tuple[int, int | None], Range]] = []  # the latest two

        def observe(quantizer: ActivationQuantizer, inputs: tuple[Tensor]) -> None:
            (x,), kind = inputs, (quantizer.bits, quantizer.axis)
            known = [entry for entry in seen if entry[0] is x and entry[1] == kind]
            if not known:
                rows = x.reshape(1, -1) if quantizer.axis is None else x.flatten(0, -2).T
                known = [(x, kind, self._search(rows, quantizer.bits))]
            seen[:] = [*(entry for entry in seen if entry is not known[0]), known[0]][-2:]
            found = known[0][2]
            quantizer.scale.copy_(found.scale.view_as(quantizer.scale))
            quantizer.zero_point.copy_(found.zero_point.view_as(quantizer.zero_point))
            bar.update()

        self.switch(False)
        hooks = [q.register_forward_pre_hook(observe) for _, q in quantizers]
        try:
            self.encode_image(images[: self.settings.range_images])
            if tokens is not None:
                self.encode_text(tokens[: self.settings.range_prompts])
        finally:
            bar.close()
            for hook in hooks:
                hook.remove()
        self.switch(True)

    def check_ranges(self) -> None:
        """Raise ValueError where the model has no ranges yet, or is switched off."""
        if not all(quantizer.active for _, quantizer in self.activations()):
            raise ValueError("model: it has no ranges, or is switched off; call set_ranges first")

    def check_inputs(self, images: Tensor, tokens: Tensor | None = None) -> None:
        """Raise ValueError where images or tokens are not what the model takes."""
        size = self.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        if len(images) == 0 or images.shape[1:] != (3, height, width):
            raise ValueError(
                f"images of shape {tuple(images.shape)}: the model takes (n, 3, {height}, {width})"
                " with n from 1"
            )
        if tokens is None:
            return
        context = getattr(self.clip, "text", self.clip).context_length
        if len(tokens) == 0 or tokens.shape[1:] != (context,):
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)}: the model takes (m, {context}) with m "
                "from 1"
            )


def find_stages(model: nn.Module, tower: Tower) -> list[str]:
    """Names of the layers of a tower whose types are rows of `STAGES`, in their order.

    Raises:
        ValueError: there are none, or one stands in a row of layers with one of another type.
    """
    valid = (
        "valid are open_clip's CLIP models whose towers have layers of the types "
        f"{', '.join(kind.__name__ for kind in STAGES)}"
    )
    kind = type(model).__name__
    root = getattr(model, "visual", None)
    if tower == "text":
        root = getattr(getattr(model, "text", model), "transformer", None)
    if root is None:
        raise ValueError(f"{kind} has no {tower} tower: {valid}")
    names = {module: name for name, module in model.named_modules()}
    stages = [module for module in root.modules() if type(module) in STAGES]
    for row in root.modules():
        if not isinstance(row, nn.ModuleList | nn.Sequential):
            continue
        other = [part for part in row if type(part) not in STAGES]
        if other and (not stages or len(other) < len(row)):
            raise ValueError(f"{kind} has a block {type(other[0]).__name__}: {valid}")
    if not stages:
        raise ValueError(f"{kind} has no such layers in its {tower} tower: {valid}")
    return [names[stage] for stage in stages]


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
