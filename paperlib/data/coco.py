"""COCO val2017 (Lin et al. 2014): photographs with the masks of their objects.

Looked for in `source`, else in the folder that ``$PAPERLIB_COCO`` names, else in ``coco`` in the
cache of downloads: ``annotations/instances_val2017.json`` and the images in ``val2017/``, as the
published archives unpack. Crowd regions are left out, for their masks are of no single object.
"""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools.coco import COCO

from paperlib.data import external
from paperlib.data.encoded import open_image
from paperlib.seeds import draws

ANNOTATIONS, IMAGES = "annotations/instances_val2017.json", "val2017"
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


def load_coco(count: int, seed: int, source: Path | None = None) -> list[SegmentedImage]:
    """`count` images that have objects, drawn without replacement, the same for the same seed.

    Raises:
        FileNotFoundError: the annotations or an image are not there; with what to do.
        ValueError: fewer than `count` images have objects, or a file cannot be read.
    """
    folder = external.place("coco", source)
    path = folder / ANNOTATIONS
    if not path.is_file():
        raise FileNotFoundError(f"COCO: no {path}\n{HELP}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
            coco = COCO(path)
        usable = sorted(
            {entry["image_id"] for entry in coco.dataset["annotations"] if not entry["iscrowd"]}
        )
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path}: not COCO's annotations of instances ({error!r})") from error
    if not 1 <= count <= len(usable):
        raise ValueError(f"count={count}: {path} has {len(usable)} images with objects")
    external.note("coco", [path])
    found: list[SegmentedImage] = []
    for index in draws(len(usable), len(usable), 1, seed)[0]:
        each = _read(coco, usable[index], folder / IMAGES)
        if len(each.masks):
            found.append(each)
        if len(found) == count:
            return found
    raise ValueError(f"count={count}: {path} has {len(found)} images with masks that are not empty")


def _read(coco: COCO, number: int, folder: Path) -> SegmentedImage:
    path = folder / coco.imgs[number]["file_name"]
    if not path.is_file():
        raise FileNotFoundError(f"COCO: no {path}\n{HELP}")
    image = np.array(open_image(path, str(path), ("JPEG",)).convert("RGB"))
    external.note("coco", [path])
    entries = coco.loadAnns(coco.getAnnIds(imgIds=[number], iscrowd=False))
    masks = [coco.annToMask(entry).astype(bool) for entry in entries]
    if any(mask.shape != image.shape[:2] for mask in masks):
        raise ValueError(f"{path}: {image.shape[:2]} pixels, its masks have {masks[0].shape}")
    kept = [mask for mask in masks if mask.any()]
    return SegmentedImage(image, np.array(kept, dtype=bool).reshape(-1, *image.shape[:2]))
