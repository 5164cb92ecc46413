"""Your own images: a folder with a folder a class, or parquet files with encoded images and labels.

In a folder, the classes are the names of its folders in their order, and the labels count from 0
as everywhere; where all names are whole numbers, they are the labels themselves. A parquet file
has the hub's columns, `img` or `image` = {bytes, path} and `label` or `fine_label`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet

from paperlib.data import LabelledImages, external
from paperlib.data.class_folders import SUFFIXES, class_samples
from paperlib.data.encoded import alteration
from paperlib.data.picture import is_hidden, open_picture
from paperlib.seeds import draws

DATASET = "own"
LABELS = ("label", "fine_label")


@dataclass(frozen=True)
class _Encoded:
    """Images as they stand in their files, each with its place and label."""

    places: Sequence[str]
    content: Sequence[Path | bytes]
    labels: Sequence[int]
    classes: tuple[str, ...]


def load_own(
    source: Path | str, count: int | None = None, size: int | None = None, seed: int = 0
) -> LabelledImages:
    """Images and labels of a folder or of parquet files, in RGB as `paperlib.data.picture` has it.

    Hidden files and folders are left out.

    Args:
        source: a folder of class folders, a parquet file, or a folder of parquet files.
        count: so many, drawn at random, or all if there are fewer, in the order of the draw, so
            that the first of them are a sample as well; None: all, by class.
        size: the shorter side is scaled to it and the middle cut out; None leaves the pixels.
        seed: of the draw.

    Raises:
        FileNotFoundError: there is nothing of that kind; with what is needed.
        ValueError: a file that cannot be read; images of several sizes and no `size`; a count or
            size below 1.
    """
    for name, value in (("count", count), ("size", size)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: whole numbers from 1 are valid")
    folder = Path(source).expanduser()
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    files = [file for file in files if not is_hidden(file, folder)]
    found = _tables(files) if files else _folders(folder)
    chosen = range(len(found.labels))
    if count is not None:
        chosen = draws(len(chosen), min(count, len(chosen)), 1, seed)[0].tolist()
    pixels, altered = [], set()
    for row in chosen:
        content = found.content[row]
        encoded = content if isinstance(content, bytes) else content.read_bytes()
        image = open_picture(io.BytesIO(encoded), found.places[row])
        pixels.append(np.asarray(image if size is None else _middle(image, size)))
        altered.add(alteration(encoded))
        if pixels[-1].shape != pixels[0].shape:
            sizes = " and ".join(f"{p.shape[1]} x {p.shape[0]}" for p in (pixels[0], pixels[-1]))
            raise ValueError(f"{folder} has images of {sizes}: give the size that all shall have")
    external.note(DATASET, files or [found.content[row] for row in chosen])
    return LabelledImages(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([found.labels[row] for row in chosen]),
        found.classes,
        folder.name,
        " and ".join(sorted(altered - {""})),
    )


def _folders(folder: Path) -> _Encoded:
    samples, names = class_samples(folder)
    if not samples:
        raise FileNotFoundError(
            f"{folder} has no images: needed are a folder a class with {', '.join(SUFFIXES)} "
            "files in it, or *.parquet with the columns image (bytes, path) and label"
        )
    paths, labels = zip(*samples, strict=True)
    if all(name.isdecimal() for name in names):
        labels = [int(names[label]) for label in labels]
        names = _numbered(max(labels) + 1)
    return _Encoded([str(path) for path in paths], paths, labels, names)


def _tables(files: Sequence[Path]) -> _Encoded:
    places, content, labels = [], [], []
    for file in files:
        try:
            table = parquet.read_table(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        image, label = (
            next((name for name in names if name in table.column_names), None)
            for names in (("img", "image"), LABELS)
        )
        if image is None or label is None:
            raise ValueError(
                f"{file} has the columns {', '.join(table.column_names)}; needed are 'img' or "
                f"'image', and {' or '.join(map(repr, LABELS))}"
            )
        cells = table.column(image).to_pylist()
        places += [f"{file}, row {row}" for row in range(len(cells))]
        cells = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]
        if odd := [cell for cell in cells if not isinstance(cell, bytes | None)]:
            raise ValueError(
                f"{file}: column {image!r} holds values of type {type(odd[0]).__name__}; needed "
                "are encoded images, the bytes of a PNG, JPEG or WebP"
            )
        content += [cell or b"" for cell in cells]
        labels += table.column(label).to_pylist()
    if not labels or not all(isinstance(label, int) and label >= 0 for label in labels):
        raise ValueError(f"{files[0]}: labels are needed that are whole numbers from 0")
    return _Encoded(places, content, labels, _numbered(max(labels) + 1))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _middle(image: Image.Image, size: int) -> Image.Image:
    """The middle square of an image whose shorter side has been scaled to `size`."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + size, top + size))
