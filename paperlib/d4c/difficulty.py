r"""When do calibration images matter, and whose? A map over bit-widths and rescaled channels.

Every CLIP is measured as it is and with channels of more and more different sizes
(`paperlib.d4c.rescaling`), which compute the same, at bit-widths that test ranges (W4A3), weights
(W2A8) and the paper's (W4A8). Images that a CLIP was asked for do not depend on the rescaling: the
published sets serve all of it. Rounding is the nearest, ranges are those of the default profile,
draws of calibration and test images those of notebook 12; each draw has factors of its own.

``python -m paperlib.d4c.difficulty`` writes ``map.csv`` into the folder of the sets, row by row: an
interrupted run goes on where it was.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from paperlib.d4c.comparison import Plan, compare, float_top1, plans_at
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.methods import data_free_baseline
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.rescaling import rescaled
from paperlib.d4c.set_store import DRAWS, FOLDER
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
FILE = "map.csv"
KEYS = ["encoder", "spread", "bits", "draw"]
COLUMNS = [*KEYS, "method", "top1"]
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


def load_map(folder: Path = FOLDER) -> pd.DataFrame:
    """The published map, one row a quantization."""
    return pd.read_csv(folder / FILE)


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
    file, done = options.folder / FILE, pd.DataFrame(columns=COLUMNS)
    if file.is_file():
        done = load_map(options.folder)
    clips = load_encoders(options.dataset, ENCODERS)
    for spread, (encoder, clip) in itertools.product(SPREADS, clips.items()):
        if ((done.encoder == encoder) & (done.spread == spread)).any():
            continue
        sizes = {"draws": options.draws, "bits": BITS, "test_images": options.test_images}
        found = measure(options.dataset, spread, encoder, clip, **sizes)
        done = pd.concat([done, found], ignore_index=True) if len(done) else found
        text = done.to_csv(index=False, float_format="%.2f", lineterminator="\n")
        write_files({file: text.encode()})
        print(encoder, spread, found.groupby(["bits", "method"]).top1.mean().round(1).to_dict())


if __name__ == "__main__":
    main()
