r"""How much of a calibration image's worth is spectrum, and how much content?

White noise knows nothing of images, natural-spectrum noise only their second-order statistics, dead
leaves have edges too, scrambled images the spectra and colours of the real ones
(`paperlib.d4c.natural`). What a method $m$ closes of the gap between white noise and real images is

$$\text{share}_m = \frac{\bar a_m - \bar a_\text{noise}}{\bar a_\text{real} - \bar a_\text{noise}}$$

with $\bar a$ the mean Top-1 over draws of the CLIP that is quantized with these images. It is said
only where the gap is `STAKE` points or more; below, nobody can tell. Three parts:

- **choice**: on seed 1000, which no evaluation uses, and on test images that none takes. The best
  control is, of those that know neither model nor data, the one with the highest mean over encoders
  and data sets; that rule stood before the first measurement. Beside it natural-spectrum noise with
  other parameters;
- **methods**: the five kinds of images by bit-widths, in the draws of notebook 12's seed 0;
- **images**: 16 to 128 of white noise, natural-spectrum noise and real images, all for the ranges.
  Draws are nested: a larger set of real images holds the smaller one.

Rounding is the nearest, and settings are those of the default profile. ``python -m
paperlib.d4c.controls --dataset openmoji`` adds a data set to ``data/d4c_controls.csv``, part by
part: an interrupted run goes on where it was, and parts that were measured with other weights,
spectra or sizes are measured again.
"""

import argparse
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.d4c import pilot
from paperlib.d4c.comparison import compare, plans_at
from paperlib.d4c.difficulty import SEED, Clip, Mapped
from paperlib.d4c.encoders import ENCODERS
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.natural import NaturalSpectrum, natural_spectrum_noise, published_spectrum
from paperlib.d4c.published import decided_by
from paperlib.d4c.set_store import DRAWS
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import LONGER_D4C, SHORT_D4C
from paperlib.d4c.stamped import Stamped
from paperlib.d4c.tables import by_method
from paperlib.d4c.zero_shot import load_draws
from paperlib.data import LabelledImages
from paperlib.files import fingerprint
from paperlib.intervals import bootstrap, student
from paperlib.models.clip import denormalise, image_size, normalise
from paperlib.names import LABELLED
from paperlib.paths import DATA
from paperlib.seeds import derive

FILE = DATA / "d4c_controls.csv"
COMMAND = "python -m paperlib.d4c.controls"
STAKE = 3.0  # points of Top-1, as for the claims against noise
RESAMPLES = 2_000
KNOW_NOTHING = ("gaussian", "spectrum", "leaves")  # neither model nor data
CLOSING = ("spectrum", "scrambled", "leaves")  # what of the gap, between noise and real images
SPLITS = {"openmoji": 14, "cifar10": 33}  # draws of test images that a split holds
COUNTS = {"openmoji": SHORT_D4C["images"], "cifar10": LONGER_D4C["images"]}
CONTROLLED = {
    (dataset, encoder): Mapped(title, dataset, encoder, dataset, COUNTS[dataset])
    for dataset, (encoder, title) in itertools.product(LABELLED, ENCODERS.items())
}
KIND = ["part", "dataset", "encoder"]
KEYS = [*KIND, "seed", "bits", "images", "draw", "method"]


def _with(spectrum: NaturalSpectrum, still: slice, shift: float = 0.0) -> NaturalSpectrum:
    """With some numbers the same in every image: their mean, and `shift` standard deviations."""
    covariance, mean = np.array(spectrum.covariance), np.array(spectrum.mean)
    mean[still] += shift * np.sqrt(np.diag(covariance)[still])
    covariance[still], covariance[:, still] = 0, 0
    rows = tuple(map(tuple, covariance.tolist()))
    return replace(spectrum, mean=tuple(mean.tolist()), covariance=rows)


OTHERWISE = {  # natural-spectrum noise with other parameters, from those that are published
    "flatter": lambda spectrum: _with(spectrum, slice(0, 1), -1.0),  # every image's slope
    "steeper": lambda spectrum: _with(spectrum, slice(0, 1), 1.0),
    "one contrast": lambda spectrum: _with(spectrum, slice(6, 9)),
    "all nine at their mean": lambda spectrum: _with(spectrum, slice(None)),
    "separate channels": lambda spectrum: replace(
        spectrum, channels=tuple(map(tuple, np.eye(3).tolist()))
    ),
}


