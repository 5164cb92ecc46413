"""Accuracy with the learned rounding once it has decided, measured by a command.

Learning takes a minute for each set of images, where everything else takes seconds. So a command
measures it for all draws of notebook 12, with the published sets of images, where they decide:

    python -m paperlib.d4c.learned --dataset openmoji

and adds its rows to ``data/d4c_learned.csv``, draw by draw: an interrupted run goes on where it
was. The iterations of `LEARNED` leave few roundings undecided; every row says how many. The
notebook reads them, and learns one again.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from paperlib.d4c.comparison import Clips, compare, plans_at
from paperlib.d4c.difficulty import add_rows, methods_of
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.published import calibration_sets
from paperlib.d4c.set_store import DRAWS
from paperlib.d4c.sizes import DATASETS, SIZES, QuantizationSizes
from paperlib.d4c.zero_shot import load_draws
from paperlib.data import LabelledImages
from paperlib.names import LABELLED
from paperlib.paths import DATA

FILE = DATA / "d4c_learned.csv"
SEED = 0
NOTEBOOK = "12_quantization"
# Iterations a module, and the rates that go with so few.
LEARNED = {
    "reconstruction_iterations": 300,
    "rounding_rate": 0.03,
    "image_scale_rate": 3e-4,
    "text_scale_rate": 3e-5,
}
TOLERANCE = 2.0  # percentage points, of what is learned again on another machine
KEYS = ["encoder", "bits", "draw", "method"]
COLUMNS = ["dataset", *KEYS, "iterations", "top1", "undecided", "worse"]
Images = Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]]


def learned_rows(
    clips: Clips,
    encoders: Mapping[str, Mapping[str, Any]],
    decisive: Mapping[str, str],
    images: Images,
    tests: Sequence[LabelledImages],
    dataset: str,
    seed: int,
    draws: Sequence[int],
    folder: Path | None = None,
) -> pd.DataFrame:
    """Learn the rounding with each set of images, and classify the test images of the draw.

    Args:
        clips: by encoder.
        encoders: what differs from `Settings`, by encoder.
        decisive: bit-widths at which calibration images decide, by encoder.
        images: for calibration, by encoder, draw and method.
        tests: test images of each draw.
        dataset: of the zero-shot task.
        seed: of the run, from which each draw's own is derived.
        draws: their numbers.
        folder: where quantized image towers are kept (see `compare`).

    Returns:
        `COLUMNS`: Top-1 (%), the share of roundings of the image tower that were undecided when
        cut (%, mean over modules), and how many modules got worse and kept the nearest rounding.
    """
    plans = [
        plan
        for name, changes in encoders.items()
        for plan in plans_at(name, decisive[name], changes, draws, seed, decisive=True)
    ]
    done = compare(clips, plans, images, tests, dataset, folder)
    found = [done.errors[name, k, m] for name, _, k, m in done.top1[KEYS].itertuples(index=False)]
    undecided = [100 * np.mean([each.undecided for each in errors]) for errors in found]
    worse = [sum(each.learned > each.before for each in errors) for errors in found]
    return done.top1.assign(dataset=dataset, undecided=undecided, worse=worse)[COLUMNS]


def load_learned(dataset: str, file: Path = FILE) -> pd.DataFrame:
    """What the command measured for a data set; columns as `learned_rows`."""
    table = pd.read_csv(file)
    return table[table.dataset == dataset].reset_index(drop=True)


def again(
    rows: pd.DataFrame, clips: Clips, sizes: QuantizationSizes, images: Images, *tested: Any
) -> pd.DataFrame:
    """One row learned again, beside the published one: D4C's images of the first draw and encoder.

    Args:
        rows: of `load_learned`.
        clips, images: by encoder and so on, as for `learned_rows`.
        sizes: of the notebook.
        tested: tests and dataset, as for `learned_rows`.

    Raises:
        ValueError: Top-1 is more than `TOLERANCE` away: the code, the weights or the images are not
            those that were measured.
    """
    name = next(iter(clips))
    one = {(name, 0, "d4c"): images[name, 0, "d4c"]}
    changes = {name: {**sizes.encoders[name], **LEARNED}}
    now = learned_rows(clips, changes, sizes.decisive, one, *tested, SEED, [0])
    both = now.merge(rows, on=["dataset", *KEYS], suffixes=(" now", " published"))
    apart = (both["top1 now"] - both["top1 published"]).abs()
    if len(both) != 1 or apart.item() > TOLERANCE:
        raise ValueError(f"{FILE}: measure it again: python -m paperlib.d4c.learned\n{both}")
    return both[[*KEYS, "top1 now", "top1 published", "undecided now", "undecided published"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=LABELLED, default="openmoji")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--file", type=Path, default=FILE, help="other rows of it are kept")
    options = parser.parse_args()
    first, _ = DATASETS[NOTEBOOK]
    sizes = SIZES[NOTEBOOK]["default" if options.dataset == first else "paper"]
    tests = load_draws(options.dataset, "test", sizes.test_images, sizes.seeds, SEED)
    for name, clip in load_encoders(options.dataset, options.encoders).items():
        changes = {**sizes.encoders[name], **LEARNED}
        real = load_draws(options.dataset, "train", changes["images"], sizes.seeds, SEED)
        given = {name: clip}, {name: methods_of(clip[0])}, sizes, SEED, real
        images = calibration_sets(options.dataset, *given)
        for k in range(options.draws):
            own = {key: x for key, x in images.items() if key[1] == k}
            of = {"dataset": options.dataset, "encoder": name, "draw": k}
            given = {name: clip}, {name: changes}, sizes.decisive, own, tests
            add_rows(options.file, of, learned_rows, *given, options.dataset, SEED, [k])


if __name__ == "__main__":
    main()
