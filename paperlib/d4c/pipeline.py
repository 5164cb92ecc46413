"""From a CLIP to a quantized one: weights and text tower first, then the image tower.

The text tower does not see the calibration images. So weights and text tower are quantized once for
given bit-widths (`quantize_text`), and every set of images continues from there (`quantize_image`).
Source: Zhang et al., arXiv 2511.15411.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.cache import cache_path, cached
from paperlib.d4c.prompts import GENERIC_NAMES, Template, calibration_texts
from paperlib.d4c.quantized_clip import ImageRanges, ModuleError, QuantizedClip
from paperlib.d4c.quantized_layers import Tower
from paperlib.d4c.quantizers import ActivationQuantizer, DynamicQuantizer
from paperlib.d4c.reconstruction import ReconstructionWarning, reconstruct
from paperlib.d4c.settings import Settings
from paperlib.models.clip import Tokenizer

ERRORS = "errors of the modules"  # beside the tensors that are kept


def quantize_text(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    templates: Sequence[Template],
    names: Sequence[str] = GENERIC_NAMES,
    weights_of: QuantizedClip | None = None,
) -> QuantizedClip:
    """All weights to their nearest codes, and the text tower reconstructed.

    The activations of the image tower stay in floating point until `quantize_image` gives them
    the ranges of calibration images.

    Args:
        model: a CLIP of open_clip, in float32; left as it is.
        tokenizer: its tokenizer.
        settings: of which `prompts` says how many texts are drawn.
        templates: of the texts, such as a data set's (see `paperlib.d4c.prompts.zero_shot_task`).
        names: that stand in them; of no target data set unless chosen so.
        weights_of: of the same CLIP, quantized before; as for `QuantizedClip.set_ranges`.

    Raises:
        ValueError: fewer templates × names than `settings.prompts`, a model that cannot be
            quantized, or `weights_of` that does not go with it.
    """
    device = next(model.parameters()).device
    texts = calibration_texts(templates, settings.prompts, settings.seed, names)
    tokens = tokenizer(texts).to(device)
    quantized = QuantizedClip(model, settings).to(device)
    quantized.set_ranges(None, tokens, weights_of)
    quantized.errors = _reconstruct(quantized, None, tokens, "text")
    quantized.free_images()  # the reconstruction switches all on
    return quantized


def quantize_image(
    text_done: QuantizedClip,
    images: Float[Tensor, "n 3 size size"],
    folder: Path | None = None,
    ranges: ImageRanges | None = None,
) -> QuantizedClip:
    """A copy with the ranges and the reconstruction of the image tower from calibration images.

    Args:
        text_done: of `quantize_text`; left as it is.
        images: normalised as the model takes them.
        folder: where what was found is kept (see `paperlib.cache.cached`); an interrupted
            reconstruction continues there. None keeps nothing.
        ranges: found before, as for `QuantizedClip.set_image_ranges`.
    """
    quantized = copy.deepcopy(text_done)
    device = next(quantized.parameters()).device
    decides = text_done, text_done.settings, images, torch.__version__, device.type
    unfinished = folder and cache_path(folder, quantize_image, *decides).with_suffix(".pt")
    before = text_done.visual.state_dict()

    def make() -> dict[str, Tensor]:
        quantized.set_image_ranges(images.to(device), ranges)
        errors = _reconstruct(quantized, images.to(device), None, "image", unfinished)
        after = quantized.visual.state_dict().items()
        changed = {name: value for name, value in after if not torch.equal(value, before[name])}
        rows = [error[1:] for error in errors]
        return changed | {ERRORS: torch.tensor(rows, dtype=torch.double)}

    found = cached(folder, make, *decides, made_by=quantize_image)
    rows = found.pop(ERRORS).tolist()  # of every part, or none where nothing was learned
    quantized.visual.load_state_dict(before | found)
    quantized.switch(True)
    parts = [part for stage in quantized.stages("image") for part in stage.parts() if rows]
    errors = [ModuleError(name, *row) for (name, _), row in zip(parts, rows, strict=True)]
    quantized.errors = [*text_done.errors, *errors]
    return quantized


def quantize_without_images(
    text_done: QuantizedClip, activations: Literal["dynamic", "float"]
) -> QuantizedClip:
    """A copy whose image tower needs no calibration images, its weights to their nearest codes.

    Not in the paper: what else one would try where there are no images.

    Args:
        text_done: of `quantize_text`; left as it is.
        activations: "dynamic" gives every token, of a convolution every image, a range from its own
            extremes, found anew in each forward pass; "float" leaves activations unquantized.
    """
    quantized = copy.deepcopy(text_done)
    for module in list(quantized.visual.modules()):
        axes = (1, 2, 3) if getattr(module, "window", ()) else (-1,)  # of a convolution
        for name, child in list(module.named_children()):
            if isinstance(child, ActivationQuantizer):
                other = DynamicQuantizer(child.bits, axes)
                setattr(module, name, other if activations == "dynamic" else nn.Identity())
    return quantized


def _reconstruct(
    model: QuantizedClip,
    images: Tensor | None,
    tokens: Tensor | None,
    tower: Tower,
    checkpoint: Path | None = None,
) -> list[ModuleError]:
    """With the warnings in what is returned alone: `learned` above `before`; nothing to learn,
    nothing returned."""
    if model.settings.reconstruction_iterations == 0:
        return []
    with warnings.catch_warnings(action="ignore", category=ReconstructionWarning):
        return reconstruct(model, images, tokens, [tower], checkpoint)


def image_steps(quantized: QuantizedClip) -> Float[Tensor, " quantizers"]:
    """The step of every activation quantizer in the image tower; of channels, their mean."""
    return torch.stack([q.scale.detach().mean() for _, q in quantized.activations("image")])
