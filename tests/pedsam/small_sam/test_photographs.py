"""Photographs with masks that the small SAM is trained on."""

import json
import shutil
import sys

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from paperlib.data.coco import SegmentedImage
from paperlib.models.checkpoints import load_card
from paperlib.models.sam import (
    MEAN,
    PHOTOGRAPH_IMAGE,
    PHOTOGRAPH_WINDOW,
    DrawnBoxes,
    load_sam,
)
from paperlib.paths import CHECKPOINTS
from paperlib.pedsam.small_sam import photographs, training
from paperlib.pedsam.small_sam.photographs import (
    Sources,
    load_photograph_pool,
    owners,
    padded,
    paste,
)
from paperlib.pedsam.small_sam.training_data import PADDING


def rectangle(rows, columns, shape=(60, 90)):
    mask = np.zeros(shape, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.fixture
def sources(tmp_path):
    """COCO with a red square, plain blue photographs, and BSDS500 with two halves."""
    (tmp_path / "coco/annotations").mkdir(parents=True)
    entry = {"id": 1, "file_name": "1.jpg", "height": 60, "width": 90}
    corners = [[20.0, 10.0, 60.0, 10.0, 60.0, 50.0, 20.0, 50.0]]
    outline = {"id": 1, "image_id": 1, "segmentation": corners, "iscrowd": 0}
    content = {"images": [entry], "annotations": [outline]}
    path = tmp_path / "coco/annotations/instances_train2017.json"
    path.write_text(json.dumps(content))
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:50, 20:60, 0] = 255
    halves = np.repeat([[1, 2]], 45, axis=1).repeat(60, axis=0)
    halves[:30, :45] = 3
    truth = np.empty((1, 1), object)
    truth[0, 0] = {"Segmentation": halves.astype(np.uint16)}
    for place, image in (
        ("coco/train2017/1.jpg", pixels),
        ("plain/1.png", np.full((70, 50, 3), [0, 0, 200], np.uint8)),
        ("bsds/images/a.jpg", np.stack([70 * halves] * 3, 2).astype(np.uint8)),
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / place, **({"quality": 98} if "jpg" in place else {}))
    (tmp_path / "bsds/groundTruth").mkdir()
    scipy.io.savemat(tmp_path / "bsds/groundTruth/a.mat", {"groundTruth": truth})
    return Sources(tmp_path / "coco", tmp_path / "plain", tmp_path / "bsds", pasted=5)


def test_the_pool_has_every_source_and_its_masks_fit(sources):
    pool = load_photograph_pool(sources, seed=0, size=64)
    assert sources.words() == (
        "photographs of coco and bsds, and 5 pictures with objects of the first before "
        "photographs of plain"
    )
    assert len(pool.images) == len(pool.objects) == 1 + photographs.CROPS + 5 + photographs.CROPS
    red = pool.images[:, 0].float() - pool.images[:, 2]
    blue = pool.images[:, 2].float() - pool.images[:, 0]
    for number in range(1 + photographs.CROPS + 5):
        owned = (pool.objects[number] > 0) & (pool.objects[number] < PADDING)
        assert owned.any() and ((red[number] > 127) == owned).float().mean() > 0.9
    assert (blue[1 + photographs.CROPS :][:5].flatten(1).amax(1) > 150).all()
    halves = pool.objects[-photographs.CROPS :]
    assert set(halves.unique().tolist()) <= {1, 2, 3}
    again, other = (load_photograph_pool(sources, seed=seed, size=64) for seed in (0, 1))
    assert torch.equal(again.images, pool.images) and not torch.equal(other.images, pool.images)


def test_the_smaller_object_lies_in_front():
    large, small = rectangle((0, 40), (0, 40)), rectangle((10, 20), (10, 20))
    for masks in (np.stack([large, small]), np.stack([small, large])):
        found = owners(masks)
        assert (found[small] == 2).all() and (found[large & ~small] == 1).all()
        assert (found[~large] == 0).all()
    assert owners(np.zeros((0, 4, 4), bool)).max() == 0
    with pytest.raises(ValueError, match="255 objects in one picture: at most 254"):
        owners(np.zeros((255, 2, 2), bool))


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (1, 40)])
def test_a_whole_picture_is_padded_below_or_to_the_right(shape):
    image = np.full((*shape, 3), 7, np.uint8)
    picture, numbers = padded(image, np.ones(shape, np.uint8), 32)
    height, width = (max(1, round(32 * side / max(shape))) for side in shape)
    inside = numbers == 1
    assert inside[:height, :width].all() and inside.sum() == height * width
    assert (numbers[~inside] == PADDING).all() and (picture[inside] == 7).all()
    assert np.abs(picture[~inside] - np.array(MEAN)).max() < 0.51


def test_what_is_pasted_is_where_its_number_is(draw):
    red = np.zeros((60, 90, 3), np.uint8)
    red[..., 0] = 255
    source = SegmentedImage(
        red, np.stack([rectangle((0, 60), (0, 90)), rectangle((5, 9), (3, 60))])
    )
    sizes = []
    for _ in range(50):
        picture, numbers = paste(np.full((80, 80, 3), [0, 0, 200], np.uint8), [source], draw)
        owned = numbers > 0
        assert (picture[owned][:, 0] > 100).all() and (picture[~owned][:, 0] < 130).all()
        assert len(np.unique(numbers)) <= 1 + photographs.PASTED[1]
        sizes.append(owned.mean())
    assert min(sizes) < 0.03 and max(sizes) > 0.3


def test_the_command_goes_on_from_the_small_sam(sources, tmp_path, monkeypatch):
    """Its card names the sources without their places, and measures COCO's val2017."""
    sizes = {"image": PHOTOGRAPH_IMAGE, "window": PHOTOGRAPH_WINDOW}
    few = training.Recipe(2, 1e-3, images=2, scenes=2, boxed=1, pasted=3, muon=True, **sizes)
    monkeypatch.setattr(training, "RECIPES", {"sam-small-photographs": few})
    coco, out = sources.coco, tmp_path / "out"
    shutil.copytree(coco / "train2017", coco / "val2017")
    notes = coco / "annotations"
    shutil.copy(notes / "instances_train2017.json", notes / "instances_val2017.json")
    out.mkdir()
    for file in CHECKPOINTS.glob("sam-small.*"):
        shutil.copy(file, out)
    words = ["--name", "sam-small-photographs", "--start", "sam-small", "--test-images", "1"]
    words += ["--coco", str(coco), "--plain", str(sources.plain)]
    words += ["--segments", str(sources.segments), "--folder", str(out), "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    training.main()
    card = load_card("sam-small-photographs", out)
    assert card["start"]["sha256"] == load_card("sam-small")["sha256"]
    assert "--coco coco --plain plain --segments bsds" in card["command"]
    assert str(tmp_path) not in json.dumps(card) and "3 pictures with objects" in card["data"]
    found = card["test_photographs"]
    assert found["data"] == "COCO val2017, 1 photographs" and found["all"]["objects"] == 1
    assert found["all"]["filled box"] > 0.95  # its object is a square
    assert isinstance(load_sam("sam-small-photographs", out).prompt_encoder, DrawnBoxes)
