r"""When do calibration images matter, and whose? A map over depth, bit-widths, rescaled channels.

Every CLIP of `MAPPED` is measured as it is and with channels of more and more different sizes
(`paperlib.d4c.rescaling`), which compute the same, at bit-widths that test ranges (W4A3), weights
(W2A8) and the paper's (W4A8). Images that a CLIP was asked for do not depend on the rescaling: the
published sets serve all of it. Rounding is the nearest, ranges are those of the default profile,
draws of calibration and test images those of notebook 12; each draw has factors of its own.

A second table asks the same of synthesis: what are images worth after more and more iterations?
The first eight images of a published set were also kept after some earlier iterations; each time
they calibrate, beside as many real ones and noise.

``python -m paperlib.d4c.difficulty`` writes ``map.csv`` and ``course.csv`` into the folder of the
sets, part by part: an interrupted run goes on where it was, and parts that were measured with other
sets or sizes are measured again.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from paperlib.d4c.comparison import Plan, compare, float_top1, plans_at
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.published import calibration_sets, decided_by
from paperlib.d4c.rescaling import rescaled
from paperlib.d4c.set_store import DRAWS, FOLDER, PICTURES, load_set, read_card
from paperlib.d4c.sizes import NEAREST, SHORT_D4C, EncoderSizes
from paperlib.d4c.stamped import Stamped
from paperlib.d4c.tables import by_method, gain_table, over_draws
from paperlib.d4c.zero_shot import load_draws
from paperlib.files import fingerprint
from paperlib.models.clip import Tokenizer
from paperlib.seeds import derive

SEED = 0  # of notebook 12
SPREADS = (0.0, 0.5, 1.0, 1.5)  # σ of the logarithm of the factors
BITS = ("W4A3", "W2A8", "W4A8")
TEST_IMAGES = 300
TOLERANCE = 2.0  # points of Top-1, of what is measured again on another machine
FILE, COURSE = "map.csv", "course.csv"
COMMAND = "python -m paperlib.d4c.difficulty"
KEYS = ["model", "spread", "bits", "draw"]
COURSE_KEYS = ["model", "bits", "draw", "method", "iterations"]
GAINS = {  # of `gain_table`
    "gain": "D4C over BNS or PSE",
    "above the spectrum": "D4C over natural-spectrum noise",
    "real minus noise": "real images over noise",
}
Clip = tuple[nn.Module, Tokenizer]


@dataclass(frozen=True)
class Mapped:
    """A CLIP, and the images that calibrate and test it.

    Attributes:
        title: for tables and figures.
        trained: data set of the CLIP and of its published sets.
        encoder: its image tower.
        dataset: of real calibration images, test images and classes.
        images: in a calibration set.
        test_images: of each draw.
        spreads: σ that are measured.
    """

    title: str
    trained: str
    encoder: str
    dataset: str = "openmoji"
    images: int = SHORT_D4C["images"]
    test_images: int = TEST_IMAGES
    spreads: tuple[float, ...] = SPREADS

    @property
    def baseline(self) -> str:
        """The paper's data-free baseline for its tower."""
        return "bns" if self.encoder == "resnet" else "pse"

    @property
    def methods(self) -> list[str]:
        """What is compared: real images, noise, our control, the tower's baseline, D4C."""
        return ["real", "gaussian", "spectrum", self.baseline, "d4c"]

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from `paperlib.d4c.settings.Settings`, but for the bit-widths."""
        return SHORT_D4C | NEAREST | {"images": self.images}

    def load(self) -> Clip:
        """The CLIP as it was trained."""
        return load_encoders(self.trained, [self.encoder])[self.encoder]


DEEP = {"trained": "tiny_imagenet", "encoder": "deep_vit", "images": 16, "spreads": (0.0, 1.0)}
PHOTOGRAPHS = {"dataset": "tiny_imagenet", "test_images": 500}
MAPPED = {
    **{name: Mapped(title, "openmoji", name) for name, title in ENCODERS.items()},
    "deep": Mapped("ViT, 10 blocks", **DEEP),
    "deep_photographs": Mapped("ViT, 10 blocks, photographs", **DEEP, **PHOTOGRAPHS),
}
TITLES = {name: mapped.title for name, mapped in MAPPED.items()}
IN_COURSE = tuple(ENCODERS)  # whose sets have images of earlier iterations


def measure(
    name: str,
    spread: float,
    clip: Clip,
    draws: int = DRAWS,
    bits: Sequence[str] = BITS,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Top-1 (%) of one CLIP at one spread: a row a bit-width, draw and method, float among them.

    Args:
        name: of `MAPPED`.
        spread: of `rescaled`.
        clip: as it was trained.
        draws, bits: how much is measured.
        methods: of calibration images; all of the CLIP's if None.
    """
    mapped = MAPPED[name]
    encoder, own = mapped.encoder, methods or mapped.methods
    sizes = EncoderSizes({encoder: mapped.settings}, published=True)
    real = load_draws(mapped.dataset, "train", mapped.images, draws, SEED)
    tests = load_draws(mapped.dataset, "test", mapped.test_images, draws, SEED)
    images = calibration_sets(mapped.trained, {encoder: clip}, {encoder: own}, sizes, SEED, real)
    found = []
    for k, test in enumerate(tests):
        harder = rescaled(clip[0], spread, derive(SEED, "rescaling", k)), clip[1]
        plans = [_plan(mapped, each, k) for each in bits]
        drawn = {key: x for key, x in images.items() if key[1] == k}
        table = compare({encoder: harder}, plans, drawn, [test] * (k + 1), mapped.dataset).top1
        whole = float_top1({encoder: harder}, [test], mapped.dataset).item()
        floats = [{"bits": each, "draw": k, "method": "float", "top1": whole} for each in bits]
        found += [table[["bits", "draw", "method", "top1"]], pd.DataFrame(floats)]
    every = pd.concat(found).assign(model=name, spread=spread)
    return every[[*KEYS, "method", "top1"]].sort_values(KEYS, kind="stable", ignore_index=True)


