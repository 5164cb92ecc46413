r"""Does another start or parametrisation of D4C give what neither noise nor D4C has alone?

D4C begins with white noise and moves pixels. It is made anew from natural-spectrum noise and in
scaled Fourier coefficients (`paperlib.d4c.start`), and stopped after some, more and all of
`ITERATIONS`: each time the images calibrate the CLIP at the bit-width at which they decide, with
the nearest rounding and the settings of `paperlib.d4c.controls`. Beside them stands
natural-spectrum noise as it is, which the second start has before its first iteration. The draws
are of seed 1000 and the test images none that an evaluation takes.

``python -m paperlib.d4c.starts`` writes ``data/d4c_starts.csv``, CLIP by CLIP: an interrupted run
goes on where it was (50 minutes of a core). The pilot and the published sets say what 3,000
iterations of the paper's start give.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from paperlib.d4c import pilot
from paperlib.d4c.comparison import compare, plans_at
from paperlib.d4c.controls import CONTROLLED, SPLITS
from paperlib.d4c.difficulty import SEED, Clip, Mapped
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.optimiser import Part
from paperlib.d4c.published import decided_by
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import DECISIVE, DECISIVE_CIFAR
from paperlib.d4c.stamped import Stamped
from paperlib.d4c.start import WHITE, Start
from paperlib.d4c.synthesis import synthesise_parts
from paperlib.d4c.tables import mean_and_spread
from paperlib.d4c.zero_shot import load_draws
from paperlib.files import fingerprint
from paperlib.intervals import student
from paperlib.paths import DATA
from paperlib.seeds import derive

FILE = DATA / "d4c_starts.csv"
COMMAND = "python -m paperlib.d4c.starts"
ITERATIONS = (25, 75, 200)
IMAGES, DRAWS = 16, 3
STARTS = {
    "white": Start(),
    "white, Fourier": Start(fourier=True),
    "spectrum": Start("spectrum"),
    "spectrum, Fourier": Start("spectrum", fourier=True),
}
OTHERS = tuple(name for name, start in STARTS.items() if start != WHITE)
BITS = {"openmoji": DECISIVE, "cifar10": DECISIVE_CIFAR}
# The paper's whole set with fewer iterations; what is made is its first mini-batch, whose steps are
# those that it has among the others.
SETTINGS = Settings(synthesis_iterations=max(ITERATIONS), synthesis_autocast=True)
# OpenMoji's ResNet loses a point with noise that costs nothing: nothing is at stake there.
TRIED = [("openmoji", "vit"), ("cifar10", "resnet"), ("cifar10", "vit")]
KIND = ["dataset", "encoder"]
KEYS = [*KIND, "bits", "draw", "method", "iterations"]


def measure(mapped: Mapped, clip: Clip) -> pd.DataFrame:
    """Top-1 (%) of one CLIP: a row a draw, start and number of iterations; columns `KEYS` and
    top1.

    Args:
        mapped: of `paperlib.d4c.controls.CONTROLLED`.
        clip: as it was trained.
    """
    dataset, encoder = mapped.dataset, mapped.encoder
    seeds = [derive(pilot.SEED, "draw", k) for k in range(DRAWS)]
    images = {
        (encoder, k, "none × 0"): calibration_images("spectrum", *clip, Settings(seed=seed))[
            :IMAGES
        ]
        for k, seed in enumerate(seeds)
    }
    parts = [Part(seed, IMAGES) for seed in seeds]
    for name, start in STARTS.items():
        made = synthesise_parts(*clip, SETTINGS, parts, snapshots=ITERATIONS, start=start)
        images |= {
            (encoder, k, f"{name} × {iterations}"): one.snapshots[iterations]
            for (k, one), iterations in itertools.product(enumerate(made), ITERATIONS)
        }
        print(dataset, encoder, name, "made", flush=True)
    bits, changes = BITS[dataset][encoder], mapped.settings | {"images": IMAGES}
    plans = plans_at(encoder, bits, changes, range(DRAWS), pilot.SEED)
    tests = load_draws(dataset, "test", mapped.test_images, SPLITS[dataset], SEED)[-DRAWS:]
    table = compare({encoder: clip}, plans, images, tests, dataset).top1
    whose = table.method.str.partition(" × ")
    table = table.assign(dataset=dataset, method=whose[0], iterations=whose[2].astype(int))
    return table[[*KEYS, "top1"]]


def made_from(rows: pd.DataFrame) -> list[str]:
    """What decides each row, as 16 hex digits: settings, weights, the fitted spectrum.

    Args:
        rows: with columns `KIND`.

    Raises:
        KeyError: an unknown data set or encoder.
    """
    stamps = {}
    for key in set(rows[KIND].itertuples(index=False, name=None)):
        mapped = CONTROLLED[key]
        sizes = [IMAGES, DRAWS, *ITERATIONS, BITS[key[0]][key[1]]]
        sizes += [mapped.test_images, SPLITS[key[0]], pilot.SEED, SEED]
        made = SETTINGS, list(STARTS.values())
        stamps[key] = fingerprint(mapped.settings, sizes, made, *decided_by(*key, "spectrum", 0))
    return [stamps[key] for key in rows[KIND].itertuples(index=False, name=None)]


TABLE = Stamped(KEYS, KIND, made_from, COMMAND)


def load_starts(file: Path = FILE) -> pd.DataFrame:
    """The published table: columns `KEYS` and top1 (%), one row a quantization.

    Raises:
        FileError: there is no table, or rows are missing or of other weights, spectra or settings.
    """
    return TABLE.load(file, _wanted())


def _wanted() -> list[tuple[Any, ...]]:
    return [
        (*key, BITS[key[0]][key[1]], draw, *of)
        for key, draw in itertools.product(TRIED, range(DRAWS))
        for of in [("none", 0), *itertools.product(STARTS, ITERATIONS)]
    ]


def start_table(table: pd.DataFrame) -> pd.DataFrame:
    """Top-1 (%), mean ± standard deviation over draws, of `load_starts`: a row a CLIP and number of
    iterations, a column natural-spectrum noise as it is and each start."""
    keys = [*KIND, "iterations"]
    wide = table.pivot(index=[*keys, "draw"], columns="method", values="top1")
    titles = {"none": "natural spectrum as it is"} | {name: f"D4C from {name}" for name in STARTS}
    return mean_and_spread(wide[list(titles)].rename(columns=titles), keys)


def start_gains(table: pd.DataFrame) -> pd.DataFrame:
    """What each start but the paper's gains, after so many iterations, over what it is to beat.

    Args:
        table: of `load_starts`.

    Returns:
        A row a data set, encoder, start and number of iterations: mean Top-1 (%); points over
        natural-spectrum noise as it is, and over the paper's start after as many iterations, each
        with the ends of its 95 % interval over draws (Student's t).
    """
    rows = []
    for key, part in table.groupby(KIND, sort=False):
        noise = part[part.method == "none"].set_index("draw").top1
        for iterations in ITERATIONS:
            wide = part[part.iterations == iterations].pivot(
                index="draw", columns="method", values="top1"
            )
            for name in OTHERS:
                row = [*key, name, iterations, wide[name].mean()]
                for other in (noise, wide.white):
                    apart = wide[name] - other
                    row += [apart.mean(), *student(apart)]
                rows.append(row)
    ends = ("", " low", " high")
    gains = [f"{what}{end}" for what in ("over spectrum", "over white") for end in ends]
    return pd.DataFrame(rows, columns=[*KIND, "start", "iterations", "top1", *gains])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, default=FILE)
    file = parser.parse_args().file
    TABLE.drop(file, _wanted())
    for key in TRIED:
        mapped = CONTROLLED[key]
        TABLE.add(file, dict(zip(KIND, key, strict=True)), measure, mapped, mapped.load())


if __name__ == "__main__":
    main()
