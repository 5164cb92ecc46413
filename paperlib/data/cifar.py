"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from whatever copy of them there is.

Four layouts are read, into the same arrays:

- the archive unpacked, ``cifar-10-batches-py/``, as torchvision leaves it;
- the published archive, ``cifar-10-python.tar.gz``, checked and read without unpacking;
- the hub's parquet files, ``train*.parquet`` and ``test*.parquet``, in the folder or below it;
- a folder an image class: ``train/<class>/*.png``, ``*.jpg`` or ``*.webp``.

A copy is looked for in `source`, else in ``$PAPERLIB_CIFAR10`` (``$PAPERLIB_CIFAR100``), else in
the cache of downloads; the first that is given decides and must hold the images. Only where none
is given and the cache is empty, the archive is downloaded.
"""

import io
import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from paperlib.data import LabelledImages, external
from paperlib.data.download import RemoteFile, check_file, fetch
from paperlib.data.encoded import Pixels, check_labels, decode, parquet_files, read_parquet
from paperlib.names import DATASETS

SIZE = 32
WHOLE = {"train": 50_000, "test": 10_000}  # images of a split as published
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

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
    meta: str  # file with the names of the classes, in `folder`
    kind: str = ""  # of the labels, before "label" in every name


def _archive(name: str, file: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, file, f"https://www.cs.toronto.edu/~kriz/{file}", size, sha256)


EDITIONS = {
    "cifar10": Edition(
        DATASETS["cifar10"],
        CIFAR10_CLASSES,
        _archive(
            "cifar10",
            "cifar-10-python.tar.gz",
            170498071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        meta="batches.meta",
    ),
    "cifar100": Edition(
        "CIFAR-100",
        CIFAR100_CLASSES,
        _archive(
            "cifar100",
            "cifar-100-python.tar.gz",
            169001437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        meta="meta",
        kind="fine_",
    ),
}


def load_cifar(name: str, split: str, source: Path | str | None = None) -> LabelledImages:
    """A split of CIFAR-10 or CIFAR-100 (fine labels), all of what the copy at hand has.

    Args:
        name: "cifar10" or "cifar100".
        split: "train" or "test".
        source: folder with a copy in one of the layouts above, or the archive itself.

    Returns:
        The split; `altered` tells a copy that went through JPEG or lossy WebP from a lossless one,
        and `source` says how many of the published images the copy has.

    Raises:
        ValueError: unknown `name` or `split`; a damaged file (named, with the row).
        FileNotFoundError: the folder that was given does not hold the split.
        DownloadError: no copy was given, none is in the cache, and it cannot be fetched.
    """
    if name not in EDITIONS:
        raise ValueError(f"name={name!r}: valid are {', '.join(map(repr, EDITIONS))}")
    if split not in WHOLE:
        raise ValueError(f"split={split!r}: valid are 'train' and 'test'")
    edition = EDITIONS[name]
    given, place = external.given(name, source), external.place(name, source)
    to_fetch = not given and (place / edition.archive.name).exists()  # checks and replaces it
    pixels = None if to_fetch else _read(place, edition, split)
    if pixels is None and given:
        raise FileNotFoundError(_nothing_found(place, edition, split))
    if pixels is None:
        pixels = _read(fetch(edition.archive), edition, split)
    found = len(pixels.labels)
    how = f"{pixels.altered} copy" if pixels.altered else "lossless"
    part = "" if found == WHOLE[split] else f", {found:,} of {WHOLE[split]:,} {split} images"
    return LabelledImages(
        images=torch.from_numpy(pixels.images),
        labels=torch.from_numpy(pixels.labels),
        classes=edition.classes,
        source=f"{edition.title} ({how}{part})",
        altered=pixels.altered,
    )


def _read(source: Path, edition: Edition, split: str) -> Pixels | None:
    """The split in whichever layout `source` has; None if it has none."""
    for read in (_read_batches, _read_archive, _read_parquet, _read_folder):
        pixels = read(source, edition, split)
        if pixels is not None:
            return pixels
    return None


def _read_batches(source: Path, edition: Edition, split: str) -> Pixels | None:
    """The unpacked archive, as torchvision leaves it."""
    names = (*edition.files[split], edition.meta)
    for folder in (source, source / edition.folder):
        there = [name for name in names if (folder / name).is_file()]
        if not set(there) & set(edition.files[split]):
            continue
        if missing := sorted(set(names) - set(there)):
            raise FileNotFoundError(f"{folder / missing[0]} is missing, the rest is there")
        files = [folder / name for name in names]
        external.note(edition.archive.dataset, files)
        return _join({path.name: path.read_bytes() for path in files}, folder, edition, split)
    return None


def _read_archive(source: Path, edition: Edition, split: str) -> Pixels | None:
    """The published archive, read in memory: nothing is unpacked to disk."""
    name = edition.archive.name
    path = source if source.name == name else source / name
    if not path.is_file():
        return None
    check_file(path, edition.archive)
    names = (*edition.files[split], edition.meta)
    wanted = {f"{edition.folder}/{name}": name for name in names}
    try:
        with tarfile.open(path, "r:gz") as archive:
            data = {
                wanted[member.name]: archive.extractfile(member).read()
                for member in archive
                if member.isfile() and member.name in wanted
            }
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if missing := [name for name in names if name not in data]:
        raise FileNotFoundError(f"{path} lacks {edition.folder}/{missing[0]}")
    external.note(edition.archive.dataset, [path])
    return _join(data, path / edition.folder, edition, split)


def _read_parquet(source: Path, edition: Edition, split: str) -> Pixels | None:
    """The hub's files."""
    paths = parquet_files(source, split)
    external.note(edition.archive.dataset, paths)
    label = f"{edition.kind}label"
    return read_parquet(paths, label, len(edition.classes), SIZE) if paths else None


def _read_folder(source: Path, edition: Edition, split: str) -> Pixels | None:
    """A folder of images a class, in the order of the classes, then of the file names."""
    folder = source / split
    if not folder.is_dir():
        return None
    paths, labels = [], []
    for index, name in enumerate(edition.classes):
        files = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise FileNotFoundError(f"{folder / name} has no images (*.png, *.jpg, *.webp)")
        paths += files
        labels += [index] * len(files)
    external.note(edition.archive.dataset, paths)
    images, altered = decode([p.read_bytes() for p in paths], map(str, paths), SIZE, str(folder))
    return Pixels(images, np.array(labels, dtype=np.int64), altered)


def _join(data: dict[str, bytes], folder: Path, edition: Edition, split: str) -> Pixels:
    """The batches of a split, and their labels; `data` are the files in `folder` by name."""
    labels_key, names_key = f"{edition.kind}labels", f"{edition.kind}label_names"
    meta = folder / edition.meta
    if tuple(unpickle(data[edition.meta], meta).get(names_key) or ()) != edition.classes:
        raise ValueError(f"{meta}: {names_key} are not the classes {', '.join(edition.classes)}")
    images, labels = [], []
    for name in edition.files[split]:
        batch = unpickle(data[name], folder / name)
        pixels, numbers = batch.get("data"), batch.get(labels_key)
        if not isinstance(pixels, ndarray) or not isinstance(numbers, list):
            raise ValueError(f"{folder / name} has no 'data' array or no {labels_key!r} list")
        if pixels.dtype != np.uint8 or pixels.shape != (len(numbers), 3 * SIZE * SIZE):
            raise ValueError(
                f"{folder / name}: 'data' is {pixels.dtype} {pixels.shape} instead of uint8 "
                f"({len(numbers)}, {3 * SIZE * SIZE})"
            )
        images.append(pixels.reshape(-1, 3, SIZE, SIZE))
        labels.append(check_labels(numbers, len(edition.classes), folder / name))
    return Pixels(np.concatenate(images), np.concatenate(labels), altered="")


class _Unpickler(pickle.Unpickler):
    """Unpickles arrays and plain containers, and refuses to call anything else."""

    allowed = {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no CIFAR file does")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(data: bytes, name: Path) -> dict[str, Any]:
    """The dictionary in one of the published files; nothing in it is executed.

    Raises:
        ValueError: damaged, no dictionary, or a pickle that calls anything but numpy's arrays.
    """
    try:
        content = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds a {type(content).__name__} instead of a dictionary")
    return content


def _nothing_found(source: Path, edition: Edition, split: str) -> str:
    archive = edition.archive
    return (
        f"{source} {'has' if source.exists() else 'does not exist; it should have'} "
        f"{'no' if source.exists() else 'the'} {split} split of {edition.title}. Looked for:\n"
        f"  {edition.folder}/{edition.files[split][0]} (the archive unpacked)\n"
        f"  {archive.name} (the archive: {archive.size:,} bytes, from {archive.url})\n"
        f"  {split}*.parquet, here or in a folder below\n"
        f"  {split}/{edition.classes[0]}/*.png, *.jpg or *.webp, a folder a class\n"
        f"The folder is named by the argument `source` or by {external.variable(archive.dataset)}."
    )
