"""Accuracy with the learned rounding once it has decided, measured by a command.

Learning takes a minute for each set of images, where everything else takes seconds. So a command
measures it for all draws of notebook 12, with the published sets of images, where they decide:

    python -m paperlib.d4c.learned --dataset openmoji

and writes ``data/d4c_learned-openmoji.csv``, draw by draw: an interrupted run goes on where it was,
and rows of other sets, weights or sizes are measured again. The iterations of `LEARNED` leave few
roundings undecided; every row says how many. The notebook reads the table, and learns one module
again.
"""

import argparse
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.comparison import Clips, compare, plans_at
from paperlib.d4c.difficulty import MAPPED
from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.pipeline import quantize_text
from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.published import calibration_sets, decided_by
from paperlib.d4c.quantized_clip import ModuleError
from paperlib.d4c.reconstruction import ReconstructionWarning, reconstruct
from paperlib.d4c.set_store import DRAWS
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import DATASETS, SIZES, QuantizationSizes
from paperlib.d4c.stamped import Stamped
from paperlib.d4c.zero_shot import load_draws
from paperlib.data import LabelledImages
from paperlib.files import fingerprint
from paperlib.models.clip import Tokenizer
from paperlib.names import LABELLED
from paperlib.paths import DATA

SEED = 0
NOTEBOOK = "12_quantization"
# Iterations a module, and the rates that go with so few.
LEARNED = {
    "reconstruction_iterations": 300,
    "rounding_rate": 0.03,
    "image_scale_rate": 3e-4,
    "text_scale_rate": 3e-5,
}
# Relative, of what is learned again: another CPU's instructions changed them by 0.5 and 1.7 %.
TOLERANCE = {"first_left": 0.02, "first_undecided": 0.25}
KEYS = ["encoder", "bits", "draw", "method"]
COLUMNS = [*KEYS, "iterations", "top1", "undecided", "worse", *TOLERANCE]
Images = Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]]


def usual_sizes(dataset: str) -> QuantizationSizes:
    """What the command measures: the sizes of the profile that takes the data set first."""
    return SIZES[NOTEBOOK]["default" if dataset == DATASETS[NOTEBOOK][0] else "paper"]


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
        cut (%, mean over modules), and how many modules got worse and kept the nearest rounding; of
        the first module alone, what learning left of its error and what was undecided (%).
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
    first = pd.DataFrame([_of_first(errors[0]) for errors in found])
    return done.top1.assign(undecided=undecided, worse=worse, **first)[COLUMNS]


def made_from(dataset: str, encoder: str, draw: int, method: str, sizes: QuantizationSizes) -> str:
    """What decides a row, as 16 hex digits: sizes, weights, and the published set of the method.

    Raises:
        FileError: a card of the sets is missing.
    """
    settings = {**sizes.encoders[encoder], **LEARNED}
    tested = [sizes.decisive[encoder], sizes.test_images, sizes.seeds]
    return fingerprint(settings, tested, *decided_by(dataset, encoder, method, draw))


def table_of(dataset: str) -> Stamped:
    """How the table of a data set is named and checked."""
    command = f"python -m paperlib.d4c.learned --dataset {dataset}"
    return Stamped(KEYS, ["encoder", "draw"], lambda rows: _made_from(rows, dataset), command)


def _wanted(sizes: QuantizationSizes) -> list[tuple[Any, ...]]:
    return [
        (name, sizes.decisive[name], draw, method)
        for name, draw in itertools.product(sizes.encoders, range(sizes.seeds))
        for method in MAPPED[name].methods
    ]


def table_file(dataset: str) -> Path:
    """Where the published table is."""
    return DATA / f"d4c_learned-{dataset}.csv"


def load_learned(
    dataset: str, sizes: QuantizationSizes, seed: int, file: Path | None = None
) -> pd.DataFrame | None:
    """What the command measured, for the encoders of a run; columns as `learned_rows`.

    Args:
        dataset, sizes, seed: of the run.
        file: of the table; the published one if None.

    Returns:
        None if the run has another seed or other sizes than the table, or there is no table for its
        data set.

    Raises:
        FileError: the table was made from other sets or weights, or rows of it are missing.
    """
    usual, file = usual_sizes(dataset), file or table_file(dataset)
    same = all(
        getattr(sizes, name) == getattr(usual, name)
        for name in ("decisive", "seeds", "test_images", "published")
    ) and all(usual.encoders[name] == own for name, own in sizes.encoders.items())
    if seed != SEED or not same or not file.is_file():
        return None
    rows = table_of(dataset).load(file, _wanted(usual))
    return rows.loc[rows.encoder.isin(list(sizes.encoders)), COLUMNS].reset_index(drop=True)


