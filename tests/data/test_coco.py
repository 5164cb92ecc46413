"""COCO's files in their true format, made here: polygons, run lengths, crowds."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rasters

from paperlib.data.coco import PARTS, load_coco

HEIGHT, WIDTH = 40, 60
IMAGES, ANNOTATIONS = PARTS[0], f"annotations/instances_{PARTS[0]}.json"


def annotation(number, image, segmentation, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "segmentation": segmentation,
        "iscrowd": crowd,
        "area": 1.0,
        "bbox": [0, 0, 1, 1],
    }


def run_lengths(mask):
    """COCO's uncompressed form: runs of 0 and 1 in turn, down the columns, from 0."""
    flat = mask.T.flatten().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"counts": ([0] if flat[0] else []) + counts, "size": list(mask.shape)}


def ellipse():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - 20) / 15) ** 2 + ((y - 18) / 9) ** 2 < 1


def write(folder, annotations, images=(7, 9, 12), part=IMAGES):
    entries = [
        {"id": k, "file_name": f"{k:012d}.jpg", "height": HEIGHT, "width": WIDTH} for k in images
    ]
    content = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / ANNOTATIONS).parent.mkdir(exist_ok=True)
    (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    (folder / part).mkdir()
    for k in images:
        pixels = np.full((HEIGHT, WIDTH, 3), [20 * k, 10, 200], np.uint8)
        Image.fromarray(pixels).save(folder / part / f"{k:012d}.jpg", quality=95)


@pytest.fixture
def folder(tmp_path):
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]
    crowd = run_lengths(np.ones((HEIGHT, WIDTH), bool))
    write(
        tmp_path,
        [
            annotation(1, 7, square),
            annotation(2, 7, crowd, crowd=1),
            annotation(3, 9, run_lengths(ellipse())),
            annotation(4, 9, [*square, [40.0, 30.0, 50.0, 30.0, 50.0, 38.0, 40.0, 38.0]]),
            annotation(5, 12, crowd, crowd=1),
        ],
    )
    return tmp_path


def by_size(folder, **options):
    found = load_coco(2, 0, folder, **options)
    return sorted(found, key=lambda each: len(each.masks))


def test_polygons_and_run_lengths_without_crowds(folder):
    one, two = by_size(folder)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:25, 10:30] = True
    assert one.masks.shape == (1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(one.masks[0], expected)
    assert two.masks.shape == (2, HEIGHT, WIDTH)
    np.testing.assert_array_equal(two.masks[0], ellipse())
    expected[30:38, 40:50] = True  # the second polygon of the same object
    np.testing.assert_array_equal(two.masks[1], expected)


def test_images_are_rgb(folder):
    one, two = by_size(folder)
    assert one.image.shape == (HEIGHT, WIDTH, 3) and one.image.dtype == np.uint8
    np.testing.assert_allclose(one.image[20, 20], [140, 10, 200], atol=3)
    np.testing.assert_allclose(two.image[20, 20], [180, 10, 200], atol=3)


def test_a_grey_photograph_becomes_rgb(folder):
    path = folder / IMAGES / f"{7:012d}.jpg"
    Image.open(path).convert("L").save(path)
    one, _ = by_size(folder)
    assert one.image.shape == (HEIGHT, WIDTH, 3)
    assert (one.image == one.image[..., :1]).all()


def test_the_environment_names_the_folder(folder, monkeypatch, capsys):
    monkeypatch.setenv("PAPERLIB_COCO", str(folder))
    assert len(load_coco(2, 0)) == 2
    assert capsys.readouterr().out == ""


def test_the_choice_depends_on_the_seed_only(tmp_path):
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]
    numbers = range(1, 13)
    write(tmp_path, [annotation(k, k, square) for k in numbers], numbers)

    def reds(seed):
        return [each.image[0, 0, 0] for each in load_coco(4, seed, tmp_path)]

    assert reds(1) == reds(1)
    assert len({tuple(reds(seed)) for seed in range(5)}) > 1


def test_the_part_that_is_asked_for_and_all_of_it(folder):
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]
    write(folder, [annotation(k, k, square) for k in range(1, 6)], range(1, 6), "train2017")
    found = load_coco(None, 0, folder, "train2017")
    assert sorted(round(each.image[0, 0, 0] / 20) for each in found) == [1, 2, 3, 4, 5]
    assert len(load_coco(None, 0, folder)) == 2
    with pytest.raises(ValueError, match="part='test2017': valid are val2017, train2017"):
        load_coco(1, 0, folder, "test2017")


def test_missing_annotations_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("PAPERLIB_COCO", raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        load_coco(1, 0)
    for words in ("instances_val2017.json", "images.cocodataset.org", "bytes", "PAPERLIB_COCO="):
        assert words in str(caught.value)


def test_a_missing_image_is_named(folder):
    (folder / IMAGES / f"{9:012d}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="000000000009.jpg(.|\n)*PAPERLIB_COCO="):
        load_coco(2, 0, folder)


def test_a_broken_image_is_named(folder):
    (folder / IMAGES / f"{9:012d}.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="000000000009.jpg: not a JPEG image"):
        load_coco(2, 0, folder)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 10**5, '{"images": []}', '{"annotations": []}'])
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / ANNOTATIONS).parent.mkdir()
    (tmp_path / ANNOTATIONS).write_text(text)
    with pytest.raises(ValueError, match="instances_val2017.json"):
        load_coco(1, 0, tmp_path)


