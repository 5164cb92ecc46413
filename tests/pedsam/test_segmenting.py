"""What notebook 7 measures over servers."""

import numpy as np
import pandas as pd
import pytest
import torch

from paperlib.data.coco import SegmentedImage
from paperlib.data.photographs import free_photograph
from paperlib.models.sam import load_sam
from paperlib.pedsam import segmenting
from paperlib.pedsam.segmenting import KEYS, WHOLE, Case
from paperlib.pedsam.small_sam.masks import box_prompt
from paperlib.pedsam.small_sam.segmentation import PROMPTS, draw_images, segment

EXACT, ONCE = Case("exact", "sam", "float32", 4), Case("pixels_once", "sam", "float32", 4)


def square(top, side=8):
    mask = np.zeros((16, 16), bool)
    mask[top : top + side, :side] = True
    return mask


@pytest.fixture
def images():
    """Two images, the first with two objects."""
    grey = np.full((16, 16, 3), 90, np.uint8)
    return [
        SegmentedImage(grey, np.stack([square(0), square(8)])),
        SegmentedImage(grey, square(4)[None]),
    ]


def everywhere(*masks):
    return {name: list(masks) for name in PROMPTS}


def test_cases_vary_one_thing_at_a_time():
    found = segmenting.cases("sam", ["sam-pixels_once"], (1, 4, 16))
    assert len(found) == len(set(found)) == 8
    assert {case.servers for case in found if case.schedule == "exact"} == {1, 4, 16}
    distilled = [case for case in found if case.weights != "sam"]
    assert [case.method for case in distilled] == ["pixels once, distilled"] * 2
    assert EXACT.method == "exact" and ONCE.method == "pixels once"


def test_tables_by_hand(images):
    true = everywhere(square(0), square(8), square(4))
    half = everywhere(square(0), square(8), square(4, 16))  # of the third, 8 × 8 of 12 × 16
    calls = pd.DataFrame({"image": [0, 1], "bytes_up": [10**6] * 2, "bytes_down": [0, 10**6]})
    whole = segmenting.baseline([true], [images])
    assert whole.loc[[*PROMPTS], 0].tolist() == [1, 1, 1]
    parts = [
        segmenting.measure(case, [found], calls, [true], [images])
        for case, found in ((EXACT, true), (ONCE, half))
    ]
    measured = pd.concat(parts, ignore_index=True)
    assert (measured["MB an image"] == 1.5).all()
    once = measured[measured.schedule == "pixels_once"]
    expected = (2 + 64 / 192) / 3
    assert once.IoU.to_numpy() == pytest.approx(expected)
    assert once["IoU with SAM's mask"].to_numpy() == pytest.approx(expected)
    lost = segmenting.losses(measured, whole)
    assert list(lost.index.names) == KEYS
    assert lost[0].tolist() == [0, pytest.approx(1 - expected)]
    bars = segmenting.bars(measured, whole)
    assert bars.case.unique().tolist() == [WHOLE, "exact, float32", "pixels once, float32"]
    assert bars.prompt.tolist() == [*PROMPTS] * 3 and bars.deviation.isna().all()


def test_the_largest_loss_is_that_of_the_worst_prompt(images):
    true = everywhere(square(0), square(8), square(4))
    bad = true | {"1 point": [~mask for mask in true["1 point"]]}
    calls = pd.DataFrame({"image": [0], "bytes_up": [0], "bytes_down": [0]})
    measured = segmenting.measure(EXACT, [bad], calls, [true], [images])
    assert segmenting.losses(measured, segmenting.baseline([true], [images]))[0].tolist() == [1]


def test_more_than_the_filled_box_or_less(images):
    """Over images: the first has two objects, the second one."""
    disc = (np.mgrid[-7.5:8, -7.5:8] ** 2).sum(0) < 40
    images = [images[0], SegmentedImage(images[0].image, disc[None])]
    right, ends = segmenting.over_filled_box([square(0), square(8), disc], images, 0)
    filled = disc.sum() / 12**2
    assert right == pytest.approx((1 - filled) / 3)
    assert ends == (0, pytest.approx(1 - filled))
    nothing = [np.zeros((16, 16), bool)] * 3
    assert segmenting.over_filled_box(nothing, images, 0)[1][1] < 0


def test_what_another_network_costs_is_said_of_the_worst_prompt(images):
    """Over images: by one point all is lost of the first, with two objects, of the other none."""
    true, half = everywhere(square(0), square(8), square(4)), everywhere(*3 * [square(4, 16)])
    lost = true | {"1 point": [~true["box"][0], ~true["box"][1], true["box"][2]]}
    table, ends = segmenting.at_stake(true, lost, images, 0)
    assert table.lost.tolist() == [0, pytest.approx(2 / 3), 0]
    assert table["IoU with SAM's mask"].tolist() == [1, pytest.approx(1 / 3), 1]
    assert ends == (0, 1)
    assert segmenting.at_stake(true, true, images, 0)[1] == (0, 0)
    table, _ = segmenting.at_stake(half, true, images, 0)  # SAM's own are not the true ones
    assert (table.lost < 0).all() and (table["not distilled"] == 1).all()
    assert table["IoU with SAM's mask"].to_numpy() == pytest.approx(table.SAM.to_numpy())
    assert (table.SAM < 0.5).all()


