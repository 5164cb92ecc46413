"""Images in one folder a class: what is read, in which order, and what is refused by name."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from paperlib.data.class_folders import load_class_folders


def write(path, grey, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), grey, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes with two and one images, and hidden ones that are none."""
    write(tmp_path / "set/sea_lion/b.png", 20)
    write(tmp_path / "set/sea_lion/a.png", 10)
    write(tmp_path / "set/ant/deep/c.webp", 30)
    (tmp_path / "set/ant/._c.png").write_bytes(b"of a file system")
    write(tmp_path / "set/ant/.trash/d.png", 40)
    write(tmp_path / "set/.cache/e.png", 50)
    return tmp_path / "set"


def test_images_and_labels_by_class_and_name(folder):
    data = load_class_folders(folder)
    assert (len(data), data.classes, data.is_wordnet) == (3, ("ant", "sea lion"), False)
    parts = list(data.batches(F.to_tensor, 2))
    assert [tuple(images.shape) for images, _ in parts] == [(2, 3, 5, 4), (1, 3, 5, 4)]
    images, labels = (torch.cat(both) for both in zip(*parts, strict=True))
    assert labels.tolist() == [0, 1, 1]
    assert (images[:, 0, 0, 0] * 255).round().tolist()[1:] == [10, 20]


def test_a_draw_is_a_part_in_the_same_order(folder):
    drawn = [load_class_folders(folder, 2, seed).samples for seed in range(20)]
    assert load_class_folders(folder, 2, 0).samples == drawn[0]
    whole = load_class_folders(folder).samples
    assert {tuple(part) for part in drawn} == {
        (whole[0], whole[1]),
        (whole[0], whole[2]),
        (whole[1], whole[2]),
    }


def test_wordnet_numbers_are_told(folder):
    for old, new in (("ant", "n01440764"), ("sea_lion", "n02077923")):
        (folder / old).rename(folder / new)
    assert load_class_folders(folder).is_wordnet


def test_what_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing is no folder"):
        load_class_folders(tmp_path / "missing")
    with pytest.raises(ValueError, match="count=4: .*set has 3 images"):
        load_class_folders(folder, 4)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty.*one folder a class"):
        load_class_folders(folder)
    with pytest.raises(FileNotFoundError, match="one folder a class"):
        load_class_folders(folder / "empty")


def test_a_damaged_image_is_named(folder):
    file = folder / "sea_lion/b.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"sea_lion/b\.png: not a PNG, JPEG or WEBP image"):
        list(load_class_folders(folder).batches(F.to_tensor, 8))
