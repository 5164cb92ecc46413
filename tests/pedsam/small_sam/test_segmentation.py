"""Draws of images with objects; answers through SamPredictor."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from paperlib.data.coco import SegmentedImage
from paperlib.models.sam import IMAGE, build_small_sam
from paperlib.pedsam.small_sam import segmentation
from paperlib.pedsam.small_sam.masks import box_prompt, mean_iou, point_prompts
from paperlib.pedsam.small_sam.segmentation import (
    SMALLEST,
    by_size,
    draw_images,
    filled_boxes,
    load_draws,
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


def test_draws_share_no_scene():
    drawn = load_draws("openmoji", 2, 2, seed=5)
    again, other = load_draws("openmoji", 2, 2, seed=5), load_draws("openmoji", 2, 1, seed=6)
    images = [each.image for each in (*drawn.images[0], *drawn.images[1], *other.images[0])]
    assert len({image.tobytes() for image in images}) == 6
    assert (again.images[1][1].image == drawn.images[1][1].image).all()
    assert drawn.scale == "2 images, 2 draws"


def test_draws_of_coco_share_no_photograph(monkeypatch):
    def photographs(count, seed):
        return [
            SegmentedImage(np.full((8, 8, 3), k, np.uint8), np.ones((1, 8, 8), bool))
            for k in range(count)
        ]

    monkeypatch.setattr(segmentation, "load_coco", photographs)
    drawn = load_draws("coco", 3, 4, seed=1)
    found = [[int(each.image[0, 0, 0]) for each in draw] for draw in drawn.images]
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert drawn.scale == "3 images, 4 draws"


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


def test_objects_by_cocos_classes_of_size():
    """32² and 96² pixels themselves are medium; the masks here are right, or their boxes."""
    sides, shape = (31, 32, 96, 97), (120, 130)
    masks = np.stack([rectangle((5, 5 + side), (9, 9 + side), shape) for side in sides])
    masks[0, 5:9, 9:25] = False  # of the box 31 × 31, which is filled, 64 pixels are too much
    image = SegmentedImage(np.zeros((*shape, 3), np.uint8), masks)
    table = by_size({"box": [*masks], "1 point": [*~masks]}, [image])
    assert table.objects.to_dict() == {"all": 4, "small": 1, "medium": 2, "large": 1}
    assert (table["box"] == 1).all() and (table["1 point"] == 0).all()
    assert table["filled box"].to_dict() == pytest.approx(
        {"small": 1 - 64 / 31**2, "medium": 1, "large": 1, "all": 1 - 16 / 31**2}
    )
    assert [*by_size({}, [SegmentedImage(image.image, masks[3:])]).index] == ["all", "large"]
    assert [mask.sum() for mask in filled_boxes([image])] == [side**2 for side in sides]


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
    assert mean_iou(ours, theirs) > 0.99
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