def test_the_worst_prompt_is_chosen_anew_in_each_resample(images):
    """One point fails on the first image, three points on the second."""
    true = everywhere(square(0), square(8), square(4))
    lost = true | {"1 point": [~true["box"][0], ~true["box"][1], true["box"][2]]}
    lost |= {"3 points": [*true["box"][:2], ~true["box"][2]]}
    assert segmenting.at_stake(true, lost, images, 0)[1] == (pytest.approx(2 / 3), 1)


def test_not_distilled_is_the_pixels_once_schedule():
    sam = load_sam("sam-small")
    (image,) = draw_images(1, 1)
    other, x = segmenting.not_distilled(sam), torch.from_numpy(image.image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        x = sam.preprocess(x.float())
        maps = sam.image_encoder.patch_embed(x) + sam.image_encoder.pos_embed
        for block in sorted(sam.image_encoder.blocks, key=lambda block: block.window_size == 0):
            maps = block(maps)
        expected = sam.image_encoder.neck(maps.permute(0, 3, 1, 2))
        assert other.image_encoder(x).allclose(expected, atol=1e-4)
        assert not sam.image_encoder(x).allclose(expected, atol=0.1)


def test_agreement_is_the_worst_of_four_servers():
    row = {"schedule": "exact", "weights": "sam", "format": "float32", "servers": 4, "draw": 0}
    rows = [row | {"IoU with SAM's mask": 0.9}, row | {"IoU with SAM's mask": 0.8}]
    rows += [row | {"servers": 16, "IoU with SAM's mask": 0.1}]
    rows += [row | {"draw": 1, "IoU with SAM's mask": 0.7}]
    rows += [row | {"schedule": "pixels_once", "IoU with SAM's mask": 0.2}]
    found = segmenting.agreement(pd.DataFrame(rows))
    assert found.loc[("exact", "sam")].tolist() == [0.8, 0.7]
    assert found.loc[("pixels_once", "sam"), 0] == 0.2


def test_draws_one_after_the_other(images):
    own = [everywhere(square(0), square(8), square(4)), everywhere(square(2))]
    other = SegmentedImage(images[0].image, square(2)[None])
    masks, all_images = segmenting.together(own, [images, [other]])
    assert all_images == [*images, other] and set(masks) == set(PROMPTS)
    assert [np.flatnonzero(mask[:, 0])[0] for mask in masks["box"]] == [0, 8, 4, 2]


def test_a_photograph_is_segmented_as_by_the_whole_sam():
    image, boxes = free_photograph("chelsea"), [(90, 10, 345, 290), (128, 82, 220, 156)]
    cases = segmenting.cases("sam-small", [], (1, 4))
    table, pixels = segmenting.photograph(cases, image, boxes)
    assert table.case.tolist() == [WHOLE, "exact", "pixels once"] * 2
    by_case = table.groupby("case").IoU.min()
    assert by_case[WHOLE] == 1 and by_case["exact"] > 0.999 and by_case["pixels once"] < 0.999
    assert pixels["image1"].shape == (213, 320, 3) and pixels["masks1"].shape == (3, 213, 320)
    corners = table.loc[3, ["x0", "y0", "x1", "y1"]].to_numpy(float)
    assert corners == pytest.approx(np.array(boxes[1]) * 320 / 451)
    eye = pixels["masks1"][0, 58:111, 91:156]  # its box, in pixels of the picture
    assert 0.3 < eye.mean() < 1 and pixels["masks1"][0].sum() < 1.2 * eye.sum()


def test_examples_take_the_first_object_of_each_image(images):
    true = everywhere(square(0), square(8), square(4))
    table, pixels = segmenting.examples({EXACT: true["box"]}, true["box"], images)
    assert table.case.tolist() == [WHOLE, "exact"] * 2 and (table.IoU == 1).all()
    assert table[["x0", "y0", "x1", "y1"]].iloc[2].tolist() == box_prompt(square(4)).tolist()
    np.testing.assert_array_equal(pixels["masks1"][1], square(4))
    assert all(array.dtype == np.uint8 for array in pixels.values())


def test_large_pictures_are_shrunk_with_their_prompts():
    mask = np.zeros((640, 480), bool)
    mask[100:300, 200:400] = True
    image = SegmentedImage(np.zeros((640, 480, 3), np.uint8), mask[None])
    table, pixels = segmenting.prompts_of(image)
    assert pixels["image"].shape == (320, 240, 3) and pixels["masks"].shape == (1, 320, 240)
    assert table.prompt.tolist() == ["box"] * 2 + ["1 point"] + ["3 points"] * 3
    assert table[["x", "y"]].iloc[0].tolist() == [100, 50]
    assert pixels["masks"][0, 60, 110] == 1 and pixels["masks"][0, 40, 110] == 0


def test_servers_answer_as_sam_does():
    sam, images = load_sam("sam-small"), draw_images(1, seed=3)
    case = Case("exact", "sam-small", "float32", 2)
    own = segment(sam, images)
    measured, boxes, calls = segmenting.segment_over_servers([case], [images], [own])
    assert [mask.shape for mask in boxes[case]] == [mask.shape for mask in own["box"]]
    assert (measured["IoU with SAM's mask"] > 0.99).all()
    assert calls[case].server.nunique() == 2 and set(calls[case].status) == {"OK"}