def _plan(mapped: Mapped, bits: str, draw: int) -> Plan:
    return plans_at(mapped.encoder, bits, mapped.settings, [draw], SEED)[0]


def measure_course(
    name: str, clip: Clip, draws: int = DRAWS, bits: Sequence[str] = BITS
) -> pd.DataFrame:
    """Top-1 (%) by the iterations that the calibration images have had: one row each.

    D4C's and the baseline's are the first `PICTURES` of their first set, the same in every draw;
    of real images and noise each draw has as many of its own. Both have 0 iterations.

    Args:
        name: of `IN_COURSE`.
        clip, draws, bits: as of `measure`.
    """
    mapped = MAPPED[name]
    encoder, changes = mapped.encoder, mapped.settings | {"images": PICTURES}
    real = load_draws(mapped.dataset, "train", PICTURES, draws, SEED)
    tests = load_draws(mapped.dataset, "test", mapped.test_images, draws, SEED)
    sizes, plain = EncoderSizes({encoder: changes}, published=True), {encoder: ["real", "gaussian"]}
    images = calibration_sets(mapped.trained, {encoder: clip}, plain, sizes, SEED, real)
    place = next(clip[0].parameters()).device
    for method in (mapped.baseline, "d4c"):
        found = load_set(mapped.trained, encoder, method, clip[0])
        last = found.card["settings"]["synthesis_iterations"]
        for k, x in {**found.snapshots, last: found.images}.items():
            few = x[:PICTURES].to(place)
            images |= {(encoder, draw, f"{method} {k}"): few for draw in range(draws)}
    plans = [p for each in bits for p in plans_at(encoder, each, changes, range(draws), SEED)]
    table = compare({encoder: clip}, plans, images, tests, mapped.dataset).top1
    whose = table.method.str.partition(" ")
    table = table.assign(method=whose[0], iterations=whose[2].replace("", "0").astype(int))
    table = table.assign(model=name)[[*COURSE_KEYS, "top1"]]
    return table.sort_values(COURSE_KEYS, kind="stable", ignore_index=True)


def made_from(rows: pd.DataFrame) -> list[str]:
    """What decides each row, as 16 hex digits: settings, sizes, what `decided_by` says.

    Not among it: the drawings, copies of data sets, the code. What is measured again in notebook 12
    tells of these.

    Args:
        rows: with columns model, method and draw; those of the course also iterations.

    Raises:
        FileError: a card of the sets is missing, or has no such set.
    """
    rows = rows.reindex(columns=["model", "method", "draw", "iterations"]).fillna(-1)
    keys, stamps = list(rows.itertuples(index=False, name=None)), {}
    for key in set(keys):
        name, method, draw, after = key
        mapped, in_course = MAPPED[name], after >= 0
        settings = mapped.settings | ({"images": PICTURES} if in_course else {})
        sizes = [mapped.dataset, mapped.test_images, SEED]
        own = (0, int(after)) if in_course else (draw, None)  # the course has the first sets
        decisive = decided_by(mapped.trained, mapped.encoder, method, *own)
        stamps[key] = fingerprint(settings, sizes, *decisive)
    return [stamps[key] for key in keys]


