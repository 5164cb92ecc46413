"""COCO 2017 (Lin et al. 2014): photographs with the masks of their objects.

Looked for in `source`, else in the folder that ``$PAPERLIB_COCO`` names, else in ``coco`` in the
cache of downloads: ``annotations/instances_val2017.json`` and the images in ``val2017/``, as the
published archives unpack, and so for ``train2017``. Crowd regions are left out, for their masks are
of no single object. Everything in the file of annotations is checked before it is drawn:
pycocotools, which is written in C, ends the process over a polygon or a size that is too large or
no number.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from pycocotools import mask as rasters

from paperlib.data import external
from paperlib.data.encoded import open_image
from paperlib.seeds import draws

PARTS = ("val2017", "train2017")
HELP = (
    "  file  val2017.zip, 815,585,330 bytes (816 MB)\n"
    "  from  http://images.cocodataset.org/zips/val2017.zip\n"
    "  file  annotations_trainval2017.zip, 252,907,541 bytes (253 MB)\n"
    "  from  http://images.cocodataset.org/annotations/annotations_trainval2017.zip\n"
    f"Unpack both into one folder and name it: {external.variable('coco')}=/path/to/folder"
)


@dataclass(frozen=True)
class SegmentedImage:
    """An image and the masks of its objects.

    Attributes:
        image: RGB, 0 to 255.
        masks: True where an object is seen, none of them empty.
    """

    image: UInt8[np.ndarray, "height width 3"]
    masks: Bool[np.ndarray, "objects height width"]


@dataclass(frozen=True)
class _Entry:
    """An image of the file of annotations, and what outlines its objects.

    An object is either polygons, of corners (x, y) in pixels, or the lengths of its runs of
    outside and inside in turn, down the columns.
    """

    name: str
    shape: tuple[int, int]
    objects: list[list[Float[np.ndarray, "corners 2"]] | list[int]]


def load_coco(
    count: int | None, seed: int, source: Path | None = None, part: str = "val2017"
) -> list[SegmentedImage]:
    """`count` images that have objects, drawn without replacement, the same for the same seed.

    Of all that the annotations name, in a random order, if `count` is None.

    Raises:
        FileNotFoundError: the annotations or an image are not there; with what to do.
        ValueError: unknown part, fewer than `count` images have objects, a file cannot be read, or
            an entry of the annotations is malformed; with its file and number.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r}: valid are {', '.join(PARTS)}")
    folder = external.place("coco", source)
    path = folder / "annotations" / f"instances_{part}.json"
    if not path.is_file():
        raise FileNotFoundError(f"COCO: no {path}\n{HELP}")
    try:
        entries = _entries(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not COCO's annotations of instances ({error})") from None
    usable = sorted(number for number, entry in entries.items() if entry.objects)
    if count is not None and not 1 <= count <= len(usable):
        raise ValueError(f"count={count}: {path} has {len(usable)} images with objects")
    external.note("coco", [path])
    found: list[SegmentedImage] = []
    for index in draws(len(usable), len(usable), 1, seed)[0]:
        each = _read(entries[usable[index]], folder / part)
        if len(each.masks):
            found.append(each)
        if len(found) == count:
            return found
    if count is None and found:
        return found
    raise ValueError(f"count={count}: {path} has {len(found)} images with masks that are not empty")


def _read(entry: _Entry, folder: Path) -> SegmentedImage:
    path = folder / entry.name
    if not path.is_file():
        raise FileNotFoundError(f"COCO: no {path}\n{HELP}")
    image = np.array(open_image(path, str(path), ("JPEG",)).convert("RGB"))
    external.note("coco", [path])
    if image.shape[:2] != entry.shape:
        raise ValueError(f"{path}: {image.shape[:2]} pixels, its masks have {entry.shape}")
    masks = (_mask(outline, entry.shape) for outline in entry.objects)
    kept = [mask for mask in masks if mask.any()]
    return SegmentedImage(image, np.array(kept, dtype=bool).reshape(-1, *entry.shape))


def _mask(
    outline: list[Float[np.ndarray, "corners 2"]] | list[int], shape: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    if isinstance(outline[0], int):
        runs = np.repeat(np.arange(len(outline)) % 2 == 1, outline)
        return runs.reshape(shape[::-1]).T
    polygons = [corners.flatten().tolist() for corners in outline]
    return rasters.decode(rasters.merge(rasters.frPyObjects(polygons, *shape))).astype(bool)


def _entries(content: Any) -> dict[int, _Entry]:
    """The images by number, checked.

    Raises:
        ValueError: an image or an annotation is malformed; with its number.
    """
    entries: dict[int, _Entry] = {}
    for number, image in _rows(content, "images", "id"):
        name, shape = image.get("file_name"), (image.get("height"), image.get("width"))
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
            raise ValueError(f"image {number}: file_name {name!r} is no name of a file")
        if not _whole(shape) or 0 in shape or shape[0] * shape[1] > Image.MAX_IMAGE_PIXELS:
            raise ValueError(
                f"image {number}: height and width {shape}, valid are whole numbers from 1 with a "
                f"product of at most {Image.MAX_IMAGE_PIXELS:,}"
            )
        entries[number] = _Entry(name, shape, [])
    for number, annotation in _rows(content, "annotations", "image_id"):
        place = f"annotation {annotation.get('id')!r}"
        crowd = annotation.get("iscrowd")
        if number not in entries:
            raise ValueError(f"{place}: there is no image {number}")
        if crowd not in (0, 1):
            raise ValueError(f"{place}: iscrowd {crowd!r}, valid are 0 and 1")
        if crowd == 0:
            entry = entries[number]
            try:
                entry.objects.append(_outline(annotation.get("segmentation"), entry.shape))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{place}: {error}") from None
    return entries


def _rows(content: Any, name: str, key: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """Rows of a table of the file, each with the number under its `key`."""
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"it has no list of {name}")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not _whole([row.get(key)]):
            raise ValueError(f"{name}, row {place}: it has no {key} that is a whole number")
        yield row[key], row


def _whole(numbers: Iterable[Any]) -> bool:
    """Whether these are whole numbers from 0."""
    return all(type(number) is int and number >= 0 for number in numbers)


def _outline(
    segmentation: Any, shape: tuple[int, int]
) -> list[Float[np.ndarray, "corners 2"]] | list[int]:
    """An object's polygons or runs; see `_Entry`.

    Raises:
        ValueError: it is neither, or does not fit the image.
        OverflowError: a whole number that no float can hold.
    """
    if isinstance(segmentation, dict):
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if size != list(shape):
            raise ValueError(f"runs of an image of {size}, this one has {list(shape)} pixels")
        counts = _unpacked(counts) if isinstance(counts, str) else counts
        if not isinstance(counts, list) or not _whole(counts):
            raise ValueError("lengths of runs are needed that are whole numbers from 0")
        if sum(counts) != shape[0] * shape[1]:
            raise ValueError(f"runs of {sum(counts)} pixels, the image has {shape[0] * shape[1]}")
        return counts
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has no segmentation: polygons or lengths of runs are needed")
    polygons = []
    for numbers in segmentation:
        if not isinstance(numbers, list) or len(numbers) < 6 or len(numbers) % 2:
            raise ValueError("a polygon has three corners or more, x and y of each")
        if not all(type(number) in (int, float) for number in numbers):
            raise ValueError("a corner of a polygon is no number")
        corners = np.array(numbers, dtype=np.float64).reshape(-1, 2)
        if not (abs(corners - np.array(shape[::-1]) / 2) <= 1.5 * max(shape)).all():  # NaN neither
            raise ValueError("a corner of a polygon lies far outside the image, or is not finite")
        polygons.append(corners)
    return polygons


def _unpacked(text: str) -> list[int]:
    """Lengths of runs from COCO's text of them.

    Five bits a character from "0" on, the lowest first, a sixth where more follow; from the fourth
    number on each is the difference to the one before the last.
    """
    counts: list[int] = []
    number = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 30:
            raise ValueError("the text of its runs is none of COCO's")
        number |= (code & 31) << bits
        bits += 5
        if not code & 32:
            number -= (code & 16) >> 4 << bits  # of a negative number
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = bits = 0
    return counts
