"""Calibration images by method: real ones, those of earlier data-free methods, and D4C's.

Another method is one row of `METHODS`. Four of them are the rows of the paper's ablation: the
synthesis without SCG and PAE, with one of them, and with both, which is D4C. Source: Zhang et al.,
arXiv 2511.15411; ``d4c_clipped`` and the controls of `paperlib.d4c.natural` are extensions of ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.cache import cache_path, cached
from paperlib.d4c.baselines import baseline_parts, gaussian_images, norms, real_images
from paperlib.d4c.natural import (
    dead_leaves,
    natural_spectrum_noise,
    published_spectrum,
    scrambled,
)
from paperlib.d4c.optimiser import Optimised, Part
from paperlib.d4c.prompts import GENERIC_NAMES, Template, photo
from paperlib.d4c.settings import PerturbationSettings, Settings
from paperlib.d4c.start import WHITE, Start
from paperlib.d4c.synthesis import synthesise
from paperlib.data import LabelledImages
from paperlib.models.clip import Tokenizer, denormalise, image_size, normalise

# What decides synthesised images, by the beginnings of the settings' names.
SYNTHESIS = (
    *("images", "synthesis", "temperature", "variation", "structural", "foreground"),
    *("background", "perturbation", "density", "seed"),
)


class Wanted(NamedTuple):
    """What calibration images are made of; attributes as the arguments of `calibration_images`."""

    model: nn.Module
    tokenizer: Tokenizer
    settings: Settings
    data: LabelledImages | None
    folder: Path | None
    names: Sequence[str] = GENERIC_NAMES
    template: Template = photo
    start: Start = WHITE


def _real(wanted: Wanted) -> Tensor:
    count, data = wanted.settings.images, wanted.data
    if data is None or len(data) < count:
        raise ValueError(f"data: this method needs {count} real images")
    return real_images(wanted.model, data.subset(torch.arange(count)))


def _gaussian(wanted: Wanted) -> Tensor:
    return gaussian_images(wanted.model, wanted.settings.images, wanted.settings.seed)


def _spectrum(wanted: Wanted) -> Tensor:
    size, settings = image_size(wanted.model), wanted.settings
    spectrum = published_spectrum()
    return normalise(natural_spectrum_noise(spectrum, settings.images, size, settings.seed))


def _leaves(wanted: Wanted) -> Tensor:
    size, settings = image_size(wanted.model), wanted.settings
    return normalise(dead_leaves(settings.images, size, settings.seed))


def _scrambled(wanted: Wanted) -> Tensor:
    return normalise(scrambled(denormalise(_real(wanted)).clamp(0, 1), wanted.settings.seed))


def _baseline(method: Literal["bns", "pse"], wanted: Wanted) -> Tensor:
    settings = wanted.settings
    make = partial(baseline_parts, method, wanted.model, settings, [Part.whole(settings)])
    return _kept(make, wanted, method)


def _synthesised(wanted: Wanted) -> Tensor:
    prompts = wanted.tokenizer([wanted.template(name) for name in wanted.names])
    make = partial(
        synthesise,
        *(wanted.model, wanted.tokenizer, wanted.settings, wanted.names),
        template=wanted.template,
        start=wanted.start,
    )
    noise = [published_spectrum()] if wanted.start.noise == "spectrum" else []
    return _kept(make, wanted, prompts, wanted.start, *noise)


def _clipped(wanted: Wanted) -> Tensor:
    """Pixels beyond black and white set to these."""
    return normalise(denormalise(calibration_images("d4c", *wanted)).clamp(0, 1))


def _kept(make: Callable[..., Optimised], wanted: Wanted, *more: Any) -> Tensor:
    """The images that ``make(checkpoint=...)`` gives, kept under what decides them."""
    device = next(wanted.model.parameters()).device.type
    decides = wanted.model, wanted.settings, torch.__version__, device, *more
    unfinished = wanted.folder and cache_path(wanted.folder, make, *decides).with_suffix(".pt")

    def images() -> dict[str, Tensor]:
        return {"images": make(checkpoint=unfinished).images}

    return cached(wanted.folder, images, *decides, made_by=make)["images"]


@dataclass(frozen=True)
class Method:
    """How a set of calibration images is named, drawn and made.

    Attributes:
        title: for tables and figures.
        make: the images.
        parts: of a row of the ablation: whether SCG and PAE are on.
    """

    title: str
    make: Callable[[Wanted], Tensor]
    parts: tuple[bool, bool] | None = None


METHODS = {
    "real": Method("real images", _real),
    "gaussian": Method("Gaussian noise", _gaussian),
    "bns": Method("BNS", partial(_baseline, "bns")),
    "pse": Method("PSE", partial(_baseline, "pse")),
    "pgsi": Method("PGSI", _synthesised, (False, False)),
    "pgsi_scg": Method("PGSI + SCG", _synthesised, (True, False)),
    "pgsi_pae": Method("PGSI + PAE", _synthesised, (False, True)),
    "d4c": Method("D4C", _synthesised, (True, True)),
    "d4c_clipped": Method("D4C, clipped", _clipped),
    "spectrum": Method("natural spectrum", _spectrum),
    "leaves": Method("dead leaves", _leaves),
    "scrambled": Method("scrambled real", _scrambled),
}
ABLATION = tuple(name for name, method in METHODS.items() if method.parts is not None)
OPTIMISED = (*ABLATION, "bns", "pse")  # published sets can have these
AGAIN = "pgsi_again"  # PGSI's images of another draw, a control of the ablation
TITLES = {name: method.title for name, method in METHODS.items()} | {AGAIN: "PGSI, other draw"}


def data_free_baseline(model: nn.Module) -> str:
    """The paper's data-free baseline for an image tower: "bns" where it has BatchNorm, or "pse"."""
    return "bns" if norms(model) else "pse"


