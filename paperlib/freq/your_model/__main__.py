"""The command: RCT, Occluded Frequency and their curves of your networks on your images.

    python -m paperlib.freq.your_model --model timm:resnet18=weights.pth --images folder --size 64

Names of networks are those of `paperlib.models.named`, images those of `paperlib.data.own`. With
several networks, or several checkpoints of one, all after the first are compared with it.
"""

import argparse
import sys
from pathlib import Path

from paperlib.data.own import load_own
from paperlib.freq import comparison
from paperlib.freq.tables import curve_table, map_table
from paperlib.freq.your_model import checks, plots
from paperlib.models.checkpoints import CheckpointError
from paperlib.models.classifier import NORMALISATIONS, first_look
from paperlib.models.named import load_named, titles
from paperlib.runtime import device, set_threads

KEYS = ["quantity", "model"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.freq.your_model", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--model", nargs="+", required=True, help="see paperlib.models.named")
    parser.add_argument("--images", type=Path, required=True, help="a folder, or parquet")
    parser.add_argument("--size", type=int, help="scale the shorter side, cut out the middle")
    parser.add_argument("--count", type=int, default=200, help="of images, drawn at random")
    parser.add_argument("--occluded", type=int, default=50, help="of these, for Occluded Frequency")
    parser.add_argument("--normalisation", choices=list(NORMALISATIONS), help="default: by library")
    parser.add_argument("--epsilon", type=float, default=8 / 255, help="of PGD, L∞")
    parser.add_argument("--steps", type=int, default=20, help="of PGD")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--components", action="store_true", help="each alone, whatever the size")
    how.add_argument("--bands", type=int, help="remove so many bands, whatever the size")
    parser.add_argument("--folder", type=Path, default=Path("your_model"), help="of the results")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_threads()
    try:
        report(options)
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")


def report(options: argparse.Namespace) -> None:
    """Measure, print, and write tables and figures.

    Whatever can be seen to be wrong is said before anything is measured.

    Raises:
        CheckpointError, FileNotFoundError, ValueError: as for the loaders, `Measuring` and `taken`.
    """
    settings = comparison.Measuring(
        occluded=options.occluded,
        bands=16 if options.bands is None else options.bands,
        components=True if options.components else False if options.bands else None,
        epsilon=options.epsilon,
        steps=options.steps,
        seed=options.seed,
    )
    names = titles(options.model)
    data = load_own(options.images, options.count, options.size, options.seed)
    images, labels = data.floats().to(device()), data.labels.to(device())
    height, width = images.shape[-2:]
    print(f"{len(data)} images of {data.source}, {height} x {width}", flush=True)
    settings = settings.fitting(images)
    if options.bands and settings.bands != options.bands:
        raise ValueError(f"--bands {options.bands}: these images have room for {settings.bands}")
    models = {
        title: load_named(name, options.normalisation, (height, width)).to(device())
        for name, title in names.items()
    }
    images = checks.taken(models, images, labels)
    if images.shape[1] == 1:
        print("the images are taken in grey, since a network has one input channel", flush=True)
    measured = {}
    for title, model in models.items():
        look = first_look(model, images, labels)
        print(f"{title}: accuracy {look.accuracy:.1%}", flush=True)
        for doubt in checks.doubts(model, images, labels, look):
            print(f"warning: {doubt}", flush=True)
        print(comparison.cost(model, images, settings), flush=True)
        measured[title] = comparison.measure(model, images, labels, settings)
    options.folder.mkdir(parents=True, exist_ok=True)
    table = comparison.summary(measured, images, settings)
    print(table.round(3).to_string())
    table.to_csv(options.folder / "summary.csv", index_label="model")
    for words in comparison.lacking(measured):
        print(words)
    rings, side = comparison.curves(measured, images, settings)
    if rings:
        table = curve_table(rings, side, settings.resamples, options.seed, KEYS)
        plots.write(plots.your_curves, table, options.folder)
    if maps := comparison.maps(measured, images, settings):
        plots.write(plots.your_maps, map_table(maps, KEYS), options.folder)
    if len(measured) > 1:
        apart = comparison.differences(measured, images, labels, data.classes, settings)
        print(apart[~apart.quantity.str.startswith("OF ")].round(3).to_string(index=False))
        plots.write(plots.your_differences, apart, options.folder)
    print(f"tables and figures are in {options.folder}")


if __name__ == "__main__":
    main()
