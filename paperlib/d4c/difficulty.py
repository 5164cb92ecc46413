r"""When do calibration images matter, and whose? A map over bit-widths and rescaled channels.

Every CLIP is measured as it is and with channels of more and more different sizes
(`paperlib.d4c.rescaling`), which compute the same, at bit-widths that test ranges (W4A3), weights
(W2A8) and the paper's (W4A8). Images that a CLIP was asked for do not depend on the rescaling: the
published sets serve all of it. Rounding is the nearest, ranges are those of the default profile,
draws of calibration and test images those of notebook 12; each draw has factors of its own.

A second table asks the same of synthesis: what are images worth after more and more iterations?
The first eight images of a published set were also kept after some earlier iterations; each time
they calibrate, beside as many real ones and noise.

``python -m paperlib.d4c.difficulty`` writes ``map.csv`` and ``course.csv`` into the folder of the
sets, encoder by encoder: an interrupted run goes on where it was.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from paperlib.d4c.comparison import Plan, compare, float_top1, plans_at
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.methods import data_free_baseline
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.rescaling import rescaled
from paperlib.d4c.set_store import DRAWS, FOLDER, PICTURES, load_set
from paperlib.d4c.sizes import NEAREST, SHORT_D4C, EncoderSizes
from paperlib.d4c.tables import by_method, gain_table, over_draws
from paperlib.d4c.zero_shot import load_draws
from paperlib.files import write_files
from paperlib.models.clip import Tokenizer
from paperlib.names import LABELLED
from paperlib.seeds import derive

SEED = 0  # of notebook 12
SPREADS = (0.0, 0.5, 1.0, 1.5)  # σ of the logarithm of the factors
BITS = ("W4A3", "W2A8", "W4A8")
TEST_IMAGES = 300
FILE, COURSE = "map.csv", "course.csv"
KEYS = ["encoder", "spread", "bits", "draw"]
COLUMNS = [*KEYS, "method", "top1"]
COURSE_KEYS = ["encoder", "bits", "draw", "method", "iterations"]
GAINS = {  # of `gain_table`
    "gain": "D4C over BNS or PSE",
    "above the spectrum": "D4C over natural-spectrum noise",
    "real minus noise": "real images over noise",
}
Clip = tuple[nn.Module, Tokenizer]


def methods_of(model: nn.Module) -> list[str]:
    """What is compared: real images, noise, our control, the tower's baseline, D4C."""
    return ["real", "gaussian", "spectrum", data_free_baseline(model), "d4c"]


def measure(
    dataset: str,
    spread: float,
    encoder: str,
    clip: Clip,
    draws: int = DRAWS,
    bits: Sequence[str] = BITS,
    test_images: int = TEST_IMAGES,
) -> pd.DataFrame:
    """Top-1 (%) of one encoder at one spread: a row a bit-width, draw and method, float among them.

    Args:
        dataset: that the CLIP was trained for, with published sets.
        spread: of `rescaled`.
        encoder, clip: the CLIP as it was trained.
        draws, bits, test_images: how much is measured.
    """
    sizes = EncoderSizes({encoder: SHORT_D4C}, published=True)
    real = load_draws(dataset, "train", SHORT_D4C["images"], draws, SEED)
    tests = load_draws(dataset, "test", test_images, draws, SEED)
    methods = {encoder: methods_of(clip[0])}
    images = calibration_sets(dataset, {encoder: clip}, methods, sizes, SEED, real)
    found = []
    for k, test in enumerate(tests):
        harder = rescaled(clip[0], spread, derive(SEED, "rescaling", k)), clip[1]
        plans = [_plan(encoder, each, k) for each in bits]
        own = {key: x for key, x in images.items() if key[1] == k}
        table = compare({encoder: harder}, plans, own, [test] * (k + 1), dataset).top1
        whole = float_top1({encoder: harder}, [test], dataset).item()
        floats = [{"bits": each, "draw": k, "method": "float", "top1": whole} for each in bits]
        found += [table[["bits", "draw", "method", "top1"]], pd.DataFrame(floats)]
    every = pd.concat(found).assign(encoder=encoder, spread=spread)
    return every[COLUMNS].sort_values(KEYS, kind="stable", ignore_index=True)


def _plan(encoder: str, bits: str, draw: int) -> Plan:
    return plans_at(encoder, bits, SHORT_D4C | NEAREST, [draw], SEED)[0]


