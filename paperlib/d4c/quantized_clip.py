"""An open_clip CLIP with quantized layers, which computes what the CLIP does while they are off.

Quantized are, weights per output channel and inputs per tensor unless said otherwise:

- ResNet: conv1 to conv3 of every bottleneck; q, k, v and c of the attention pool.
- Transformer (image and text): q, k, v, out and both layers of the MLP. The inputs of q, k, v and
  of the first MLP layer are quantized per channel, as they fold into the LayerNorm before.
- In the text tower both MLP layers have bits of their own (8), and the second a per-channel input.
- In every attention also q, k and v after their projection and the softmax.

In floating point stay stem and downsample convolutions, patch embedding, token and positional
embeddings, norms (BatchNorm is not folded) and the final projections.

Source: Zhang et al., arXiv 2511.15411, and its official code.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from open_clip.modified_resnet import AttentionPool2d, Bottleneck, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
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
        self.operation = F.linear
        if isinstance(layer, nn.Conv2d):
            self.operation = partial(F.conv2d, stride=layer.stride, padding=layer.padding)
        channels = self.weight.shape[1] if per_channel else None
        self.input = ActivationQuantizer(activation_bits, channels)
        self.weight_quantizer = WeightQuantizer(self.weight, weight_bits)
        self.output = ActivationQuantizer(activation_bits) if quantize_output else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """As the float layer."""
        weight = self.weight_quantizer(self.weight)
        return self.output(self.operation(self.input(x), weight, self.bias))


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
        bits = settings.weight_bits, settings.activation_bits
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


class QuantizedClip(nn.Module):
    """A copy of an open_clip model with the layers above quantized, once it has ranges.

    Attributes:
        clip: the copy, in eval mode and float32.
        settings: bit-widths and how ranges are searched.

    Raises:
        ValueError: the model is none of open_clip's CLIPs with an image tower of that kind.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        super().__init__()
        check_model(model)
        self.settings = settings
        self.clip = copy.deepcopy(model).float().eval().requires_grad_(False)
        for block in self.clip.visual.modules():
            if isinstance(block, Bottleneck):
                for name in ("conv1", "conv2", "conv3"):
                    self._replace(block, name)
        if isinstance(self.clip.visual, ModifiedResNet):
            self.clip.visual.attnpool = QuantizedAttentionPool(self.clip.visual.attnpool, settings)
        else:
            self._replace_blocks(self.clip.visual.transformer, text=False)
        self._replace_blocks(text_transformer(self.clip), text=True)

    def _replace(self, parent: nn.Module, name: str, **options: Any) -> None:
        bits = {"weight_bits": self.settings.weight_bits}
        bits["activation_bits"] = self.settings.activation_bits
        setattr(parent, name, QuantizedLayer(getattr(parent, name), **(bits | options)))

    def _replace_blocks(self, transformer: nn.Module, text: bool) -> None:
        bits = self.settings.text_mlp_bits
        options = {"weight_bits": bits, "activation_bits": bits} if text else {}
        for block in transformer.resblocks:
            block.attn = QuantizedAttention(
                _projections(block.attn), block.attn.num_heads, self.settings, per_channel=True
            )
            self._replace(block.mlp, "c_fc", per_channel=True, **options)
            self._replace(block.mlp, "c_proj", per_channel=text, **options)

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

    def stages(self, tower: Tower) -> list[tuple[str, nn.Module]]:
        """Names and modules of a tower that run one after the other, in their order."""
        if tower == "text":
            stages = list(text_transformer(self.clip).resblocks)
        elif isinstance(self.visual, VisionTransformer):
            stages = list(self.visual.transformer.resblocks)
        else:
            v = self.visual
            stages = [*v.layer1, *v.layer2, *v.layer3, *v.layer4, v.attnpool]
        names = {module: name for name, module in self.named_modules()}
        return [(names[stage], stage) for stage in stages]

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
        if not all(quantizer.active for _, quantizer in self.activations()):
            raise ValueError("model: it has no ranges, or is switched off; call set_ranges first")
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


def check_model(model: nn.Module) -> None:
    """Raise ValueError where `QuantizedClip` does not know the towers of a model."""
    valid = (
        "valid are open_clip's CLIP models with a ModifiedResNet or a VisionTransformer of plain "
        "residual attention blocks, and such a text tower"
    )
    kind = type(model).__name__
    if not isinstance(getattr(model, "visual", None), ModifiedResNet | VisionTransformer):
        raise ValueError(f"{kind} has no visual tower of a known kind: {valid}")
    transformers = [text_transformer(model), getattr(model.visual, "transformer", None)]
    if transformers[0] is None:
        raise ValueError(f"{kind} has no text tower of a known kind: {valid}")
    for transformer in filter(None, transformers):
        for block in transformer.resblocks:
            if type(block) is not ResidualAttentionBlock or not block.attn.batch_first:
                raise ValueError(f"{kind} has a block {type(block).__name__}: {valid}")


def text_transformer(model: nn.Module) -> nn.Module | None:
    """The transformer of the text tower of an open_clip model."""
    return getattr(getattr(model, "text", model), "transformer", None)


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
