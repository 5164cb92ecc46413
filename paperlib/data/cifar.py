"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from whatever copy of them there is.

Four layouts are read, into the same arrays:

- the archive unpacked, ``cifar-10-batches-py/``, as torchvision leaves it;
- the published archive, ``cifar-10-python.tar.gz``, checked and read without unpacking;
- the hub's parquet files, ``train*.parquet`` and ``test*.parquet``, in the folder or below it;
- a folder an image class: ``train/<class>/*.png`` or ``*.jpg``.

A copy is looked for in `source`, else in ``$PAPERLIB_CIFAR10`` (``$PAPERLIB_CIFAR100``), else in
the cache of downloads; the first that is given decides and must hold the images. Only where none
is given and the cache is empty, the archive is downloaded.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from paperlib.data import LabelledImages
from paperlib.data.cifar_files import (
    Pixels,
    parquet_files,
    read_archive,
    read_batches,
    read_folder,
    read_parquet,
)
from paperlib.data.download import RemoteFile, check_file, fetch
from paperlib.paths import cache_dir

CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
    crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)


@dataclass(frozen=True)
class Edition:
    """How one of the two sets is published."""

    title: str
    classes: tuple[str, ...]
    archive: RemoteFile
    folder: str  # in the archive
    files: dict[str, tuple[str, ...]]  # of each split, in `folder`
    meta: str
    keys: tuple[str, str]  # of the labels in `files`, of the class names in `meta`
    column: str  # of the labels in the hub's files


EDITIONS = {
    "cifar10": Edition(
        "CIFAR-10",
        CIFAR10_CLASSES,
        RemoteFile(
            name="cifar-10-python.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            size=170498071,
            checksum="sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            environment="PAPERLIB_CIFAR10",
        ),
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        meta="batches.meta",
        keys=("labels", "label_names"),
        column="label",
    ),
    "cifar100": Edition(
        "CIFAR-100",
        CIFAR100_CLASSES,
        RemoteFile(
            name="cifar-100-python.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            size=169001437,
            checksum="sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            environment="PAPERLIB_CIFAR100",
        ),
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        meta="meta",
        keys=("fine_labels", "fine_label_names"),
        column="fine_label",
    ),
}


def load_cifar(name: str, split: str, source: Path | str | None = None) -> LabelledImages:
    """A split of CIFAR-10 or CIFAR-100 (fine labels), all of what the copy at hand has.

    Args:
        name: "cifar10" or "cifar100".
        split: "train" or "test".
        source: folder with a copy in one of the layouts above, or the archive itself.

    Returns:
        The split; `source` tells a lossless copy from one that went through JPEG.

    Raises:
        ValueError: unknown `name` or `split`; a damaged file (named, with the row).
        FileNotFoundError: the folder that was given does not hold the split.
        DownloadError: no copy was given, none is in the cache, and it cannot be fetched.
    """
    if name not in EDITIONS:
        raise ValueError(f"name={name!r}: valid are {', '.join(map(repr, EDITIONS))}")
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: valid are 'train' and 'test'")
    edition = EDITIONS[name]
    given = source or os.environ.get(edition.archive.environment)
    folder = Path(given).expanduser() if given else cache_dir() / name
    to_fetch = not given and (folder / edition.archive.name).exists()  # checks and replaces it
    pixels = None if to_fetch else _read(folder, edition, split)
    if pixels is None and given:
        raise FileNotFoundError(_nothing_found(folder, edition, split))
    if pixels is None:
        pixels = _read(fetch(edition.archive, folder), edition, split)
    return LabelledImages(
        images=torch.from_numpy(pixels.images),
        labels=torch.from_numpy(pixels.labels),
        classes=edition.classes,
        source=edition.title + (" (lossless)" if pixels.lossless else ", JPEG copy"),
        altered="" if pixels.lossless else "JPEG",
    )


def _read(source: Path, edition: Edition, split: str) -> Pixels | None:
    files, meta, keys = edition.files[split], edition.meta, edition.keys
    for folder in (source, source / edition.folder):
        if any((folder / file).is_file() for file in files):
            return read_batches(folder, files, meta, keys, edition.classes)
    for archive in (source, source / edition.archive.name):
        if archive.name == edition.archive.name and archive.is_file():
            check_file(archive, edition.archive)
            return read_archive(archive, edition.folder, files, meta, keys, edition.classes)
    if parquet := parquet_files(source, split):
        return read_parquet(parquet, edition.column, edition.classes)
    if (source / split).is_dir():
        return read_folder(source / split, edition.classes)
    return None


def _nothing_found(source: Path, edition: Edition, split: str) -> str:
    archive = edition.archive
    return (
        f"{source} {'has' if source.exists() else 'does not exist; it should have'} "
        f"{'no' if source.exists() else 'the'} {split} split of {edition.title}. Looked for:\n"
        f"  {edition.folder}/{edition.files[split][0]} (the archive unpacked)\n"
        f"  {archive.name} (the archive: {archive.size:,} bytes, from {archive.url})\n"
        f"  {split}*.parquet, here or in a folder below\n"
        f"  {split}/{edition.classes[0]}/*.png or *.jpg, a folder a class\n"
        f"The folder is named by the argument `source` or by {archive.environment}."
    )
