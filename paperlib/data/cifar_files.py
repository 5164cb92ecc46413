"""The four layouts in which CIFAR is passed on, each read into the same arrays.

Every reader returns the images (n, 3, 32, 32) uint8 RGB, the labels (n,) int64, and whether the
images are lossless. A file that is damaged is named, with the row where there is one.
"""

import io
import pickle
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from jaxtyping import Int64, UInt8
from numpy import ndarray
from PIL import Image
from pyarrow import parquet

from paperlib.runtime import progress

SIZE = 32
JPEG_START = b"\xff\xd8"


class Pixels(NamedTuple):
    """What a reader returns."""

    images: UInt8[ndarray, "n 3 32 32"]
    labels: Int64[ndarray, " n"]
    lossless: bool


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


def unpickle(data: bytes, name: Path | str) -> dict[str, Any]:
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


def read_batches(
    folder: Path, names: Sequence[str], meta: str, keys: tuple[str, str], classes: Sequence[str]
) -> Pixels:
    """The unpacked archive, as torchvision leaves it.

    Args:
        folder: holds the files.
        names: files of the split, in order.
        meta: file with the class names.
        keys: where the labels are in the batches, and the class names in `meta`.
        classes: the class names that are expected.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: one is damaged, or names other classes.
    """
    data = {}
    for name in (*names, meta):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing, the rest of {folder} is there")
        data[name] = (folder / name).read_bytes()
    return _join_batches(data, folder, names, meta, keys, classes)


def read_archive(
    path: Path,
    inside: str,
    names: Sequence[str],
    meta: str,
    keys: tuple[str, str],
    classes: Sequence[str],
) -> Pixels:
    """The published archive, read in memory: nothing is unpacked to disk.

    `inside` is the folder in the archive, the rest as in `read_batches`.
    """
    wanted = {f"{inside}/{name}": name for name in (*names, meta)}
    data = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and member.name in wanted:
                    data[wanted[member.name]] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    missing = [name for name in wanted.values() if name not in data]
    if missing:
        raise FileNotFoundError(f"{path} lacks {inside}/{missing[0]}")
    return _join_batches(data, path / inside, names, meta, keys, classes)


def _join_batches(
    data: dict[str, bytes],
    folder: Path,
    names: Sequence[str],
    meta: str,
    keys: tuple[str, str],
    classes: Sequence[str],
) -> Pixels:
    labels_key, names_key = keys
    found = unpickle(data[meta], folder / meta).get(names_key)
    if found is None or tuple(found) != tuple(classes):
        raise ValueError(f"{folder / meta}: {names_key} are not the classes {', '.join(classes)}")
    images, labels = [], []
    for name in names:
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
        labels.append(check_labels(numbers, len(classes), folder / name))
    return Pixels(np.concatenate(images), np.concatenate(labels), lossless=True)


def parquet_files(folder: Path, split: str) -> list[Path]:
    """The parquet files of a split in `folder` or below it, in order; empty where there are none.

    Raises:
        FileNotFoundError: one of several numbered files is missing.
        ValueError: more than one folder holds such files.
    """
    found = sorted(folder.rglob(f"{split}*.parquet"))
    if len({path.parent for path in found}) > 1:
        folders = ", ".join(sorted({str(path.parent) for path in found}))
        raise ValueError(f"{split}*.parquet is in more than one folder: {folders}; name one")
    numbered = re.search(r"-of-(\d+)", found[0].name) if found else None
    if numbered and len(found) != int(numbered[1]):
        raise FileNotFoundError(
            f"{found[0].parent} has {len(found)} of the {int(numbered[1])} files of "
            f"{split}*.parquet: {', '.join(path.name for path in found)}"
        )
    return found


def read_parquet(paths: Sequence[Path], label: str, classes: Sequence[str]) -> Pixels:
    """The hub's layout: a column of encoded images and one of labels.

    Args:
        paths: the files, in order.
        label: name of the column of labels.
        classes: the class names, in the order of the labels.

    Raises:
        ValueError: a file is damaged or has other columns; a row has no 32 x 32 RGB image or a
            label out of range.
    """
    images, labels, lossless = [], [], True
    for path in paths:
        try:
            table = parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        image = next((name for name in ("img", "image") if name in table.column_names), None)
        if image is None or label not in table.column_names:
            raise ValueError(
                f"{path} has the columns {', '.join(table.column_names)}; expected are "
                f"'img' or 'image', and {label!r}"
            )
        cells = table.column(image).to_pylist()
        encoded = [cell.get("bytes") if isinstance(cell, dict) else None for cell in cells]
        places = (f"{path}, row {row}" for row in range(len(encoded)))
        images.append(decode(encoded, places, path.name))
        labels.append(check_labels(table.column(label).to_pylist(), len(classes), path))
        lossless &= not any(data.startswith(JPEG_START) for data in encoded)
    return Pixels(np.concatenate(images), np.concatenate(labels), lossless)


def read_folder(folder: Path, classes: Sequence[str]) -> Pixels:
    """A folder of images a class, in the order of `classes`, then of the file names.

    Raises:
        FileNotFoundError: the folder of a class is missing or has no images.
        ValueError: a file is not a 32 x 32 RGB image.
    """
    paths, labels = [], []
    for index, name in enumerate(classes):
        files = sorted(
            path
            for path in (folder / name).glob("*")
            if path.suffix.lower() in (".png", ".jpg", ".jpeg")
        )
        if not files:
            raise FileNotFoundError(f"{folder / name} has no images (*.png, *.jpg)")
        paths += files
        labels += [index] * len(files)
    encoded = [path.read_bytes() for path in paths]
    images = decode(encoded, map(str, paths), str(folder))
    lossless = not any(data.startswith(JPEG_START) for data in encoded)
    return Pixels(images, np.array(labels, dtype=np.int64), lossless)


def decode(
    encoded: Sequence[bytes | None], places: Iterable[str], name: str
) -> UInt8[ndarray, "n 3 32 32"]:
    """Decode PNG or JPEG images; `places` name each for the error, `name` all for the bar.

    Raises:
        ValueError: one of them cannot be decoded, or is not 32 x 32 RGB.
    """
    images = np.empty((len(encoded), SIZE, SIZE, 3), dtype=np.uint8)
    bar = progress(zip(encoded, places, strict=True), f"decoding {name}", total=len(encoded))
    for row, (data, place) in enumerate(bar):
        try:
            image = Image.open(io.BytesIO(data or b""), formats=("PNG", "JPEG"))
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{place}: not a PNG or JPEG image that can be decoded") from error
        if image.size != (SIZE, SIZE) or image.mode != "RGB":
            raise ValueError(
                f"{place}: {image.width} x {image.height} {image.mode} instead of 32 x 32 RGB"
            )
        images[row] = np.asarray(image)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def check_labels(labels: Sequence[Any], classes: int, name: Path) -> Int64[ndarray, " n"]:
    """The labels as int64.

    Raises:
        ValueError: there are none, or one is not a whole number from 0 to `classes` - 1.
    """
    if not labels:
        raise ValueError(f"{name} has no rows")
    for row, label in enumerate(labels):
        if not isinstance(label, int | np.integer) or not 0 <= label < classes:
            raise ValueError(f"{name}, row {row}: label {label!r}, valid are 0 to {classes - 1}")
    return np.array(labels, dtype=np.int64)