def measure_course(
    dataset: str,
    encoder: str,
    clip: Clip,
    draws: int = DRAWS,
    bits: Sequence[str] = BITS,
    test_images: int = TEST_IMAGES,
) -> pd.DataFrame:
    """Top-1 (%) by the iterations that the calibration images have had: one row each.

    D4C's and the baseline's are the first `PICTURES` of their first set, the same in every draw;
    of real images and noise each draw has as many of its own. Both have 0 iterations.

    Args:
        dataset, encoder, clip, draws, bits, test_images: as of `measure`.
    """
    changes = SHORT_D4C | {"images": PICTURES}
    real = load_draws(dataset, "train", PICTURES, draws, SEED)
    tests = load_draws(dataset, "test", test_images, draws, SEED)
    sizes, plain = EncoderSizes({encoder: changes}, published=True), {encoder: ["real", "gaussian"]}
    images = calibration_sets(dataset, {encoder: clip}, plain, sizes, SEED, real)
    place = next(clip[0].parameters()).device
    for method in (data_free_baseline(clip[0]), "d4c"):
        found = load_set(dataset, encoder, method, clip[0])
        last = found.card["settings"]["synthesis_iterations"]
        for k, x in {**found.snapshots, last: found.images}.items():
            few = x[:PICTURES].to(place)
            images |= {(encoder, draw, f"{method} {k}"): few for draw in range(draws)}
    plans = [
        plan
        for each in bits
        for plan in plans_at(encoder, each, changes | NEAREST, range(draws), SEED)
    ]
    table = compare({encoder: clip}, plans, images, tests, dataset).top1
    whose = table.method.str.partition(" ")
    table = table.assign(method=whose[0], iterations=whose[2].replace("", "0").astype(int))
    return table[[*COURSE_KEYS, "top1"]].sort_values(COURSE_KEYS, kind="stable", ignore_index=True)


def load_map(folder: Path = FOLDER) -> pd.DataFrame:
    """The published map, one row a quantization."""
    return pd.read_csv(folder / FILE)


def load_course(folder: Path = FOLDER) -> pd.DataFrame:
    """The published table of `measure_course`."""
    return pd.read_csv(folder / COURSE)


def advantages(table: pd.DataFrame) -> pd.DataFrame:
    """What D4C's images gain over the baseline's and over our control, and real ones over noise.

    Args:
        table: of `load_map`.

    Returns:
        A row an encoder, spread, bit-width and one of `GAINS`: points, and the ends low and high of
        the 95 % interval over draws.
    """
    baselines = {name: ("bns" if name == "resnet" else "pse") for name in ENCODERS}
    rows = []
    for spread, part in table.groupby("spread", sort=False):
        gains = gain_table(by_method(part, ["encoder", "bits", "draw"]), baselines)
        for key, drawn in gains.groupby(["encoder", "bits"], sort=False):
            for name, words in GAINS.items():
                ends = over_draws(drawn[name]) or (None, None)
                rows.append([*key, spread, words, drawn[name].mean(), *ends])
    columns = ["encoder", "bits", "spread", "what", "points", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def remade(table: pd.DataFrame, measured: pd.DataFrame) -> pd.Series:
    """Top-1 measured again less the map's, without rescaling, wherever both have a row.

    Args:
        table: of `load_map`.
        measured: with columns encoder, bits, draw, method and top1, of the map's seed and sizes.
    """
    keys = ["encoder", "bits", "draw", "method"]
    plain = table[table.spread == 0].set_index(keys).top1
    return measured.set_index(keys).top1.sub(plain).dropna()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=LABELLED, default="openmoji")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--test-images", type=int, default=TEST_IMAGES)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    clips = load_encoders(options.dataset, ENCODERS)
    sizes = {"draws": options.draws, "bits": BITS, "test_images": options.test_images}
    for spread, (encoder, clip) in itertools.product(SPREADS, clips.items()):
        of = {"encoder": encoder, "spread": spread}
        add_rows(
            options.folder / FILE, of, measure, options.dataset, spread, encoder, clip, **sizes
        )
    for encoder, clip in clips.items():
        add_rows(
            options.folder / COURSE,
            {"encoder": encoder},
            measure_course,
            options.dataset,
            encoder,
            clip,
            **sizes,
        )


def add_rows(
    file: Path, of: dict[str, Any], measured: Callable[..., pd.DataFrame], *given: Any, **sizes: Any
) -> None:
    """Measure, and add the rows to a table, unless it has rows of this kind.

    Args:
        file: of the table, CSV.
        of: the kind: the value that these columns of its rows have.
        measured: gives the rows, with bits, method and top1 among the columns.
        given, sizes: what `measured` takes.
    """
    done = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=list(of))
    if (done[list(of)] == pd.Series(of)).all(axis=1).any():
        return
    found = measured(*given, **sizes)
    done = pd.read_csv(file) if file.is_file() else done  # another command may have added to it
    done = pd.concat([done, found], ignore_index=True) if len(done) else found
    text = done.to_csv(index=False, float_format="%.2f", lineterminator="\n")
    write_files({file: text.encode()})
    print(*of.values(), found.groupby(["bits", "method"]).top1.mean().round(1).to_dict())


if __name__ == "__main__":
    main()