def _made_from(table: pd.DataFrame, dataset: str) -> list[str]:
    """What each row of a table would be made from now."""
    keys, usual = table[["encoder", "draw", "method"]], usual_sizes(dataset)
    return [made_from(dataset, *key, usual) for key in keys.itertuples(index=False)]


def first_module(
    clip: tuple[nn.Module, Tokenizer],
    settings: Settings,
    images: Float[Tensor, "n 3 size size"],
    dataset: str,
) -> ModuleError:
    """The first module of the image tower learned alone, as `learned_rows` learns it with others.

    Args:
        clip: the CLIP and its tokenizer.
        settings: with the bits and the seed of a draw.
        images: for calibration.
        dataset: whose templates the prompts have.
    """
    nearest = replace(settings, reconstruction_iterations=0)
    quantized = quantize_text(*clip, nearest, zero_shot_task(dataset).templates)
    quantized.settings, images = settings, images.to(quantized.logit_scale.device)
    quantized.set_image_ranges(images)
    with warnings.catch_warnings(action="ignore", category=ReconstructionWarning):
        (error,) = reconstruct(quantized, images, None, ["image"], modules=1)
    return error


def again(
    rows: pd.DataFrame, clips: Clips, sizes: QuantizationSizes, images: Images, dataset: str
) -> pd.DataFrame:
    """One module learned again beside the table: the image tower's first, in the first draw and of
    the first encoder, with D4C's images.

    Args:
        rows: of `load_learned`.
        clips, images, dataset: as for `learned_rows`.
        sizes: of the run.

    Returns:
        Columns now and published, a row each of `TOLERANCE`.

    Raises:
        ValueError: it is further apart than `TOLERANCE`: the code is not the one that measured.
    """
    name = next(iter(clips))
    given = name, sizes.decisive[name], {**sizes.encoders[name], **LEARNED}, [0], SEED
    (plan,) = plans_at(*given)
    now = first_module(clips[name], plan.settings, images[name, 0, "d4c"], dataset)
    mine = (rows.encoder == name) & (rows.draw == 0) & (rows.method == "d4c")
    (published,) = rows.loc[mine, [*TOLERANCE]].to_dict("records")
    both = pd.DataFrame({"now": _of_first(now), "published": published})
    allowed = both.published * pd.Series(TOLERANCE) + 0.01  # two decimals are published
    if ((both.now - both.published).abs() > allowed).any():
        raise ValueError(f"learned again, {now.name} differs from the published one:\n{both}")
    return both.rename_axis(f"{name}, {now.name}")


def _of_first(error: ModuleError) -> dict[str, float]:
    """The columns of `TOLERANCE`: of the learned rounding, be it better than the nearest or not."""
    values = 100 * error.learned / error.before, 100 * error.undecided
    return dict(zip(TOLERANCE, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=LABELLED, default="openmoji")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--draws", type=int, choices=range(1, DRAWS + 1), default=DRAWS)
    parser.add_argument("--file", type=Path, help="other rows of it are kept")
    options = parser.parse_args()
    dataset, file = options.dataset, options.file or table_file(options.dataset)
    table, sizes = table_of(dataset), usual_sizes(dataset)
    tests = load_draws(dataset, "test", sizes.test_images, sizes.seeds, SEED)
    for name, clip in load_encoders(dataset, options.encoders).items():
        changes, methods = {**sizes.encoders[name], **LEARNED}, {name: MAPPED[name].methods}
        real = load_draws(dataset, "train", changes["images"], sizes.seeds, SEED)
        images = calibration_sets(dataset, {name: clip}, methods, sizes, SEED, real)
        for k in range(options.draws):
            own = {key: x for key, x in images.items() if key[1] == k}
            given = {name: clip}, {name: changes}, sizes.decisive, own, tests, dataset, SEED, [k]
            kind = {"encoder": name, "draw": k}
            table.drop(file, _wanted(sizes), kind)
            table.add(file, kind, learned_rows, *given)


if __name__ == "__main__":
    main()
