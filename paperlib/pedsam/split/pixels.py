"""Which pixels of a picture a window is made of, and how many some of them are together.

SAM resizes a picture to the side of its encoder, and that mixes pixels of a triangle's width into
each (`reach`): a window tells of a border around it, and in a small picture, which is enlarged, of
much more than its own part.
"""

from collections.abc import Collection, Iterable

import numpy as np
from jaxtyping import Bool
from segment_anything.utils.transforms import ResizeLongestSide

from paperlib.pedsam.split.partition import Box, WindowGrid


def reach(box: Box, source: Box, target: Box) -> Box:
    """The pixels of `target` that a box of `source` is made of, if that is `target` resized.

    A resized pixel is a mean of the pixels less than a radius from its middle, weighted by a
    triangle. The radius is one pixel of `source` where that is the smaller, else one of `target`;
    where their sizes are equal, each pixel is itself. So do Pillow and torch ("bilinear",
    antialiased), by which ``ResizeLongestSide`` of segment_anything resizes.

    Args:
        box: what lies outside `source` does not count.
        source, target: both show the same.

    Returns:
        A box in the coordinates of `target`; an empty one of an empty one.
    """
    ends: list[tuple[int, int]] = []
    for k in range(2):
        m, n = source[k + 2] - source[k], target[k + 2] - target[k]
        low, high = (min(max(side - source[k], 0), m) for side in box[k::2])
        if low >= high:
            return target[0], target[1], target[0], target[1]
        # the middle of pixel p lies at (2 p + 1) n / 2 m, and the radius is max(n, m) / m
        first = ((2 * low + 1) * n - 2 * max(n, m) - m) // (2 * m) + 1
        last = -(((1 - 2 * high) * n - 2 * max(n, m) + m) // (2 * m))
        ends.append((target[k] + max(0, first), target[k] + min(n, last)))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def resized(grid: WindowGrid, patch: int, height: int, width: int) -> tuple[int, int]:
    """Height and width in the encoder of what has these, in pixels."""
    return ResizeLongestSide.get_preprocess_shape(height, width, grid.tokens * patch)


def windows_in(grid: WindowGrid, patch: int, crop: Box) -> list[Box]:
    """The pixels of a picture that each window is made of, when this crop of it is encoded.

    Those of neighbouring windows overlap where the crop is resized. Where a window only fills up,
    the box is empty.
    """
    size = resized(grid, patch, crop[2] - crop[0], crop[3] - crop[1])
    return [reach(box, (0, 0, *size), crop) for box in grid.contents(*size, patch)]


class Canvas:
    """A picture cut along the sides of some boxes, so that what these cover is a few rectangles.

    Attributes:
        areas: pixels of each rectangle.
    """

    def __init__(self, boxes: Collection[Box]) -> None:
        sides = [sorted({side for box in boxes for side in box[k::2]}) for k in range(2)]
        self._rows, self._columns = ({side: n for n, side in enumerate(each)} for each in sides)
        self.areas = np.outer(*(np.diff(np.array(each, int)) for each in sides))

    def mask(self, boxes: Iterable[Box]) -> Bool[np.ndarray, "rows columns"]:
        """The rectangles in some of the boxes."""
        mask = np.zeros(self.areas.shape, bool)
        for top, left, bottom, right in boxes:
            rows = slice(self._rows[top], self._rows[bottom])
            mask[rows, self._columns[left] : self._columns[right]] = True
        return mask


def seen(boxes: Collection[Box]) -> int:
    """Pixels in some boxes, each counted once."""
    canvas = Canvas(boxes)
    return int(canvas.areas[canvas.mask(boxes)].sum())
