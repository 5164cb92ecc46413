"""Prompts from masks by hand-made shapes; answers through SamPredictor."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from paperlib.data.coco import SegmentedImage
from paperlib.models.sam import IMAGE, build_small_sam
from paperlib.pedsam.small_sam.segmentation import (
    SMALLEST,
    box_prompt,
    draw_images,
    iou,
    load_draws,
    point_prompts,
    replace_encoder,
    segment,
    true_masks,
)
from paperlib.pedsam.split.encoder import PartitionedEncoder


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_small_sam()


@pytest.fixture(scope="module")
def scenes():
    return draw_images(3, seed=5)


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
    found = iou([a, a, a, nothing], [a, b, nothing, nothing])
    np.testing.assert_allclose(found, [1, 50 / 150, 0, 1])


def test_iou_needs_as_many_masks_of_either_kind():
    with pytest.raises(ValueError, match="shorter"):
        iou([rectangle((0, 2), (0, 2))], [])


def test_draws_share_no_scene():
    drawn = load_draws("openmoji", 2, 2, seed=5)
    again, other = load_draws("openmoji", 2, 2, seed=5), load_draws("openmoji", 2, 1, seed=6)
    images = [each.image for each in (*drawn.images[0], *drawn.images[1], *other.images[0])]
    assert len({image.tobytes() for image in images}) == 6
    assert (again.images[1][1].image == drawn.images[1][1].image).all()
    assert drawn.scale == "2 images, 2 draws"


def test_remains_of_objects_are_no_targets():
    scenes = draw_images(40, seed=0, size=64)
    areas = np.concatenate([each.masks.mean((1, 2)) for each in scenes])
    assert areas.min() >= SMALLEST
    assert scenes[0].image.shape == (64, 64, 3)


def test_answers_are_those_of_the_predictor(sam, scenes):
    answers = segment(sam, scenes)
    predictor, k = SamPredictor(sam), 0
    for each in scenes:
        predictor.set_image(each.image)
        for mask in each.masks:
            box = predictor.predict(box=box_prompt(mask), multimask_output=False)[0][0]
            np.testing.assert_array_equal(answers["box"][k], box)
            three, one = point_prompts(mask, 3), point_prompts(mask, 1)
            alone = predictor.predict(three, np.array([1, 1, 1]), multimask_output=False)[0][0]
            np.testing.assert_array_equal(answers["3 points"][k], alone)
            masks, scores, _ = predictor.predict(one, np.array([1]), multimask_output=True)
            np.testing.assert_array_equal(answers["1 point"][k], masks[scores.argmax()])
            k += 1
    assert k == len(answers["box"]) == len(true_masks(scenes))


def test_images_of_several_sizes(sam):
    shapes = [(90, 200), (300, 180)]
    images = [
        SegmentedImage(
            np.full((*shape, 3), 90, np.uint8), rectangle((9, 60), (20, 99), shape)[None]
        )
        for shape in shapes
    ]
    assert [mask.shape for mask in segment(sam, images, ["box"])["box"]] == shapes


def test_another_encoder_in_the_same_sam(sam, scenes):
    split = replace_encoder(sam, PartitionedEncoder(sam.image_encoder))
    ours, theirs = (segment(each, scenes[:1], ["box"])["box"] for each in (split, sam))
    assert iou(ours, theirs).min() > 0.99
    assert split.mask_decoder is sam.mask_decoder
    assert torch.equal(split.pixel_mean, sam.pixel_mean)
    other = replace_encoder(sam, PartitionedEncoder(sam.image_encoder, schedule="pixels_once"))
    assert not split.training
    x = torch.randn(1, 3, IMAGE, IMAGE)
    with torch.no_grad():
        assert (other.image_encoder(x) - split.image_encoder(x)).abs().max() > 1e-2


def test_wrong_names_are_told_the_valid_ones(sam, scenes):
    with pytest.raises(ValueError, match="prompts .'text'. are unknown: valid are box, 1 point"):
        segment(sam, scenes, ["text"])
    with pytest.raises(ValueError, match="dataset='voc': valid are openmoji, coco"):
        load_draws("voc", 1, 1, 0)
