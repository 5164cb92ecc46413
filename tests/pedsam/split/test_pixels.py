"""A window is made of the pixels that change it, and of no others."""

import numpy as np
import pytest
from segment_anything.utils.transforms import ResizeLongestSide

from paperlib.models.sam import IMAGE, PATCH
from paperlib.pedsam.split.partition import WindowGrid
from paperlib.pedsam.split.pixels import reach, seen, windows_in


@pytest.mark.parametrize("size", [(7, 30), (33, 20), (500, 700), (320, 200)])
def test_a_pixel_is_read_by_the_windows_that_it_changes(size):
    """Through the function that SAM's predictor calls, in whole numbers of colour."""
    resize, grid = ResizeLongestSide(IMAGE), WindowGrid(20, 6)
    boxes = grid.contents(*resize.get_preprocess_shape(*size, IMAGE), PATCH)
    places = windows_in(grid, PATCH, (0, 0, *size))
    draw = np.random.default_rng(0)
    for y, x in zip(draw.integers(0, size[0], 60), draw.integers(0, size[1], 60), strict=True):
        picture = np.zeros((*size, 3), np.uint8)
        picture[y, x] = 255
        changed = resize.apply_image(picture).any(2)
        for (a, b, c, d), (top, left, bottom, right) in zip(boxes, places, strict=True):
            inside = top <= y < bottom and left <= x < right
            assert inside or not changed[a:c, b:d].any()


def test_boxes_reach_as_far_as_resizing_reads():
    assert reach((10, 20, 30, 40), (0, 0, 100, 100), (5, 5, 105, 105)) == (15, 25, 35, 45)
    assert reach((10, 20, 30, 40), (0, 0, 100, 100), (0, 0, 50, 200)) == (4, 39, 16, 81)
    assert reach((10, 20, 10, 40), (0, 0, 100, 100), (0, 0, 50, 50)) == (0, 0, 0, 0)
    assert reach((0, 0, 9, 9), (10, 0, 20, 20), (3, 4, 50, 50)) == (3, 4, 3, 4)  # beside it
    boxes = windows_in(WindowGrid(20, 6), PATCH, (0, 0, 203, 320))
    assert sum(seen([box]) for box in boxes) == seen(boxes) == 203 * 320  # nothing is resized
    boxes = windows_in(WindowGrid(20, 6), PATCH, (0, 0, 417, 657))
    assert seen(boxes) == 417 * 657 < sum(seen([box]) for box in boxes)