def settings_of(method: str, settings: Settings) -> Settings:
    """The settings with SCG and PAE on or off as a row of the ablation has them.

    Raises:
        ValueError: `method` is no row of the ablation.
    """
    if method not in ABLATION:
        raise ValueError(f"method={method!r}: valid are {', '.join(map(repr, ABLATION))}")
    structural, perturbed = METHODS[method].parts
    perturbation = settings.perturbation or PerturbationSettings()
    return replace(
        settings, structural=structural, perturbation=perturbation if perturbed else None
    )


def calibration_images(
    method: str,
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    data: LabelledImages | None = None,
    folder: Path | None = None,
    names: Sequence[str] = GENERIC_NAMES,
    template: Template = photo,
    start: Start = WHITE,
) -> Float[Tensor, "n 3 size size"]:
    """`settings.images` images, normalised as the model takes them.

    Args:
        method: one of `METHODS`.
        model: a CLIP; left as it is.
        tokenizer: its tokenizer.
        settings: sizes and seed; SCG and PAE are those of the method.
        data: of which the first are the real images, scrambled or not; other methods take none.
        folder: where synthesised images are kept (see `paperlib.cache.cached`); an interrupted
            synthesis continues there. None keeps nothing.
        names, template: of the prompts that guide the synthesis; words or a language of one's own.
        start: of D4C, clipped or not, and the rows of its ablation; other methods take none.

    Raises:
        ValueError: unknown `method`, one that does not go with the image tower, or fewer real
            images than settings.images.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: valid are {', '.join(map(repr, METHODS))}")
    if method in ABLATION:
        settings = settings_of(method, settings)
    deciding = [field.name for field in fields(Settings) if field.name.startswith(SYNTHESIS)]
    settings = Settings(**{name: getattr(settings, name) for name in deciding})
    wanted = Wanted(model, tokenizer, settings, data, folder, names, template, start)
    return METHODS[method].make(wanted)