def test_an_image_of_another_size_than_its_masks_is_refused(folder):
    path = folder / IMAGES / f"{7:012d}.jpg"
    Image.open(path).resize((30, 20)).save(path)
    with pytest.raises(ValueError, match="000000000007.jpg.*masks"):
        load_coco(2, 0, folder)


@pytest.mark.parametrize("count", [0, 3])
def test_no_more_images_than_have_objects(folder, count):
    with pytest.raises(ValueError, match=f"count={count}: .* has 2 images with objects"):
        load_coco(count, 0, folder)


def test_packed_run_lengths_are_those_of_pycocotools(tmp_path):
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.1
    packed = [rasters.encode(np.asfortranarray(mask, np.uint8)) for mask in (ellipse(), noise)]
    texts = [{"counts": each["counts"].decode(), "size": [HEIGHT, WIDTH]} for each in packed]
    write(tmp_path, [annotation(1, 7, texts[0]), annotation(2, 7, texts[1])])
    (found,) = load_coco(1, 0, tmp_path)
    np.testing.assert_array_equal(found.masks, [ellipse(), noise])


def test_corners_a_little_outside_are_cut(tmp_path):
    write(tmp_path, [annotation(1, 7, [[-3, -3, WIDTH + 3, -3, WIDTH + 3, 10, -3, 10]])])
    (found,) = load_coco(1, 0, tmp_path)
    assert found.masks[0, :10].all() and not found.masks[0, 10:].any()


CORNERS = "three corners or more"
FAR = "far outside the image, or is not finite"


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ("polygon", "no segmentation"),
        ([[]], CORNERS),
        ([[1.0, 1.0, 9.0, 9.0]], CORNERS),  # two corners, which pycocotools takes for a box
        ([[1, 1, 9, 9, 1, 9, 4]], CORNERS),
        ([[1, 1, 9, 9, 1, float("nan")]], FAR),
        ([[1, 1, 9, float("inf"), 1, 9]], FAR),
        ([[1, 1, 1e9, 9, 1, 9]], FAR),
        ([[1, 1, 10**400, 9, 1, 9]], "too large"),
        ([[1, 1, "9", 9, 1, 9]], "no number"),
        ({"counts": [-1, HEIGHT * WIDTH + 1], "size": [HEIGHT, WIDTH]}, "whole numbers from 0"),
        ({"counts": [0.5], "size": [HEIGHT, WIDTH]}, "whole numbers from 0"),
        ({"counts": [0, HEIGHT * WIDTH + 1], "size": [HEIGHT, WIDTH]}, "runs of 2401 pixels"),
        ({"counts": [10**18], "size": [10**9, 10**9]}, "runs of an image of"),
        ({"counts": "0\x7f", "size": [HEIGHT, WIDTH]}, "text of its runs"),
        ({"counts": "o" * 10**6, "size": [HEIGHT, WIDTH]}, "text of its runs"),
        ({"counts": "01", "size": [HEIGHT, WIDTH]}, "runs of 1 pixels"),
    ],
)
def test_a_malformed_outline_is_named(segmentation, message, tmp_path):
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0]]
    write(tmp_path, [annotation(1, 7, square), annotation(2, 7, segmentation)])
    with pytest.raises(ValueError, match=f"instances_val2017.json: .*annotation 2: .*{message}"):
        load_coco(1, 0, tmp_path)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("images", {"file_name": "../7.jpg"}, "image 7: file_name '../7.jpg'"),
        ("images", {"file_name": "/7.jpg"}, "image 7: file_name"),
        ("images", {"file_name": None}, "image 7: file_name"),
        ("images", {"file_name": ""}, "image 7: file_name '' is no name"),
        ("images", {"file_name": ".."}, "image 7: file_name '..' is no name"),
        ("images", {"height": 10**9}, "image 7: height and width .1000000000, 60."),
        ("images", {"width": 0}, "image 7: height and width"),
        ("images", {"width": float("nan")}, "image 7: height and width"),
        ("images", {"id": "7"}, "images, row 0: it has no id"),
        ("annotations", {"image_id": 8}, "annotation 1: there is no image 8"),
        ("annotations", {"image_id": [7]}, "annotations, row 0: it has no image_id"),
        ("annotations", {"iscrowd": 2}, "annotation 1: iscrowd 2"),
    ],
)
def test_a_malformed_entry_is_named(table, change, message, tmp_path):
    write(tmp_path, [annotation(1, 7, [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0]])])
    path = tmp_path / ANNOTATIONS
    content = json.loads(path.read_text())
    content[table][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"instances_val2017.json: .*{message}"):
        load_coco(1, 0, tmp_path)


def test_crowds_are_left_out_whatever_their_outline(tmp_path):
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0]]
    write(tmp_path, [annotation(1, 7, square), annotation(2, 7, {"counts": [-5]}, crowd=1)])
    assert len(load_coco(1, 0, tmp_path)[0].masks) == 1