@dataclass(frozen=True)
class Part:
    """What is measured together.

    Attributes:
        seed: of calibration images and prompts.
        draws: of calibration and test images.
        bits: bit-widths.
        methods: of `paperlib.d4c.methods.METHODS` or of `OTHERWISE`.
        images: numbers of calibration images, all of which give the ranges; if there are none, as
            many as in notebook 12, of which 16 do.
        others: whether test images are the last of the split, which no evaluation takes.
    """

    seed: int
    draws: int
    bits: tuple[str, ...]
    methods: tuple[str, ...]
    images: tuple[int, ...] = ()
    others: bool = False

    def counts(self, mapped: Mapped) -> tuple[int, ...]:
        """Numbers of calibration images."""
        return self.images or (mapped.images,)

    def settings(self, mapped: Mapped) -> dict[str, Any]:
        """What differs from `paperlib.d4c.settings.Settings`, but for bits and images."""
        return mapped.settings | ({"range_images": max(self.images)} if self.images else {})

    def tests(self, mapped: Mapped) -> list[LabelledImages]:
        """Test images of each draw, always of the split's one order, that of seed 0."""
        number = SPLITS[mapped.dataset] if self.others else self.draws
        return load_draws(mapped.dataset, "test", mapped.test_images, number, SEED)[-self.draws :]


PARTS = {
    "choice": Part(pilot.SEED, 3, ("W4A3",), (*KNOW_NOTHING, *OTHERWISE), others=True),
    "methods": Part(
        *(SEED, DRAWS, ("W4A3", "W3A2", "W2A8", "W4A8")),
        ("gaussian", "spectrum", "leaves", "scrambled", "real"),
    ),
    "images": Part(SEED, 2, ("W4A3",), ("gaussian", "spectrum", "real"), (16, 32, 64, 128)),
}


def control_images(
    method: str, clip: Clip, settings: Settings, data: LabelledImages
) -> Float[Tensor, "n 3 size size"]:
    """As `calibration_images`, and natural-spectrum noise with other parameters.

    Args:
        method: one of `paperlib.d4c.methods.METHODS` or of `OTHERWISE`.
        clip, settings, data: as for `calibration_images`.
    """
    if method not in OTHERWISE:
        return calibration_images(method, *clip, settings, data)
    size, spectrum = image_size(clip[0]), OTHERWISE[method](published_spectrum())
    return normalise(natural_spectrum_noise(spectrum, settings.images, size, settings.seed))


def measure(name: str, mapped: Mapped, clip: Clip) -> pd.DataFrame:
    """Top-1 (%) of one CLIP in one part: a row a quantization, columns `KEYS` and top1.

    Args:
        name: of `PARTS`.
        mapped: of `CONTROLLED`.
        clip: as it was trained.
    """
    part, encoder, dataset = PARTS[name], mapped.encoder, mapped.dataset
    counts, place = part.counts(mapped), next(clip[0].parameters()).device
    real = load_draws(dataset, "train", max(counts), part.draws, part.seed)
    given = part.settings(mapped), range(part.draws), part.seed
    plans = [plan for bits in part.bits for plan in plans_at(encoder, bits, *given)]
    images = {
        (encoder, k, f"{method} × {count}"): control_images(
            method, clip, Settings(images=count, seed=derive(part.seed, "draw", k)), data
        ).to(place)
        for k, data in enumerate(real)
        for count, method in itertools.product(counts, part.methods)
    }
    table = compare({encoder: clip}, plans, images, part.tests(mapped), dataset).top1
    whose = table.method.str.partition(" × ")
    table = table.assign(method=whose[0], images=whose[2].astype(int))
    table = table.assign(part=name, dataset=dataset, seed=part.seed)
    return table[[*KEYS, "top1"]]


def made_from(rows: pd.DataFrame) -> list[str]:
    """What decides each row, as 16 hex digits: sizes, weights, the parameters of the noise.

    Args:
        rows: with columns `KIND`, images and method.

    Raises:
        FileError: a card of the sets, which names the weights, is missing.
        KeyError: an unknown part, data set or encoder.
    """
    keys = list(rows[[*KIND, "images", "method"]].itertuples(index=False, name=None))
    stamps = {}
    for key in set(keys):
        name, dataset, encoder, count, method = key
        part, mapped = PARTS[name], CONTROLLED[dataset, encoder]
        noise = published_spectrum() if method in ("spectrum", *OTHERWISE) else None
        noise = OTHERWISE[method](noise) if method in OTHERWISE else noise
        sizes = [dataset, mapped.test_images, SPLITS[dataset], part]
        settings = part.settings(mapped) | {"images": int(count)}
        weights, _ = decided_by(dataset, encoder, method, 0)
        stamps[key] = fingerprint(settings, sizes, weights, method, noise)
    return [stamps[key] for key in keys]


TABLE = Stamped(KEYS, KIND, made_from, COMMAND)


def load_controls(file: Path = FILE) -> pd.DataFrame:
    """The published table: columns `KEYS` and top1 (%), one row a quantization.

    Raises:
        FileError: there is no table, or rows are missing or of other weights, spectra or sizes.
    """
    return TABLE.load(file, _wanted())


def _wanted() -> list[tuple[Any, ...]]:
    return [
        (name, *of, part.seed, *row)
        for (name, part), (of, mapped) in itertools.product(PARTS.items(), CONTROLLED.items())
        for row in itertools.product(
            part.bits, part.counts(mapped), range(part.draws), part.methods
        )
    ]


