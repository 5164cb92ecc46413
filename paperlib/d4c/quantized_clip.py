"""An open_clip CLIP with quantized layers, which computes what the CLIP does while they are off.

Which layers are quantized, and how, is the table of `paperlib.d4c.quantized_layers`.

Source: Zhang et al., arXiv 2511.15411, and its official code.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.d4c.quantized_layers import STAGES, QuantizedLayer, Tower
from paperlib.d4c.quantizers import ActivationQuantizer, WeightQuantizer
from paperlib.d4c.ranges import Range, search_range
from paperlib.d4c.settings import Settings
from paperlib.models.clip import image_size
from paperlib.runtime import progress

ImageRanges = Mapping[str, tuple[Tensor, Tensor]]  # scale and zero point by quantizer


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


class ModuleError(NamedTuple):
    """How far a module is from the float one, on all calibration samples.

    Attributes:
        name: of the module.
        before, after: mean squared error, summed over the second axis, with the nearest rounding
            and with what is kept.
        learned: the same with the learned rounding; above `before` the nearest one is kept.
        undecided: share of the rounding variables between 0.05 and 0.95 at the last iteration.
    """

    name: str
    before: float
    after: float
    learned: float
    undecided: float


class QuantizedClip(nn.Module):
    """A copy of an open_clip model with the layers above quantized, once it has ranges.

    Attributes:
        clip: the copy, in eval mode and float32.
        settings: bit-widths and how ranges are searched.
        errors: of the modules that `paperlib.d4c.pipeline` reconstructed.

    Raises:
        ValueError: a tower without layers of the types in `STAGES`, or with others among them; a
            model that is quantized already, or takes images that are not square.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        super().__init__()
        if any(isinstance(module, QuantizedLayer) for module in model.modules()):
            raise ValueError("model: it is quantized already; the model in floating point is valid")
        found = {tower: find_stages(model, tower) for tower in ("image", "text")}
        image_size(model)
        self.settings = settings
        self.errors: list[ModuleError] = []
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

    def activations(self, tower: Tower | None = None) -> Iterator[tuple[str, ActivationQuantizer]]:
        """Names and quantizers of activations; None gives those of both towers."""
        for name, module in self.named_modules():
            of = "image" if name.startswith("clip.visual.") else "text"
            if isinstance(module, ActivationQuantizer) and tower in (None, of):
                yield name, module

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
        images: Float[Tensor, "n 3 height width"] | None,
        tokens: Int[Tensor, "m context"],
        weights_of: "QuantizedClip | None" = None,
    ) -> None:
        """Search the range of every weight and activation, and switch quantization on.

        Activations are those of the float model on the first `range_images` and `range_prompts`.

        Args:
            images: calibration images, normalised as the model takes them; None leaves the
                activations of the image tower in floating point, until `set_image_ranges`.
            tokens: of calibration prompts.
            weights_of: a copy of the same CLIP whose ranges of the weights are taken, as images and
                prompts do not change them; None searches them.

        Raises:
            ValueError: there are none, they have another size or type than the model takes, or
                they or what a layer makes of them are not finite: the layer and image are named;
                or `weights_of` has other weights or other `weight_search`.
        """
        self.check_inputs(images, tokens)
        if weights_of is None:
            for _, layer in progress(list(self.layers()), "Ranges of the weights"):
                rows, bits = layer.weight.flatten(1), layer.weight_quantizer.bits
                scale, zero_point, _ = self._search(rows, bits)
                layer.weight_quantizer.set_range(layer.weight, scale, zero_point)
        else:
            self._take_weight_ranges(weights_of)
        self._observe(
            list(self.activations(None if images is not None else "text")), images, tokens
        )
        if images is None:
            self.free_images()

    def free_images(self) -> None:
        """Leave the activations of the image tower in floating point."""
        for _, quantizer in self.activations("image"):
            quantizer.active = False

    def _take_weight_ranges(self, other: "QuantizedClip") -> None:
        other.check_ranges(["text"])
        if weight_search(other.settings) != weight_search(self.settings):
            raise ValueError("weights_of: the ranges of its weights were searched otherwise")
        theirs = dict(other.layers())
        for name, layer in self.layers():
            if name not in theirs or not torch.equal(layer.weight, theirs[name].weight):
                raise ValueError(f"weights_of: other weights than the model's at {name}")
            found = theirs[name].weight_quantizer
            layer.weight_quantizer.set_range(layer.weight, found.scale, found.zero_point)

    def set_image_ranges(
        self, images: Float[Tensor, "n 3 height width"], found: ImageRanges | None = None
    ) -> None:
        """Search the ranges of the activations in the image tower anew; the others stay.

        Args:
            images: as for `set_ranges`, which must have been called before.
            found: what `image_ranges` gave of the same CLIP after the same images at the same bits
                of activations; None searches it.

        Raises:
            ValueError: the model has no ranges yet, there are no images, or they have another size;
                or `found` is of another CLIP.
        """
        self.check_inputs(images)
        self.check_ranges(["text"])
        quantizers = dict(self.activations("image"))
        if found is None:
            self._observe(list(quantizers.items()), images, None)
            return
        if found.keys() != quantizers.keys():
            raise ValueError("found: these ranges are of another model")
        with torch.no_grad():
            for name, (scale, zero_point) in found.items():
                quantizers[name].scale.copy_(scale)
                quantizers[name].zero_point.copy_(zero_point)
        self.switch(True)

    def image_ranges(self) -> ImageRanges:
        """Scale and zero point of every activation in the image tower, by its name."""
        return {
            name: (quantizer.scale.detach().clone(), quantizer.zero_point.clone())
            for name, quantizer in self.activations("image")
        }

    def _search(self, rows: Tensor, bits: int) -> Range:
        return search_range(rows, bits, self.settings.range_exponent, self.settings.range_fractions)

    @torch.no_grad()
    def _observe(
        self,
        quantizers: list[tuple[str, ActivationQuantizer]],
        images: Tensor | None,
        tokens: Tensor | None,
    ) -> None:
        """Search ranges of activations that the float model has, and switch quantization on.

        q, k and v have the same input: it is searched once.
        """
        bar = progress(range(len(quantizers)), "Ranges of the activations")
        names = {quantizer: name for name, quantizer in quantizers}
        seen: list[tuple[Tensor, tuple[int, int | None], Range]] = []  # the latest two

        def observe(quantizer: ActivationQuantizer, inputs: tuple[Tensor]) -> None:
            (x,), kind = inputs, (quantizer.bits, quantizer.axis)
            known = [entry for entry in seen if entry[0] is x and entry[1] == kind]
            if not known:
                if (broken := first_not_finite(x)) is not None:
                    raise ValueError(
                        f"{names[quantizer]}: what image or prompt {broken} gives there is not "
                        "finite"
                    )
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
            if images is not None:
                self.encode_image(images[: self.settings.range_images])
            if tokens is not None:
                self.encode_text(tokens[: self.settings.range_prompts])
        finally:
            bar.close()
            for hook in hooks:
                hook.remove()
        self.switch(True)

    def check_ranges(self, towers: Sequence[Tower] = ("image", "text")) -> None:
        """Raise ValueError where towers have no ranges yet, or are switched off."""
        if not all(q.active for tower in towers for _, q in self.activations(tower)):
            raise ValueError("model: it has no ranges, or is switched off; call set_ranges first")

    def check_inputs(self, images: Tensor | None, tokens: Tensor | None = None) -> None:
        """Raise ValueError where images or tokens, if given, are not what the model takes."""
        if images is not None:
            self._check_images(images)
        if tokens is None:
            return
        context = getattr(self.clip, "text", self.clip).context_length
        if len(tokens) == 0 or tokens.shape[1:] != (context,):
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)}: the model takes (m, {context}) with m "
                "from 1"
            )

    def _check_images(self, images: Tensor) -> None:
        size = image_size(self)
        if len(images) == 0 or images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images of shape {tuple(images.shape)}: the model takes (n, 3, {size}, {size})"
                " with n from 1"
            )
        if images.dtype != torch.float32:
            raise ValueError(f"images of {images.dtype}: the model takes torch.float32")
        if (broken := first_not_finite(images)) is not None:
            raise ValueError(f"images[{broken}]: it has values that are not finite numbers")


def activation_search(settings: Settings) -> tuple[float, ...]:
    """What of the settings decides the ranges of the activations in the image tower."""
    searched = settings.range_exponent, settings.range_fractions
    return settings.activation_bits, *searched, settings.range_images


def weight_search(settings: Settings) -> tuple[float, ...]:
    """What of the settings decides the ranges of a model's weights."""
    searched = settings.range_exponent, settings.range_fractions
    return settings.weight_bits, settings.text_mlp_bits, *searched


def first_not_finite(samples: Tensor) -> int | None:
    """Which of samples (n, ...), n from 0, is the first with a value that is not finite, if any."""
    broken = (~samples.isfinite()).flatten(1).any(1).nonzero()
    return int(broken[0]) if len(broken) else None


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
