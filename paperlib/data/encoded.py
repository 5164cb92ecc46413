"""Encoded images, and the hub's parquet files of them: decoded, checked, and told apart.

PNG, and WebP with a VP8L chunk, hold the pixels that were put in; JPEG and other WebP do not.
A file that is damaged is named, with the row where there is one.
"""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from jaxtyping import Int64, UInt8
from numpy import ndarray
from PIL import Image
from pyarrow import parquet

from paperlib.runtime import progress


class Pixels(NamedTuple):
    """Images of one size, RGB, 0 to 255, and their labels.

    `altered` says what the pixels went through, such as "JPEG"; "" if nothing was lost.
    """

    images: UInt8[ndarray, "n 3 size size"]
    labels: Int64[ndarray, " n"]
    altered: str


def open_image(
    file: Path | io.BytesIO, place: str, formats: Sequence[str], side: int | None = None
) -> Image.Image:
    """A decoded image of one of Pillow's `formats`.

    Its size stands in the header and is checked before anything is decoded.

    Args:
        file: its path or content.
        place: where it is, for the error.
        formats: names of Pillow.
        side: height and width in pixels that it must have, if any.

    Raises:
        ValueError: it is truncated, cannot be decoded, has more pixels than Pillow takes for a
            picture, or has another size; with `place`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(file, formats=formats)
        with opened as image:
            if side is None or image.size == (side, side):
                image.load()
                return image
            found = f"{image.width} x {image.height} {image.mode}"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{place}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        if "truncated" in str(error).lower():
            raise ValueError(f"{place}: the image is truncated: its file ends too early") from error
        names = f"{', '.join(formats[:-1])} or {formats[-1]}" if formats[1:] else formats[0]
        raise ValueError(f"{place}: not a {names} image that can be decoded") from error
    raise ValueError(f"{place}: {found} instead of {side} x {side} RGB")


def alteration(encoded: bytes) -> str:
    """How the encoding changes pixels: "JPEG", "WebP", or "" where it does not."""
    if encoded.startswith(b"\xff\xd8"):
        return "JPEG"
    if encoded[8:12] == b"WEBP" and b"VP8L" not in _chunks(encoded):
        return "WebP"
    return ""


def _chunks(riff: bytes) -> Iterator[bytes]:
    """Names of the chunks of a RIFF file: each has its size behind it, and an even length."""
    start = 12
    while start + 8 <= len(riff):
        yield riff[start : start + 4]
        size = int.from_bytes(riff[start + 4 : start + 8], "little")
        start += 8 + size + size % 2


def decode(
    encoded: Sequence[bytes | None],
    places: Iterable[str],
    size: int,
    name: str,
    grey: bool = False,
) -> tuple[UInt8[ndarray, "n 3 {size} {size}"], str]:
    """PNG, JPEG and WebP images of one size, and how they were altered.

    Args:
        encoded: the files' content.
        places: where each is, for the error.
        size: height and width in pixels.
        name: of all of them, for the progress bar.
        grey: whether grey images are taken too; their three channels are the same.

    Raises:
        ValueError: one of them cannot be decoded, or is not size × size RGB.
    """
    images = np.empty((len(encoded), size, size, 3), dtype=np.uint8)
    bar = progress(zip(encoded, places, strict=True), f"decoding {name}", total=len(encoded))
    altered = set()
    for row, (data, place) in enumerate(bar):
        image = open_image(io.BytesIO(data or b""), place, ("PNG", "JPEG", "WEBP"), size)
        if grey and image.mode == "L":
            image = image.convert("RGB")
        if image.mode != "RGB":
            raise ValueError(
                f"{place}: {size} x {size} {image.mode} instead of {size} x {size} RGB"
            )
        images[row] = np.asarray(image)
        altered.add(alteration(data))
    how = " and ".join(sorted(altered - {""}))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), how


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


def read_parquet(
    paths: Sequence[Path], label: str, classes: int, size: int, grey: bool = False
) -> Pixels:
    """The hub's layout: a column of encoded images and one of labels.

    Args:
        paths: the files, in order.
        label: name of the column of labels.
        classes: how many there are.
        size: height and width in pixels.
        grey: see `decode`.

    Raises:
        ValueError: a file is damaged or has other columns; a row has no RGB image of that size or
            a label out of range.
    """
    encoded: list[bytes | None] = []
    places: list[str] = []
    labels = []
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
        encoded += [cell.get("bytes") if isinstance(cell, dict) else None for cell in cells]
        places += [f"{path}, row {row}" for row in range(len(cells))]
        labels.append(check_labels(table.column(label).to_pylist(), classes, path))
    images, altered = decode(encoded, places, size, paths[0].parent.name, grey)
    return Pixels(images, np.concatenate(labels), altered)


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