def control_means(table: pd.DataFrame) -> pd.Series:
    """Mean Top-1 (%) on seed 1000 of each of `KNOW_NOTHING`, over encoders and data sets.

    Args:
        table: of `load_controls`.

    Raises:
        ValueError: an encoder, data set or method was not measured there.
    """
    tried = table[(table.part == "choice") & (table.seed == pilot.SEED)]
    found = tried.pivot_table("top1", ["dataset", "encoder"], "method")
    found = found.reindex(index=pd.MultiIndex.from_tuples(CONTROLLED), columns=KNOW_NOTHING)
    if found.isna().any(axis=None):
        raise ValueError(f"the rule takes every encoder and data set:\n{found}")
    return found.mean()


def best_control(table: pd.DataFrame) -> str:
    """The control that D4C has to beat, by the rule; arguments and errors as of `control_means`."""
    return str(control_means(table).idxmax())


def otherwise_table(table: pd.DataFrame) -> pd.DataFrame:
    """What other parameters change, in points beside natural-spectrum noise as it is published.

    Args:
        table: of `load_controls`.

    Returns:
        A row a data set, encoder and one of `OTHERWISE`: points, and the ends low and high of the
        95 % interval over draws (Student's t).
    """
    tried = table[table.part == "choice"]
    wide = tried.pivot(index=["dataset", "encoder", "draw"], columns="method", values="top1")
    rows = []
    for key, drawn in wide.groupby(["dataset", "encoder"], sort=False):
        for method in OTHERWISE:
            apart = drawn[method] - drawn.spectrum
            rows.append([*key, method, apart.mean(), *student(apart)])
    return pd.DataFrame(rows, columns=["dataset", "encoder", "method", "points", "low", "high"])


def share_table(table: pd.DataFrame) -> pd.DataFrame:
    """What of the gap from white noise to real images each of `CLOSING` closes, where it is at
    least `STAKE` points, and what is left.

    Args:
        table: of `load_controls`.

    Returns:
        A row a data set, encoder, bit-width and method: the gap (points), the share of it and the
        ends low and high of its 95 % interval over draws (bootstrap; of five draws it is rather
        too narrow), what real images have more (left, in points), and the ends of that (Student's).
    """
    keys, rows = [*KIND[1:], "bits"], []
    wide = by_method(table[table.part == "methods"], [*keys, "draw"])
    for key, drawn in wide.groupby(keys, sort=False):
        gap = (drawn.real - drawn.gaussian).to_numpy()
        if gap.mean() < STAKE:
            continue
        for method in CLOSING:
            closed, left = (drawn[method] - drawn.gaussian).to_numpy(), drawn.real - drawn[method]
            ends = bootstrap(
                lambda chosen, part=closed, whole=gap: part[chosen].sum() / whole[chosen].sum(),
                *([len(gap)], RESAMPLES, derive(SEED, "shares")),
            )
            share = closed.mean() / gap.mean()
            rows.append([*key, method, gap.mean(), share, *ends, left.mean(), *student(left)])
    columns = ["method", "gap", "share", "low", "high", "left", "left low", "left high"]
    return pd.DataFrame(rows, columns=[*keys, *columns])


def radial_energy(images: Float[Tensor, "n channels size size"]) -> pd.DataFrame:
    """Mean amplitude of square images by spatial frequency, in rings as wide as a cycle an image.

    Of the orthonormal Fourier transform, over images and channels: that of white noise is flat.

    Args:
        images: pixels, such as from 0 to 1.

    Returns:
        Columns frequency (cycles a pixel, to 1/2) and amplitude (in the unit of the pixels).
    """
    size = images.shape[-1]
    amplitude = torch.fft.fft2(images.double(), norm="ortho").abs().mean((0, 1))  # (size, size)
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.double)
    ring = (k[:, None] ** 2 + k**2).sqrt().round().long()
    rings = range(1, size // 2 + 1)
    means = [amplitude[ring == radius].mean().item() for radius in rings]
    return pd.DataFrame({"frequency": [radius / size for radius in rings], "amplitude": means})


def spectra_table(images: Mapping[tuple[str, int, str], Tensor]) -> pd.DataFrame:
    """`radial_energy` by encoder and method, over all draws.

    Args:
        images: normalised as the models take them, by encoder, draw and method.
    """
    pooled: dict[tuple[str, str], list[Tensor]] = {}
    for (encoder, _, method), x in images.items():
        pooled.setdefault((encoder, method), []).append(denormalise(x).cpu())
    found = {key: radial_energy(torch.cat(parts)) for key, parts in pooled.items()}
    return pd.concat(found, names=["encoder", "method", "ring"]).reset_index().drop(columns="ring")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", nargs="+", choices=LABELLED, default=list(LABELLED))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args()
    for name in options.parts:
        for (dataset, encoder), mapped in CONTROLLED.items():
            if dataset in options.dataset:
                kind = dict(zip(KIND, (name, dataset, encoder), strict=True))
                TABLE.drop(options.file, _wanted(), kind)
                TABLE.add(options.file, kind, measure, name, mapped, mapped.load())


if __name__ == "__main__":
    main()
