"""Detectors from files: what they make of the networks' outputs, and files that are none of them.

Most tests take files written here (the fixture `detectors`), which have the true inputs and outputs
and find what is blue. Those that need the published files run where ``$PAPERLIB_DETECTORS`` names
their folder, the one on annotated photographs where ``$PAPERLIB_COCO`` names COCO's too.
"""

import json
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from skimage import data
from torchvision.ops import box_iou

from paperlib.data import external
from paperlib.data.picture import read_picture
from paperlib.pedsam.attacks.detection import right
from paperlib.pedsam.attacks.detectors import (
    CATEGORIES,
    ENVIRONMENT,
    NANODET_BOXES,
    NANODET_SCORES,
    NETWORKS,
    STRIDES,
    Found,
    distances,
    find_faces,
    load_detectors,
    sizes,
)

BLUE = (0, 0, 255)


@pytest.fixture(scope="module")
def published():
    if external.given("detectors") is None:
        pytest.skip(f"${ENVIRONMENT} names no folder of the published detectors")
    return load_detectors()


def test_categories_are_coco_s_eighty_in_their_order():
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 80
    first, last = ("person", "bicycle", "car"), ("teddy bear", "hair drier", "toothbrush")
    assert CATEGORIES[:3] == first and CATEGORIES[-3:] == last