MAP = Stamped([*KEYS, "method"], KEYS[:2], made_from, COMMAND)
COURSES = Stamped(COURSE_KEYS, COURSE_KEYS[:1], made_from, COMMAND)


def load_map(folder: Path = FOLDER) -> pd.DataFrame:
    """The published map: columns `KEYS`, method and top1 (%), one row a quantization.

    Raises:
        FileError: there is no table, or its rows are not those that `MAPPED` asks for, once each,
            or are of other sets or sizes.
    """
    return MAP.load(folder / FILE, _rows_of_map())


def _rows_of_map() -> list[tuple[Any, ...]]:
    return [
        (name, spread, bits, draw, method)
        for name, mapped in MAPPED.items()
        for spread, bits, draw in itertools.product(mapped.spreads, BITS, range(DRAWS))
        for method in [*mapped.methods, "float"]
    ]


def load_course(folder: Path = FOLDER) -> pd.DataFrame:
    """The published table of `measure_course`: columns `COURSE_KEYS` and top1 (%).

    Raises:
        FileError: as by `load_map`.
    """
    return COURSES.load(folder / COURSE, _rows_of_course())


def _rows_of_course() -> list[tuple[Any, ...]]:
    wanted = []
    for name in IN_COURSE:
        mapped, steps = MAPPED[name], [("real", 0), ("gaussian", 0)]
        for method in (mapped.baseline, "d4c"):
            first = read_card(mapped.trained, mapped.encoder, method)["sets"][0]
            steps += [(method, part["after"]) for part in (first, *first["snapshots"])]
        pairs = itertools.product(BITS, range(DRAWS))
        wanted += [(name, *pair, *step) for pair in pairs for step in steps]
    return wanted


def advantages(table: pd.DataFrame) -> pd.DataFrame:
    """What D4C's images gain over the baseline's and over our control, and real ones over noise.

    Args:
        table: of `load_map`.

    Returns:
        A row a model (its title), bit-width, spread and one of `GAINS`: points, and the ends low
        and high of the 95 % interval over draws.
    """
    baselines = {name: mapped.baseline for name, mapped in MAPPED.items()}
    rows = []
    for spread, part in table.rename(columns={"model": "encoder"}).groupby("spread", sort=False):
        gains = gain_table(by_method(part, ["encoder", "bits", "draw"]), baselines)
        for key, drawn in gains.groupby(["encoder", "bits"], sort=False):
            for name, words in GAINS.items():
                ends = over_draws(drawn[name]) or (None, None)
                rows.append([*key, spread, words, drawn[name].mean(), *ends])
    columns = ["model", "bits", "spread", "what", "points", "low", "high"]
    return pd.DataFrame(rows, columns=columns).replace({"model": TITLES})


def remade(table: pd.DataFrame, measured: pd.DataFrame) -> pd.Series:
    """Top-1 measured again less the map's, wherever both have a row.

    Args:
        table: of `load_map`.
        measured: with columns `KEYS`, method and top1, of the map's seed and sizes.

    Raises:
        ValueError: nothing was measured again, or is further apart than `TOLERANCE`.
    """
    keys = [*KEYS, "method"]
    apart = measured.set_index(keys).top1.sub(table.set_index(keys).top1).dropna()
    if apart.empty or apart.abs().max() > TOLERANCE:
        far = apart[apart.abs() > TOLERANCE].round(1).to_dict()
        raise ValueError(f"measured again, {len(apart)} rows of the map, with differences of {far}")
    return apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MAPPED, default=list(MAPPED))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    for name in options.models:
        table, course = options.folder / FILE, options.folder / COURSE
        MAP.drop(table, _rows_of_map(), {"model": name})
        COURSES.drop(course, _rows_of_course(), {"model": name})
        clip = MAPPED[name].load()
        for spread in MAPPED[name].spreads:
            kind = {"model": name, "spread": spread}
            MAP.add(table, kind, measure, name, spread, clip, DRAWS, BITS)
        if name in IN_COURSE:
            COURSES.add(course, {"model": name}, measure_course, name, clip, DRAWS, BITS)


if __name__ == "__main__":
    main()
