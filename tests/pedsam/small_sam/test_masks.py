"""IoU and prompts of masks by hand-made shapes."""

import numpy as np
import pytest
import torch

from paperlib.pedsam.small_sam.masks import box_prompt, iou, mean_iou, point_prompts


def rectangle(rows, columns, shape=(30, 50)):
    mask = np.zeros(shape, bool)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


def test_the_box_is_x_first_and_inside():
    assert box_prompt(rectangle((4, 10), (20, 33))).tolist() == [20, 4, 32, 9]
    assert box_prompt(rectangle((7, 8), (3, 4))).tolist() == [3, 7, 3, 7]


def test_the_first_point_is_farthest_inside():
    assert point_prompts(rectangle((5, 14), (20, 29)), 1).tolist() == [[24, 9]]
    two = rectangle((2, 5), (2, 5)) | rectangle((10, 25), (30, 45))
    assert point_prompts(two, 1).tolist() == [[37, 17]]


def test_the_edge_of_the_image_is_an_edge_of_the_object():
    """Else the farthest pixel of what fills the image would be anywhere."""
    assert point_prompts(np.ones((21, 21), bool), 1).tolist() == [[10, 10]]


def test_three_points_spread_over_the_object():
    long = rectangle((10, 19), (0, 49))
    points = point_prompts(long, 3)
    assert len({tuple(point) for point in points.tolist()}) == 3
    assert all(long[int(y), int(x)] for x, y in points)
    distances = [np.linalg.norm(points[a] - points[b]) for a, b in [(0, 1), (0, 2), (1, 2)]]
    assert min(distances) >= 4


@pytest.mark.parametrize("size", [1, 2])
def test_more_points_than_pixels(size):
    mask = rectangle((3, 4), (8, 8 + size))
    points = point_prompts(mask, 3)
    assert points.shape == (3, 2)
    assert all(mask[int(y), int(x)] for x, y in points)


@pytest.mark.parametrize("make", [box_prompt, lambda mask: point_prompts(mask, 1)])
def test_an_empty_mask_has_no_prompt(make):
    with pytest.raises(ValueError, match="mask is empty"):
        make(np.zeros((5, 5), bool))


def test_iou_by_hand():
    a, b = rectangle((0, 10), (0, 10)), rectangle((0, 10), (5, 15))
    nothing = np.zeros_like(a)
    pairs = torch.from_numpy(np.array([[a, a, a, nothing], [a, b, nothing, nothing]]))
    torch.testing.assert_close(iou(*pairs), torch.tensor([1, 50 / 150, 0, 1]))


def test_mean_iou_takes_masks_of_several_sizes():
    small, large = rectangle((0, 2), (0, 2), (4, 4)), rectangle((0, 10), (0, 10))
    assert mean_iou([small, large], [small, ~large]) == 0.5


def test_iou_needs_as_many_masks_of_either_kind():
    with pytest.raises(ValueError, match="shorter"):
        mean_iou([rectangle((0, 2), (0, 2))], [])
