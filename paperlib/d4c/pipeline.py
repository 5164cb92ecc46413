"""From a CLIP to a quantized one: calibration images by method, then both towers.

Images come from one of `METHODS` (`paperlib.d4c.methods`); the four from PGSI on are the rows of
the ablation:

- ``real``, ``gaussian``, ``bns``, ``pse``: the baselines of `paperlib.d4c.baselines`;
- ``pgsi``, ``pgsi_scg``, ``pgsi_pae``, ``d4c``: the synthesis without SCG and PAE, with one, both;
- ``d4c_clipped``, an extension: D4C's images with pixels beyond black and white set to these.

The text tower does not see the images. So weights and text tower are quantized once for given
bit-widths (`quantize_text`), and every set of images continues from there (`quantize_image`).
Source: Zhang et al., arXiv 2511.15411.
"""

import copy
from dataclasses import fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.baselines import bns_images, gaussian_images, pse_images, real_images
from paperlib.d4c.methods import ABLATION, METHODS
from paperlib.d4c.prompts import calibration_texts, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.reconstruction import reconstruct
from paperlib.d4c.settings import PerturbationSettings, Settings
from paperlib.d4c.synthesis import synthesise
from paperlib.data import LabelledImages
from paperlib.files import cache_path, cached
from paperlib.models.clip import Tokenizer, denormalise, normalise

# What decides synthesised images, by the beginnings of the settings' names.
SYNTHESIS = (
    *("images", "synthesis", "temperature", "variation", "structural", "foreground"),
    *("background", "perturbation", "density", "seed"),
)


def data_free_baseline(model: nn.Module) -> str:
    """The paper's data-free baseline for an image tower: "bns" for a ResNet, "pse" for a ViT."""
    return "pse" if hasattr(model.visual, "transformer") else "bns"


def settings_of(method: str, settings: Settings) -> Settings:
    """The settings with SCG and PAE on or off as a row of the ablation has them.

    Raises:
        ValueError: `method` is no row of the ablation.
    """
    if method not in ABLATION:
        raise ValueError(f"method={method!r}: valid are {', '.join(map(repr, ABLATION))}")
    perturbation = settings.perturbation or PerturbationSettings()
    return replace(
        settings,
        structural=method in ("pgsi_scg", "d4c"),
        perturbation=perturbation if method in ("pgsi_pae", "d4c") else None,
    )


def calibration_images(
    method: str,
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    data: LabelledImages | None = None,
    folder: Path | None = None,
) -> Float[Tensor, "n 3 size size"]:
    """`settings.images` images, normalised as the model takes them.

    Args:
        method: one of `METHODS`.
        model: a CLIP; left as it is.
        tokenizer: its tokenizer.
        settings: sizes and seed; SCG and PAE are those of the method.
        data: of which the first are the real images; the other methods take none.
        folder: where synthesised images are kept (see `paperlib.files.cached`); an interrupted
            synthesis continues there. None keeps nothing.

    Raises:
        ValueError: unknown `method`, one that does not go with the image tower, or fewer real
            images than settings.images.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: valid are {', '.join(map(repr, METHODS))}")
    if method == "real":
        if data is None or len(data) < settings.images:
            raise ValueError(f"data: method 'real' needs {settings.images} real images")
        return real_images(model, data.subset(torch.arange(settings.images)))
    if method == "d4c_clipped":
        images = calibration_images("d4c", model, tokenizer, settings, folder=folder)
        return normalise(denormalise(images).clamp(0, 1))
    if method == "gaussian":
        return gaussian_images(model, settings.images, settings.seed)
    if method in ABLATION:
        settings = settings_of(method, settings)
    deciding = [field.name for field in fields(Settings) if field.name.startswith(SYNTHESIS)]
    settings = Settings(**{name: getattr(settings, name) for name in deciding})

    function = {"bns": bns_images, "pse": pse_images}.get(method, synthesise)
    decides = (method, model, settings, torch.__version__)
    unfinished = folder and cache_path(folder, function, *decides).with_suffix(".pt")

    def make() -> dict[str, Tensor]:
        arguments = (model, tokenizer, settings) if method in ABLATION else (model, settings)
        return {"images": function(*arguments, checkpoint=unfinished).images}

    return cached(folder, make, *decides, made_by=function)["images"]


def quantize_text(
    model: nn.Module, tokenizer: Tokenizer, settings: Settings, dataset: str
) -> QuantizedClip:
    """All weights to their nearest codes, and the text tower reconstructed.

    The prompts are the generic names in the data set's templates. The image tower has ranges of
    noise until `quantize_image` gives it those of calibration images.

    Raises:
        ValueError: unknown `dataset`, or a model that cannot be quantized.
    """
    device = next(model.parameters()).device
    templates = zero_shot_task(dataset).templates
    tokens = tokenizer(calibration_texts(templates, settings.prompts, settings.seed)).to(device)
    noise = gaussian_images(model, 1, settings.seed).to(device)
    quantized = QuantizedClip(model, settings).to(device)
    quantized.set_ranges(noise, tokens)
    reconstruct(quantized, noise, tokens, ["text"])
    return quantized


def quantize_image(
    text_done: QuantizedClip,
    images: Float[Tensor, "n 3 size size"],
    checkpoint: Path | None = None,
) -> QuantizedClip:
    """A copy with the ranges and the reconstruction of the image tower from calibration images.

    Args:
        text_done: of `quantize_text`; left as it is.
        images: normalised as the model takes them.
        checkpoint: folder for an interrupted reconstruction, as `reconstruct` takes it.
    """
    quantized = copy.deepcopy(text_done)
    images = images.to(next(quantized.parameters()).device)
    quantized.set_image_ranges(images)
    reconstruct(quantized, images, None, ["image"], checkpoint)
    return quantized


def image_steps(quantized: QuantizedClip) -> Float[Tensor, " quantizers"]:
    """The step of every activation quantizer in the image tower; of channels, their mean."""
    tower = set(quantized.visual.modules())
    return torch.stack([q.scale.detach().mean() for _, q in quantized.activations() if q in tower])
