"""Tiny ImageNet from small files of the true format."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from PIL import Image
from pyarrow import parquet

from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.zero_shot import load_draws
from paperlib.data.tiny_imagenet import load_tiny_imagenet, tiny_imagenet_names

CSV = (
    'label,wnid,names\n0,n01443537,"goldfish, Carassius auratus"\n1,n01770393,scorpion\n'
    '2,n02124075,"cougar, puma, catamount"\n'
)


def encode(image, kind="JPEG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def write(folder, labels=(2, 0, 1), size=64):
    (folder / "classes.csv").write_text(CSV)
    for split in ("train", "validation"):
        images = [np.full((size, size, 3), 40 * k + len(split), np.uint8) for k in range(3)]
        images[1] = images[1][:, :, 0]  # grey, as some are
        cells = [{"bytes": encode(image), "path": f"{k}.jpg"} for k, image in enumerate(images)]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("split", ["train", "validation"])
def test_images_labels_and_names(split, tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERLIB_TINY_IMAGENET", str(write(tmp_path)))
    data = load_tiny_imagenet(split)
    assert data.classes == ("goldfish", "scorpion", "cougar")
    assert data.labels.tolist() == [2, 0, 1] and data.altered == "JPEG"
    assert data.images.shape == (3, 3, 64, 64) and data.images.dtype == torch.uint8
    expected = [40 * k + len(split) for k in range(3)]
    assert (data.images[:, 0, 0, 0] - torch.tensor(expected)).abs().max() <= 2
    assert tiny_imagenet_names()[2] == ("cougar", "puma", "catamount")


def test_its_zero_shot_task_and_draws(tmp_path, monkeypatch):
    """The test split is the validation images; names and templates are those of the training."""
    monkeypatch.setenv("PAPERLIB_TINY_IMAGENET", str(write(tmp_path)))
    task = zero_shot_task("tiny_imagenet")
    assert task.names == ("goldfish", "scorpion", "cougar")
    assert task.templates == tuple(SIMPLE_IMAGENET_TEMPLATES)
    for split, words in (("train", "train"), ("test", "validation")):
        (drawn,) = load_draws("tiny_imagenet", split, 3, 1, 0)
        order = drawn.labels.tolist()
        assert sorted(order) == [0, 1, 2] and drawn.classes == task.names
        shades = [40 * [2, 0, 1].index(label) + len(words) for label in order]
        assert (drawn.images[:, 0, 0, 0] - torch.tensor(shades)).abs().max() <= 2
    with pytest.raises(ValueError, match="split='validation': valid are 'train', 'test'"):
        load_draws("tiny_imagenet", "validation", 1, 1, 0)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PAPERLIB_TINY_IMAGENET", raising=False)
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="no classes.csv(.|\n)*248,100,043") as caught:
        load_tiny_imagenet("train")
    assert "PAPERLIB_TINY_IMAGENET=" in str(caught.value) and "cache" in str(caught.value)
    (write(tmp_path) / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"no train\*.parquet"):
        load_tiny_imagenet("train", tmp_path)
    with pytest.raises(ValueError, match="split='test': valid are 'train', 'validation'"):
        load_tiny_imagenet("test", tmp_path)


def test_wrong_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match="row 0: label 3, valid are 0 to 2"):
        load_tiny_imagenet("train", write(tmp_path, labels=(3, 0, 1)))
    with pytest.raises(ValueError, match="row 0: 32 x 32 RGB instead of 64 x 64"):
        load_tiny_imagenet("train", write(tmp_path, size=32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,names\n1,fish\n", "labels are not 0, 1"),
        ('label,names\n0," , "\n', "label 0: no name"),
        ("id,words\n0,fish\n", "expected are the columns"),
    ],
)
def test_a_wrong_list_of_classes(content, message, tmp_path):
    (tmp_path / "classes.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        tiny_imagenet_names(tmp_path)