def test_boxes_of_nanodet_by_hand():
    """One cell a stride, its distances in one bin each, or halfway between two."""
    outputs = {}
    for stride, score, box in zip(STRIDES, NANODET_SCORES, NANODET_BOXES, strict=True):
        cells = (416 // stride) ** 2
        outputs |= {score: torch.zeros(cells, 80), box: torch.zeros(cells, 32)}
    row, column, side = 3, 5, 416 // 16
    cell = row * side + column
    outputs["814"][cell, 17] = 0.9
    z = torch.full((4, 8), -1000.0)
    z[0, 0] = z[1, 1] = z[2, 7] = z[3, 2] = z[3, 3] = 0
    outputs["817"][cell] = z.flatten()
    boxes, scores = distances(outputs)
    where = (416 // 8) ** 2 + cell
    x, y = 16 * 5.5, 16 * 3.5
    torch.testing.assert_close(
        boxes[where], torch.tensor([x, y - 16, x + 7 * 16, y + 2.5 * 16]), rtol=0, atol=1e-4
    )
    assert scores.shape == (2704 + 676 + 169, 80) and scores.nonzero().tolist() == [[where, 17]]
    torch.testing.assert_close(boxes[0], torch.tensor([4.0 - 28, 4 - 28, 4 + 28, 4 + 28]))


def test_boxes_of_yunet_by_hand():
    outputs = {
        f"{name}_{s}": torch.zeros((320 // s) ** 2, values)
        for name, values in {"cls": 1, "obj": 1, "bbox": 4}.items()
        for s in STRIDES
    }
    cell = 2 * 10 + 7  # of the map of stride 32
    outputs["cls_32"][cell], outputs["obj_32"][cell] = 0.9, 1.6  # above 1 counts as 1
    outputs["bbox_32"][cell] = torch.tensor([0.25, -0.5, math.log(2), math.log(3)])
    boxes, scores = sizes(outputs)
    where = 1600 + 400 + cell
    x, y = 32 * 7.25, 32 * 1.5
    expected = torch.tensor([x - 32, y - 48, x + 32, y + 48])
    torch.testing.assert_close(boxes[where], expected, rtol=0, atol=1e-3)
    assert scores.nonzero().tolist() == [[where, 0]]
    assert scores[where].item() == pytest.approx(math.sqrt(0.9))


@pytest.mark.parametrize("shape", [(208, 416), (416, 208), (104, 52), (832, 832)])
def test_boxes_are_in_the_picture_s_own_pixels(detectors, shape):
    """A blue square of 8 × 8 pixels of the network's input, in pictures of any size."""
    scale = 416 / max(shape)
    picture = np.zeros((*shape, 3), np.uint8)
    edge = round(8 / scale)
    top, left = 4 * edge, 3 * edge
    picture[top : top + edge, left : left + edge] = BLUE
    found = load_detectors(detectors)["objects"](picture, least=0.3)
    assert len(found) == 1 and found.kinds.tolist() == [0]
    share = min(1, 1 - (scale - 1) / 2 / scale)  # of the square in what is interpolated, a side
    assert found.scores.item() == pytest.approx(share**2, abs=0.001)
    x, y = left / edge + 0.5, top / edge + 0.5  # of the cell's centre, in cells
    box = [(x - 3.5) * edge, (y - 3.5) * edge, (x + 3.5) * edge, (y + 3.5) * edge]
    limits = [shape[1], shape[0]] * 2
    expected = torch.tensor(box).clamp(min=0).minimum(torch.tensor(limits))
    torch.testing.assert_close(found.boxes[0], expected, rtol=0, atol=1e-3)


def test_colours_are_in_the_networks_order_and_scaled(detectors):
    """Red or green of a picture is no blue; what is as sure as the threshold is found."""
    for detect in load_detectors(detectors).values():
        for colour in [(255, 0, 0), (0, 255, 0), (255, 255, 0), (0, 0, 0)]:
            assert len(detect(np.full((64, 64, 3), colour, np.uint8))) == 0
        for shade in (50, 200):
            found = detect(np.full((64, 64, 3), (0, 0, shade), np.uint8), least=0.1)
            assert found.scores.tolist() == pytest.approx([shade / 255] * len(found), abs=1e-3)
        sure, unsure = round(255 * detect.network.least) + 2, round(255 * detect.network.least) - 2
        assert len(detect(np.full((64, 64, 3), (0, 0, sure), np.uint8))) > 0
        assert len(detect(np.full((64, 64, 3), (0, 0, unsure), np.uint8))) == 0


def test_of_boxes_that_overlap_the_surest_stays(detectors):
    detect = load_detectors(detectors)["objects"]
    picture = np.zeros((416, 416, 3), np.uint8)
    picture[80:88, 80:88], picture[80:88, 88:96] = BLUE, (0, 0, 200)  # IoU 48 / 64 = .75
    picture[80:88, 240:248], picture[80:88, 264:272] = BLUE, (0, 0, 200)  # 32 / 80 = .4
    found = detect(picture)
    assert sorted(found.scores.tolist()) == pytest.approx([200 / 255, 1, 1], abs=1e-3)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_files_that_are_missing_or_of_another_network_are_named(detectors, tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(FileNotFoundError, match=f"nanodet_m.onnx and .*{ENVIRONMENT}=/path"):
        load_detectors()
    first, second = (network.file for network in NETWORKS.values())
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{first}: no such file"):
        load_detectors()
    whole = (detectors / first).read_bytes()
    for content, said in [
        (b"", "no ONNX model"),
        (b"text", "no ONNX model"),
        (whole[: len(whole) // 2], "no ONNX model"),
        ((detectors / second).read_bytes(), r"inputs input \(1, 3, 320, 320\), expected input.1"),
    ]:
        (tmp_path / first).write_bytes(content)
        with pytest.raises(ValueError, match=f"{first}: {said}") as failed:
            load_detectors()
        assert "\n" not in str(failed.value)
    (tmp_path / first).write_bytes(whole)
    with pytest.raises(FileNotFoundError, match=f"{second}: no such file"):
        load_detectors(tmp_path)


def with_boxes(file, values):
    """Have a file of the fixture say these, (1, 400, values), of YuNet's boxes of stride 16."""
    model = onnx.load(file)
    (place,) = (k for k, each in enumerate(model.graph.output) if each.name == "bbox_16")
    shape = model.graph.output[place].type.tensor_type.shape
    shape.dim[2].dim_value = values.shape[2]
    (constant,) = (each for each in model.graph.initializer if each.name == "zero bbox_16")
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), "zero bbox_16"))
    onnx.save(model, file)


def test_other_outputs_are_named(detectors, tmp_path):
    """One of another shape, one that is no number, one that is missing."""
    for network in NETWORKS.values():
        (tmp_path / network.file).write_bytes((detectors / network.file).read_bytes())
    faces = tmp_path / NETWORKS["faces"].file
    with_boxes(faces, np.zeros((1, 400, 5)))
    with pytest.raises(ValueError, match=rf"{faces}: outputs bbox_16 \(1, 400, 5\), .*expected"):
        load_detectors(tmp_path)
    with_boxes(faces, np.full((1, 400, 4), np.nan))
    with pytest.raises(ValueError, match=f"{faces}: an output is not finite"):
        load_detectors(tmp_path)["faces"](np.zeros((10, 20, 3), np.uint8))
    model = onnx.load(faces)
    model.graph.output.pop()
    onnx.save(model, faces)
    with pytest.raises(ValueError, match=rf"{faces}: outputs .*expected bbox_16 \(1, 400, 4\)"):
        load_detectors(tmp_path)


def test_what_was_read_is_noted(detectors, monkeypatch):
    monkeypatch.setattr(external, "_noted", {})  # of other tests' files of these names
    load_detectors(detectors)
    for network in NETWORKS.values():
        checksum = external.sha256(detectors / network.file)
        assert external.read()["detectors"][network.file] == checksum


def test_the_cascade_finds_a_face_and_nothing_in_a_small_picture():
    found = find_faces(data.astronaut()[:320, :320])
    assert len(found) == 1 and found.kinds.tolist() == [0]
    left, top, right_, bottom = found.boxes[0].tolist()
    assert left < 225 < right_ and top < 120 < bottom  # the nose
    assert len(find_faces(np.zeros((10, 300, 3), np.uint8))) == 0


def test_the_published_find_what_is_there(published):
    for picture, name in [(data.chelsea(), "cat"), (data.coffee(), "cup")]:
        found = published["objects"](picture)
        assert CATEGORIES[found.kinds[0]] == name
    face, cascade = published["faces"](data.astronaut()), find_faces(data.astronaut())
    assert len(face) == 1 and box_iou(face.boxes, cascade.boxes).max() > 0.5
    assert len(published["faces"](data.coffee())) == 0
    blank = np.full((100, 200, 3), 128, np.uint8)
    assert all(len(detect(blank)) == 0 for detect in published.values())


def test_the_published_find_what_is_annotated(published):
    """Of the large objects of 30 photographs of COCO more than .5, and most of what it says is so.

    NanoDet-m of this size has an AP of .235 on all of val2017; on COCO's scale, all sizes.
    """
    folder = external.given("coco")
    if folder is None:
        pytest.skip(f"${external.variable('coco')} names no folder of COCO")
    content = json.loads((folder / "annotations/instances_val2017.json").read_bytes())
    kinds = {each["id"]: CATEGORIES.index(each["name"]) for each in content["categories"]}
    hits = {"right": 0, "found": 0, "large right": 0, "large": 0}
    for image in sorted(content["images"], key=lambda each: each["id"])[:30]:
        here = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        here = [each for each in here if not each["iscrowd"]]
        boxes = torch.tensor([each["bbox"] for each in here]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        true = Found(
            boxes,
            torch.ones(len(here)),
            torch.tensor([kinds[a["category_id"]] for a in here]).long(),
        )
        found = published["objects"](read_picture(folder / "val2017" / image["file_name"]))
        hits["right"] += int(right(found, true).sum())
        hits["found"] += len(found)
        large = torch.tensor([each["area"] >= 96**2 for each in here], dtype=torch.bool)
        some = Found(true.boxes[large], true.scores[large], true.kinds[large])
        hits["large right"] += int(right(found, some).sum())
        hits["large"] += int(large.sum())
    assert hits["large"] > 30 and hits["found"] > 60
    assert hits["large right"] / hits["large"] > 0.5
    assert hits["right"] / hits["found"] > 0.55
