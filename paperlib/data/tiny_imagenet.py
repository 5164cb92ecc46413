"""Tiny ImageNet: photographs of 200 of ImageNet's classes, 64 × 64 pixels (Stanford CS231N).

Read from the hub's parquet files (`image` = {bytes, path}, `label`), ``train*.parquet`` and
``validation*.parquet``, and from ``classes.csv`` beside them, which gives each label's WordNet id
and names: the first is the class's, the others mean the same. They are looked for in `source`, else
in ``$PAPERLIB_TINY_IMAGENET``, else in the cache of downloads; nothing is downloaded. Some of its
photographs are grey.
"""

import csv
from pathlib import Path

import torch

from paperlib.data import LabelledImages, external
from paperlib.data.encoded import parquet_files, read_parquet

DATASET = "tiny_imagenet"
SIZE = 64
SPLITS = ("train", "validation")


def load_tiny_imagenet(split: str, source: Path | str | None = None) -> LabelledImages:
    """A split of Tiny ImageNet, all of what the copy at hand has.

    Args:
        split: one of `SPLITS`.
        source: folder with the parquet files and ``classes.csv``.

    Raises:
        ValueError: unknown `split`; a damaged file (named, with the row).
        FileNotFoundError: there is no such copy; with what it should hold and where it comes from.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: valid are {', '.join(map(repr, SPLITS))}")
    names = tiny_imagenet_names(source)
    folder = external.place(DATASET, source)
    paths = parquet_files(folder, split)
    if not paths:
        raise FileNotFoundError(_help(folder, f"{split}*.parquet"))
    external.note(DATASET, paths)
    pixels = read_parquet(paths, "label", len(names), SIZE, grey=True)
    return LabelledImages(
        images=torch.from_numpy(pixels.images),
        labels=torch.from_numpy(pixels.labels),
        classes=tuple(first for first, *_ in names),
        source="Tiny ImageNet",
        altered=pixels.altered,
    )


def tiny_imagenet_names(source: Path | str | None = None) -> tuple[tuple[str, ...], ...]:
    """WordNet's names of each class, the class's own first, in the order of the labels.

    Raises:
        FileNotFoundError: there is no ``classes.csv``.
        ValueError: it has other columns, a class without a name, or labels that do not count up
            from 0.
    """
    folder = external.place(DATASET, source)
    path = next(iter(sorted(folder.rglob("classes.csv"))), None)
    if path is None:
        raise FileNotFoundError(_help(folder, "classes.csv"))
    external.note(DATASET, [path])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"label", "names"} <= rows[0].keys():
        raise ValueError(f"{path}: expected are the columns label, wnid, names")
    if [row["label"] for row in rows] != [str(label) for label in range(len(rows))]:
        raise ValueError(f"{path}: labels are not 0, 1, 2, … in this order")
    names = [tuple(filter(None, map(str.strip, row["names"].split(",")))) for row in rows]
    if () in names:
        raise ValueError(f"{path}, label {names.index(())}: no name")
    return tuple(names)


def _help(folder: Path, file: str) -> str:
    return (
        f"{folder} has no {file} of Tiny ImageNet. Needed are\n"
        "  train*.parquet and validation*.parquet: columns image (bytes, path) and label; about "
        "150 MB with all of its 500 training images a class, as zh-plus/tiny-imagenet on the hub "
        "has them\n"
        "  classes.csv: label,wnid,names, from words.txt of http://cs231n.stanford.edu/"
        "tiny-imagenet-200.zip (248,100,043 bytes)\n"
        f"Name their folder: {external.variable(DATASET)}=/path/to/folder"
    )
