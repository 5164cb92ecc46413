r"""Networks side by side on the same images: what each rests on, and what an attack on it changes.

Of each network three things are measured: accuracy; Occluded Frequency (`paperlib.freq.occlusion`),
with its share of low frequencies, those below a quarter of the image's side; and the RCT
(`paperlib.freq.rct`) of PGD on the images that it fools. Networks are compared image by image: with
$a_i$ and $b_i$ the same quantity of two networks on image $i$,

$$d = \tfrac1n \textstyle\sum_i (b_i - a_i),$$

and its interval is a bootstrap over images, so that what images have in common drops out. It says
how sure $d$ is for these networks, not for others that are trained as they were.

Occluded Frequency of all components takes height × width forward passes an image; here all low ones
and a sample of the high ones are removed (`paperlib.freq.sampled`), the same for every network. At
224 pixels these are still 10,000, so above `LARGEST` components whole bands are removed instead,
which is another measure: its shares are compared among networks, not with those of components.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperlib.freq import rct
from paperlib.freq.attacks import attack
from paperlib.freq.bands import band_masks, radial_mean
from paperlib.freq.changes import norms
from paperlib.freq.controls import white_noise
from paperlib.freq.occlusion import low_share, normalise, occluded_bands
from paperlib.freq.sampled import (
    Sample,
    drawn,
    first_order_changes,
    mean_map,
    sampled_frequency,
)
from paperlib.freq.tables import bootstrap
from paperlib.models.classifier import Classifier, Images, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.models.training import predict

LARGEST = 64 * 64  # components of an image up to which each is removed alone
LOW = 4  # low frequencies lie below the image's side divided by this
FEWEST = 2  # images that must be fooled for an RCT with an interval


@dataclass(frozen=True)
class Measuring:
    """What is measured, the same for all networks.

    Attributes:
        occluded: images whose frequencies are occluded, from the start of those given.
        bands: of equal width in max(u, v), of curves and of what is removed; a multiple of `LOW`.
        components: remove components alone; None: where the image has at most `LARGEST`.
        share: of the high components that are removed, for each image others; 1: all.
        epsilon: of PGD in the L∞ norm, in units of the [0, 1] image.
        steps: of PGD.
        resamples: of the bootstrap.
        seed: of attack, noise and bootstrap.

    Raises:
        ValueError: (when made) a number is out of range.
    """

    occluded: int
    bands: int = 16
    components: bool | None = None
    share: float = 0.15
    epsilon: float = 8 / 255
    steps: int = 20
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("occluded", "steps", "resamples"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}={value}: whole numbers from 1 are valid")
        if self.bands < LOW or self.bands % LOW:
            raise ValueError(f"bands={self.bands}: multiples of {LOW} are valid")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: above 0 and at most 1 is valid")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon={self.epsilon}: numbers above 0 are valid")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: whole numbers from 0 are valid")

    def fitting(self, images: Tensor) -> "Measuring":
        """The same with fewer bands, where the images are smaller than these need.

        Raises:
            ValueError: the shorter side is below `LOW` pixels.
        """
        height, width = images.shape[-2:]
        if min(height, width) < LOW:
            raise ValueError(
                f"images are {height} x {width}: a side of {LOW} pixels is the smallest"
            )
        return replace(self, bands=min(self.bands, min(height, width) // LOW * LOW))

    def by_component(self, images: Tensor) -> bool:
        """Whether each component is removed alone."""
        few = images.shape[-2] * images.shape[-1] <= LARGEST
        return few if self.components is None else self.components

    def sample(self, images: Tensor) -> Sample:
        """Which components are removed."""
        return Sample(min(images.shape[-2:]) // LOW, self.share, self.bands)


@dataclass(frozen=True)
class Measured:
    """What was measured of one network, on the CPU.

    Attributes:
        right: which images it gets right.
        occluded: share of OF of the components removed, weighted for the others (k, height, width),
            or of every band (k, bands).
        low: of these, the share of low frequencies, an image each.
        first: the same of first-order OF, by component at any size; one backward pass an image.
        rings: share of OF in every band; sums to 1.
        attacked: the images after PGD on this network.
        fooled: which of those that it gets right it gets wrong then.
    """

    right: Bool[Tensor, " n"]
    occluded: Float[Tensor, "k *parts"]
    low: Float[Tensor, " k"]
    first: Float[Tensor, " k"]
    rings: Float[Tensor, "k bands"]
    attacked: Float[Tensor, "n channels height width"]
    fooled: Bool[Tensor, " n"]


def cost(model: Classifier, images: Images, settings: Measuring) -> str:
    """What Occluded Frequency of one network costs, in words, and what would cost less.

    The time is measured with one batch of 16 images.
    """
    images = floats(images)
    components, parts = settings.by_component(images), settings.bands
    if components:
        weights = drawn(1, tuple(images.shape[-2:]), settings.sample(images), settings.seed)
        parts = int((weights > 0).sum())
    passes = parts * min(settings.occluded, len(images))
    batch = images[torch.arange(16) % len(images)]
    with frozen(model), torch.inference_mode():
        model(batch)
        began = time.perf_counter()
        model(batch)
        seconds = (time.perf_counter() - began) / len(batch) * passes
    what = "components" if components else "bands"
    text = f"Occluded Frequency by {what}: {passes:,} forward passes a network, {_words(seconds)}"
    if components and seconds > 600:
        share = settings.bands / parts
        text += f"; {settings.bands} bands would take {_words(seconds * share)}"
    return text


def _words(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"about {seconds / length:.1f} {unit}"
    return f"about {max(1, round(seconds))} s"


def measure(
    model: Classifier, images: Images, labels: Int[Tensor, " n"], settings: Measuring
) -> Measured:
    """Measure one network; arguments and errors as for `sampled_frequency` and `attack`."""
    images = floats(images)
    check_labels(labels, len(images), model.classes(images))
    right = predict(model, images) == labels
    few, cutoff = slice(settings.occluded), min(images.shape[-2:]) // LOW
    linear = normalise(first_order_changes(model, images[few], labels[few]))
    masks = band_masks(tuple(images.shape[-2:]), settings.bands, "square").to(images.device)
    if settings.by_component(images):
        options = {"sample": settings.sample(images), "seed": settings.seed}
        occluded = sampled_frequency(model, images[few], labels[few], **options).cpu()
        low = low_share(occluded, cutoff)
        rings = torch.einsum("nuv,buv->nb", occluded, masks.cpu().to(occluded))
    else:
        rings = occluded = occluded_bands(model, images[few], labels[few], masks).cpu()
        low = rings[:, : settings.bands // LOW].sum(1)
    attacked = images.clone()
    if right.any():
        attacked[right] = attack(
            "pgd_linf",
            model,
            images[right],
            labels[right],
            settings.epsilon,
            settings.steps,
            settings.seed,
        )
    fooled = right & (predict(model, attacked) != labels)
    first = low_share(linear, cutoff).cpu()
    return Measured(right.cpu(), occluded, low, first, rings, attacked.cpu(), fooled.cpu())


def summary(measured: Mapping[str, Measured], images: Images, settings: Measuring) -> pd.DataFrame:
    """One row a network, by name.

    Columns: accuracy; low share with the ends of its 95 % interval over images, low from and low
    to; first order, the low share by first-order OF, which is by component at any size; fooled, the
    share of the images that it gets right which PGD turns wrong; and RCT, the ratio of high to low
    frequencies (`rct.high_to_low`) of PGD minus that of white noise of the same L2 norms on the
    images that it fools, with RCT from and RCT to (NaN with fewer than `FEWEST`).
    """
    images = floats(images).cpu()
    rows = {}
    for name, found in measured.items():
        ends = bootstrap(found.low.numpy(), resamples=settings.resamples, seed=settings.seed)
        clean, after = images[found.fooled], found.attacked[found.fooled]
        ratio = (np.nan,) * 3
        if len(clean) >= FEWEST:
            noise = white_noise(clean, norms((clean, after)), settings.seed)
            ratio = rct.excess(clean, after, noise, settings.resamples, settings.seed)
        right = found.right.sum().item()
        rows[name] = {
            "accuracy": found.right.float().mean().item(),
            "low share": found.low.mean().item(),
            **dict(zip(("low from", "low to"), map(float, ends), strict=True)),
            "first order": found.first.mean().item(),
            "fooled": found.fooled.sum().item() / right if right else np.nan,
            **dict(zip(("RCT", "RCT from", "RCT to"), map(float, ratio), strict=True)),
        }
    return pd.DataFrame.from_dict(rows, "index")


def differences(
    measured: Mapping[str, Measured],
    images: Images,
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
    settings: Measuring,
) -> pd.DataFrame:
    """Each network after the first minus the first, on the same images.

    Returns:
        Columns model, quantity, group, images, difference, from and to (the 95 % interval over
        images; NaN for one image). The quantity "low share" is given for the groups "all", "right
        by both" and every class; "RCT" (`rct.high_to_low` of PGD) for "fooled in both"; and
        "OF 0", "OF 1" … of each band for "all".
    """
    images, labels = floats(images).cpu(), labels.cpu()
    (first, base), *others = measured.items()
    rows = []

    def add(model: str, quantity: str, group: str, values: np.ndarray) -> None:
        if len(values):
            ends = bootstrap(values, resamples=settings.resamples, seed=settings.seed)
            rows.append([model, quantity, group, len(values), values.mean(), *map(float, ends)])

    for name, found in others:
        apart = (found.low - base.low).numpy()
        count = len(apart)
        both = (found.right & base.right)[:count].numpy()
        add(name, "low share", "all", apart)
        add(name, "low share", "right by both", apart[both])
        for label, title in enumerate(classes):
            add(name, "low share", title, apart[(labels[:count] == label).numpy()])
        for ring, values in enumerate((found.rings - base.rings).T.numpy()):
            add(name, f"OF {ring}", "all", values)
        fooled = found.fooled & base.fooled
        if fooled.sum() >= FEWEST:
            pair = (found.attacked[fooled], base.attacked[fooled])
            ratio = rct.excess(images[fooled], *pair, settings.resamples, settings.seed)
            rows.append([name, "RCT", "fooled in both", fooled.sum().item(), *map(float, ratio)])
    columns = ["model", "quantity", "group", "images", "difference", "from", "to"]
    return pd.DataFrame(rows, columns=columns).assign(minus=first)


def curves(
    measured: Mapping[str, Measured], images: Images, settings: Measuring
) -> tuple[dict[tuple[str, str], Float[Tensor, "_ bands"]], int]:
    """Profiles over bands, one row an image, by quantity ("OF" or "RCT") and network; and the side.

    OF is the band's share by its number of components. The network "white noise" is that of the
    norms of the first one whose attack fools `FEWEST`, on the images that it fools.
    """
    images = floats(images).cpu()
    masks = band_masks(tuple(images.shape[-2:]), settings.bands, "square")
    components = masks.sum((1, 2))
    found = {
        ("OF", name): one.rings / components for name, one in measured.items() if one.rings.any()
    }
    for name, pair in _pairs(measured, images, settings).items():
        found["RCT", name] = radial_mean(rct.rct_images(*pair), settings.bands, "square")
    return found, min(images.shape[-2:])


def maps(
    measured: Mapping[str, Measured], images: Images, settings: Measuring
) -> dict[tuple[str, str], Float[Tensor, "height width"]]:
    """Mean OF of every component and RCT, by quantity and network, as far as each was measured.

    The mean of a component is over the images that drew it (`mean_map`). The network "white noise"
    is that of `curves`.
    """
    images = floats(images).cpu()
    found = {}
    for name, one in measured.items():
        if one.occluded.ndim == 3 and one.occluded.any():
            found["OF", name] = mean_map(one.occluded, settings.sample(images), settings.seed)
    for name, pair in _pairs(measured, images, settings).items():
        found["RCT", name] = rct.rct_map(*pair)
    return found


def lacking(measured: Mapping[str, Measured]) -> list[str]:
    """Which curves and maps there are not, and why, in words, each a sentence."""
    said = []
    for name, found in measured.items():
        if not found.occluded.any():
            said.append(f"{name}: no Occluded Frequency, since no frequency changes its logits")
        elif found.occluded.ndim == 2:
            said.append(f"{name}: no map of Occluded Frequency, since whole bands were removed")
        if (fooled := found.fooled.sum().item()) < FEWEST:
            said.append(
                f"{name}: no RCT, since PGD fools {fooled} of the {found.right.sum()} images that "
                f"it gets right, and {FEWEST} are needed"
            )
    return said


def _pairs(
    measured: Mapping[str, Measured], images: Tensor, settings: Measuring
) -> dict[str, tuple[Tensor, Tensor]]:
    """Fooled images before and after the attack by network, and after white noise.

    Those of which there are fewer than `FEWEST` are left out. The noise has the norms of the first
    network's attack that fools enough, on the images that it fools.
    """
    pairs = {name: (images[m.fooled], m.attacked[m.fooled]) for name, m in measured.items()}
    pairs = {name: pair for name, pair in pairs.items() if len(pair[0]) >= FEWEST}
    if pairs:
        clean, after = next(iter(pairs.values()))
        pairs["white noise"] = clean, white_noise(clean, norms((clean, after)), settings.seed)
    return pairs
