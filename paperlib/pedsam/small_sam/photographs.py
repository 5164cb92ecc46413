"""What the small SAM is trained on beside drawn scenes: photographs with the masks of objects.

| source    | pictures                                                                           |
|-----------|------------------------------------------------------------------------------------|
| COCO      | each photograph of train2017 whole, padded as SAM pads, and `CROPS` squares of it  |
| pasted    | objects of COCO's train2017, moved and scaled, before photographs without masks    |
| segments  | squares of BSDS500's photographs, with the segments of one of their annotators     |

Objects that lie in front of others are cut out of these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy.io import loadmat
from torch import Tensor

from paperlib.cache import cached
from paperlib.data.coco import SegmentedImage, load_coco
from paperlib.data.photographs import find_photographs, read_photographs
from paperlib.data.picture import read_picture
from paperlib.models.sam import IMAGE, MEAN
from paperlib.pedsam.small_sam.masks import box_prompt
from paperlib.pedsam.small_sam.training_data import PADDING, Pool
from paperlib.runtime import progress
from paperlib.seeds import derive

CROPS = 2  # of a photograph, beside the whole: 43 % of COCO's objects are small only in the whole
SMALLEST = 4 / IMAGE**2  # share of a picture: a cell of the decoder's masks
LARGEST = 0.6  # share of a picture above which a segment is a background
PASTED = (1, 5)  # objects before a photograph without masks
SIDES = (5, 200)  # pixels: the root of a pasted object's area, in a picture of 320
Picture = tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True)
class Sources:
    """Where photographs lie.

    Attributes:
        coco: COCO's folder, of which train2017 is taken.
        plain: photographs without masks, a folder or a parquet file in the hub's layout.
        segments: BSDS500's folder, with ``images`` and ``groundTruth``.
        pasted: how many pictures have objects pasted before a photograph of `plain`.
    """

    coco: Path
    plain: Path
    segments: Path
    pasted: int

    def words(self) -> str:
        """For a card."""
        return (
            f"photographs of {self.coco.name} and {self.segments.name}, and {self.pasted:,} "
            f"pictures with objects of the first before photographs of {self.plain.name}"
        )


def load_photograph_pool(
    sources: Sources, seed: int, folder: Path | None = None, size: int = IMAGE
) -> Pool:
    """Photographs to train on, kept in `folder` if one is named.

    Raises:
        FileNotFoundError: a source is not there.
        ValueError: a file of it cannot be read.
    """
    decides = (seed, size, sources.pasted, [each.name for each in (sources.coco, sources.plain)])
    parts = cached(folder, partial(_draw_pool, sources, seed, size), *decides)
    return Pool(**parts, smallest=SMALLEST)


def _draw_pool(sources: Sources, seed: int, size: int) -> dict[str, UInt8[Tensor, "..."]]:
    draw = np.random.default_rng(derive(seed, "photographs"))
    coco = load_coco(None, derive(seed, "images"), sources.coco, "train2017")
    pictures: list[Picture] = []
    for each in progress(coco, "COCO"):
        whole = each.image, owners(each.masks)
        pictures += [padded(*whole, size), *_crops(whole, draw, size)]
    plain = [_square(np.asarray(image), IMAGE) for image in read_photographs(sources.plain)]
    for _ in progress(range(sources.pasted), "pasting"):
        # Enlarged only now: objects that are sharper than what is behind them give themselves away.
        pasted = paste(plain[draw.integers(len(plain))], coco, draw)
        pictures.append(_resized(*pasted, size, size))
    for path in progress(find_photographs(sources.segments), "BSDS500"):
        truth = loadmat(sources.segments / "groundTruth" / f"{path.stem}.mat")["groundTruth"][0]
        labels = truth[draw.integers(len(truth))]["Segmentation"][0, 0]
        masks = np.stack([labels == value for value in np.unique(labels)])
        masks = masks[masks.mean((1, 2)) < LARGEST]
        pictures += _crops((read_picture(path), owners(masks)), draw, size)
    images, numbers = (np.stack(part) for part in zip(*pictures, strict=True))
    keeps = ((numbers > 0) & (numbers < PADDING)).any((1, 2))
    return {
        "images": torch.from_numpy(images[keeps].transpose(0, 3, 1, 2).copy()),
        "objects": torch.from_numpy(numbers[keeps]),
    }


def owners(masks: Bool[np.ndarray, "objects height width"]) -> UInt8[np.ndarray, "height width"]:
    """Of every pixel the number of its object, from 1, the smaller one before the larger; else 0.

    Raises:
        ValueError: there are `PADDING` objects or more.
    """
    if len(masks) >= PADDING:
        raise ValueError(f"{len(masks)} objects in one picture: at most {PADDING - 1} are valid")
    found = np.zeros(masks.shape[1:], np.uint8)
    for number, place in enumerate(np.argsort(-masks.sum((1, 2)), kind="stable"), 1):
        found[masks[place]] = number
    return found


def padded(image: np.ndarray, numbers: np.ndarray, size: int) -> Picture:
    """The whole picture, its longer side of `size` pixels, at the top left as SAM pads it."""
    height, width = (max(1, round(size * side / max(numbers.shape))) for side in numbers.shape)
    canvas = np.tile(np.rint(MEAN).astype(np.uint8), (size, size, 1))
    whole = np.full((size, size), PADDING, np.uint8)
    canvas[:height, :width], whole[:height, :width] = _resized(image, numbers, width, height)
    return canvas, whole


def paste(
    ground: UInt8[np.ndarray, "size size 3"],
    sources: Sequence[SegmentedImage],
    draw: np.random.Generator,
) -> Picture:
    """Objects of some photographs before another: mirrored or not, of any size, anywhere."""
    image, size = ground.astype(np.float32), len(ground)
    numbers = np.zeros((size, size), np.uint8)
    for number in range(1, draw.integers(PASTED[0], PASTED[1] + 1) + 1):
        each = sources[draw.integers(len(sources))]
        mask = each.masks[draw.integers(len(each.masks))]
        left, top, right, bottom = box_prompt(mask).astype(int)
        box = np.s_[top : bottom + 1, left : right + 1]
        cut, mask = each.image[box], mask[box]
        if draw.integers(2):
            cut, mask = cut[:, ::-1], mask[:, ::-1]
        side = np.exp(draw.uniform(*np.log(SIDES))) * size / IMAGE
        factor = min(side / np.sqrt(mask.sum()), 1.5, size / max(mask.shape))
        height, width = (max(1, round(factor * length)) for length in mask.shape)
        cut, _ = _resized(np.ascontiguousarray(cut), mask.astype(np.uint8), width, height)
        cover = Image.fromarray(255 * mask.astype(np.uint8)).resize((width, height))
        alpha = np.asarray(cover, np.float32)[..., None] / 255
        top, left = draw.integers(size - height + 1), draw.integers(size - width + 1)
        place = np.s_[top : top + height, left : left + width]
        image[place] = alpha * cut + (1 - alpha) * image[place]
        numbers[place][alpha[..., 0] > 0.5] = number
    return np.rint(image).astype(np.uint8), numbers


def _crops(whole: Picture, draw: np.random.Generator, size: int) -> Iterator[Picture]:
    """Squares of half to all of the shorter side, anywhere."""
    image, numbers = whole
    for _ in range(CROPS):
        side = round(min(numbers.shape) * draw.uniform(0.5, 1))
        top, left = (draw.integers(length - side + 1) for length in numbers.shape)
        place = np.s_[top : top + side, left : left + side]
        yield _resized(image[place], numbers[place], size, size)


def _square(image: np.ndarray, size: int) -> UInt8[np.ndarray, "size size 3"]:
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    cut = image[top : top + side, left : left + side]
    return _resized(cut, np.zeros(cut.shape[:2], np.uint8), size, size)[0]


def _resized(image: np.ndarray, numbers: np.ndarray, width: int, height: int) -> Picture:
    """A picture, smoothly, and whose its pixels are, by the nearest one."""
    pixels = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    owned = Image.fromarray(numbers).resize((width, height), Image.Resampling.NEAREST)
    return np.array(pixels), np.array(owned)
