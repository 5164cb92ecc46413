"""Temperature and names of the synthesis, tried on a seed that no evaluation uses.

τ = 0.1 is ten times the temperature of OpenAI's CLIPs; of a small CLIP with another logit scale it
is another multiple. And a small CLIP does not know all words. So D4C is made with the paper's τ and
with ten times the CLIP's own, with our generic names and with as many of ImageNet's, of which a
small CLIP knows few, and judged by the accuracy with the nearest rounding at W4A3 and W2A8. The
rule, which stood before the first measurement: the paper's τ and the generic names are kept unless
another choice is more than `MARGIN` points better in the mean over encoders and bit-widths, with
the images of the last iteration. What the rule does not ask for is measured beside: images of
earlier iterations, W3A2, and images that no synthesis made. How many images are made and classified
was settled after the rule, before the first measurement.

``python -m paperlib.d4c.pilot --dataset cifar10 --images 16 --autocast`` writes CIFAR-10's rows of
``data/d4c_pilot.csv``; notebook 11 shows them.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.encoders import ENCODERS, load_encoders
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.optimiser import Part
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import NAMES, zero_shot_task
from paperlib.d4c.sets import PART
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.synthesis import synthesise_parts, temperature_of
from paperlib.d4c.zero_shot import load_draws, task_features, top1
from paperlib.data import LabelledImages
from paperlib.files import write_files
from paperlib.models.clip import Tokenizer
from paperlib.names import LABELLED
from paperlib.paths import DATA

FILE = DATA / "d4c_pilot.csv"
SEED = 1000
BITS = ("W4A3", "W2A8")  # of the rule
BESIDE = ("W3A2",)
EARLIER = (100, 434, 1_000)  # iterations
TEST_IMAGES = 1_000
RANGES = {"range_images": 16, "range_prompts": 16, "range_fractions": 25}  # the default profile's
MARGIN = 1.0  # percentage points
PAPER = ("0.1", "generic")
COLUMNS = ("dataset", "encoder", "temperature", "names", "iterations", "bits", "top1")
Clip = tuple[nn.Module, Tokenizer]
Images = Float[Tensor, "n 3 size size"]


def choices(model: nn.Module) -> dict[tuple[str, str], tuple[float, Sequence[str]]]:
    """Temperatures and names by what they are called."""
    temperatures = {"0.1": 0.1, "10 / logit scale": temperature_of("own", model)}
    return {(t, n): (temperatures[t], NAMES[n]) for t in temperatures for n in NAMES}


def synthesised(
    clip: Clip,
    choice: tuple[str, str],
    settings: Settings,
    kept: int = PART,
    together: int = 1,
    checkpoint: Path | None = None,
) -> dict[int, Images]:
    """The first images of D4C with one of the `choices`, by iteration: `EARLIER` and the last.

    Args:
        clip: the CLIP and its tokenizer.
        choice: of temperature and names.
        settings: whose temperature is not used.
        kept: images.
        together, checkpoint: as for `paperlib.d4c.synthesis.synthesise_parts`.
    """
    temperature, names = choices(clip[0])[choice]
    last = settings.synthesis_iterations
    given = replace(settings, temperature=temperature), [Part(SEED, kept)], names, checkpoint
    earlier = [k for k in EARLIER if k < last]
    (done,) = synthesise_parts(*clip, *given, snapshots=earlier, together=together)
    return {k: done.snapshots[k] for k in earlier} | {last: done.images}


def accuracies(
    clip: Clip,
    sets: Mapping[tuple[str, str], Mapping[int, Images]],
    data: LabelledImages,
    dataset: str,
) -> Iterator[tuple[str, str, int, str, float]]:
    """Rows of `COLUMNS` from the third on: Top-1 (%) by what the images were made with."""
    for bits in (*BITS, *BESIDE):
        settings = Settings(**RANGES, **bit_widths(bits), reconstruction_iterations=0, seed=SEED)
        text_done = quantize_text(*clip, settings, zero_shot_task(dataset).templates)
        texts = task_features(text_done, clip[1], dataset)
        for choice, by_iteration in sets.items():
            for iterations, images in by_iteration.items():
                quantized = quantize_image(text_done, images)
                yield *choice, iterations, bits, 100 * top1(quantized, texts, data)


def load_pilot(file: Path = FILE) -> pd.DataFrame:
    """What the pilot measured: rows of `COLUMNS`; Top-1 in percent."""
    return pd.read_csv(file, dtype={"temperature": str})


def means(table: pd.DataFrame) -> pd.Series:
    """Mean Top-1 (%) that the rule compares, by temperature and names.

    Over encoders and `BITS`, of the images of the last iteration.

    Raises:
        ValueError: rows of several data sets; encoders with other last iterations.
    """
    tried = table[(table.iterations > 0) & table.bits.isin(BITS)]
    lasts = tried.groupby(["dataset", "encoder"]).iterations.max()
    if lasts.nunique() != 1 or tried.dataset.nunique() != 1:
        raise ValueError(f"one data set, made in as many iterations for each: {lasts.to_dict()}")
    last = tried[tried.iterations == lasts.iloc[0]]
    return last.groupby(["temperature", "names"], sort=False).top1.mean()


def chosen(table: pd.DataFrame) -> tuple[str, str]:
    """Temperature and names by the rule; rows of one data set and all encoders.

    Raises:
        ValueError: an encoder is missing; as `means`.
    """
    if missing := set(ENCODERS) - set(table.encoder):
        raise ValueError(f"the rule takes the mean over all encoders; missing: {sorted(missing)}")
    found = means(table)
    return found.idxmax() if found.max() > found[PAPER] + MARGIN else PAPER


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of both, but for those of a data set and encoder that is measured anew."""
    keys = ["dataset", "encoder"]
    again = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(new[keys]))
    return pd.concat([old[~again], new], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=LABELLED, default="openmoji")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--images", type=int, default=PART)
    parser.add_argument("--iterations", type=int, default=Settings.synthesis_iterations)
    parser.add_argument("--autocast", action="store_true", help="in bfloat16: faster on some CPUs")
    parser.add_argument("--together", type=int, default=1, help="mini-batches a pass")
    parser.add_argument("--file", type=Path, default=FILE, help="other rows of it are kept")
    parser.add_argument("--work", type=Path, help="folder that keeps an interrupted synthesis")
    options = parser.parse_args()
    rows = []
    kept, iterations = options.images, options.iterations
    settings = Settings(synthesis_iterations=iterations, synthesis_autocast=options.autocast)
    (data,) = load_draws(options.dataset, "test", TEST_IMAGES, 1, SEED)
    (real,) = load_draws(options.dataset, "train", kept, 1, SEED)
    for encoder, clip in load_encoders(options.dataset, options.encoders).items():
        sets = {}
        for method in ("real", "spectrum", "gaussian"):
            images = calibration_images(method, *clip, Settings(images=kept, seed=SEED), real)
            sets["none", method] = {0: images}
        for number, choice in enumerate(choices(clip[0])):
            unfinished = options.work and options.work / f"pilot-{encoder}-{number}.pt"
            sets[choice] = synthesised(clip, choice, settings, kept, options.together, unfinished)
            print(encoder, *choice, "made", flush=True)
        for row in accuracies(clip, sets, data, options.dataset):
            rows.append([options.dataset, encoder, *row])
            print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = merged(load_pilot(options.file), table) if options.file.exists() else table
    content = table.to_csv(index=False, float_format="%.2f", lineterminator="\n").encode()
    write_files({options.file: content})


if __name__ == "__main__":
    main()
