"""Copies of CIFAR that are damaged, dangerous, or something else: each is named."""

import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from paperlib.data.cifar import CIFAR10_CLASSES, load_cifar
from tests.data.cifar_copies import (
    encode,
    example,
    publish,
    python2_pickle,
    write_archive,
    write_batches,
    write_images,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("nothing_from_this_machine")


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar("cifar10", "test", tmp_path)
    text = str(caught.value)
    for fact in (
        f"{tmp_path} has no test split of CIFAR-10",
        "cifar-10-batches-py/test_batch",
        "cifar-10-python.tar.gz (the archive: 170,498,071 bytes, from https://",
        "test*.parquet",
        "test/airplane/*.png",
        "PAPERLIB_CIFAR10",
    ):
        assert fact in text


def test_an_archive_that_is_not_the_published_one(tmp_path, monkeypatch):
    folder = write_archive(tmp_path / "copy", monkeypatch)
    path = folder / "cifar-10-python.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is not the published cifar-10-python\.tar\.gz: it has"):
        load_cifar("cifar10", "test", folder)
    path.write_bytes(whole[:-1] + b"?")
    with pytest.raises(ValueError, match="the sha256 .* instead of"):
        load_cifar("cifar10", "test", folder)
    path.write_bytes(whole[: len(whole) // 2])
    publish(path, monkeypatch)
    with pytest.raises(ValueError, match=r"cifar-10-python\.tar\.gz cannot be read"):
        load_cifar("cifar10", "test", folder)


def test_an_archive_that_lacks_a_file(tmp_path, monkeypatch):
    folder = write_archive(tmp_path / "copy", monkeypatch)
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "to-pack" / "cifar-10-batches-py" / "data_batch_1", "data_batch_1")
    publish(path, monkeypatch)
    with pytest.raises(FileNotFoundError, match="lacks cifar-10-batches-py/test_batch"):
        load_cifar("cifar10", "test", folder)


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_a_missing_batch(name, tmp_path):
    folder = write_batches(tmp_path)
    (folder / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        load_cifar("cifar10", "train", folder)


def change_batch(folder: Path, **changes: object) -> Path:
    path = write_batches(folder) / "cifar-10-batches-py" / "test_batch"
    content = pickle.loads(path.read_bytes(), encoding="latin1") | changes
    path.write_bytes(python2_pickle(content))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": np.zeros((20, 3071), np.uint8)},
            r"uint8 \(20, 3071\) instead of uint8 \(20, 3072",
        ),
        ({"data": np.zeros((20, 3072), np.float32)}, r"float32 \(20, 3072\) instead of uint8"),
        ({"data": np.zeros((19, 3072), np.uint8)}, r"\(19, 3072\) instead of uint8 \(20, 3072\)"),
        ({"data": None}, "no 'data' array or no 'labels' list"),
        ({"labels": None}, "no 'data' array or no 'labels' list"),
        ({"labels": [0] * 19 + [10]}, "row 19: label 10, valid are 0 to 9"),
        ({"labels": [0] * 19 + ["cat"]}, "row 19: label 'cat', valid are 0 to 9"),
        ({"labels": [], "data": np.zeros((0, 3072), np.uint8)}, "has no rows"),
    ],
)
def test_a_batch_with_the_wrong_content(changes, message, tmp_path):
    folder = change_batch(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar("cifar10", "test", folder)
    assert "test_batch" in str(caught.value)


def test_other_classes_in_the_meta_file(tmp_path):
    folder = write_batches(tmp_path)
    meta = {"label_names": list(reversed(CIFAR10_CLASSES))}
    (folder / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps(meta, 2))
    with pytest.raises(ValueError, match=r"batches\.meta: label_names are not the classes airpl"):
        load_cifar("cifar10", "test", folder)


class Evil:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"data": Evil(), "labels": [0]}, 2), "which no CIFAR file does"),
        (pickle.dumps({"data": json.JSONDecoder}, 2), "it calls json.decoder.JSONDecoder"),
        (pickle.dumps({"data": [1] * 500})[:300], "test_batch cannot be read"),
        (b"", "test_batch cannot be read"),
        (pickle.dumps([1, 2]), "holds a list instead of a dictionary"),
    ],
)
def test_a_damaged_or_dangerous_pickle(data, message, tmp_path, capfd):
    folder = write_batches(tmp_path)
    (folder / "cifar-10-batches-py" / "test_batch").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_cifar("cifar10", "test", folder)
    assert "must never run" not in capfd.readouterr().out


def change_parquet(folder: Path, column: str, values: list) -> None:
    path = write_parquet(folder) / "plain_text" / "test-00000-of-00001.parquet"
    table = parquet.read_table(path)
    number = table.column_names.index(column)
    parquet.write_table(table.set_column(number, column, pa.array(values)), path)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (encode(np.zeros((28, 28, 3), np.uint8)), "row 7: 28 x 28 RGB instead of 32 x 32 RGB"),
        (encode(np.zeros((32, 32), np.uint8)), "row 7: 32 x 32 L instead of 32 x 32 RGB"),
        (encode(np.zeros((32, 32, 3), np.uint8))[:60], "row 7: the image is truncated"),
        (
            encode(np.zeros((32, 32, 3), np.uint8), "lossless")[:30],
            "row 7: not a PNG, JPEG or WEBP",
        ),
        (encode(np.zeros((32, 32, 3), np.uint8), "JPEG")[:300], "row 7: the image is truncated"),
        (encode(np.zeros((32, 32, 3), np.uint8), "BMP"), "row 7: not a PNG, JPEG or WEBP image"),
        (b"", "row 7: not a PNG, JPEG or WEBP image"),
        (None, "row 7: not a PNG, JPEG or WEBP image"),
    ],
)
def test_a_bad_image_in_a_parquet_file(cell, message, tmp_path):
    images, _ = example("test")
    cells = [{"bytes": encode(image), "path": ""} for image in images]
    cells[7] = {"bytes": cell, "path": ""}
    change_parquet(tmp_path, "img", cells)
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar("cifar10", "test", tmp_path)
    assert "test-00000-of-00001.parquet" in str(caught.value)


def test_bad_labels_in_a_parquet_file(tmp_path):
    change_parquet(tmp_path, "label", [0] * 19 + [None])
    with pytest.raises(ValueError, match=r"parquet, row 19: label None, valid are 0 to 9"):
        load_cifar("cifar10", "test", tmp_path)


def test_a_parquet_file_with_other_columns(tmp_path):
    write_parquet(tmp_path, column="picture")
    with pytest.raises(ValueError, match="has the columns picture, label; expected are 'img' or"):
        load_cifar("cifar10", "test", tmp_path)


def test_cifar10_where_cifar100_is_asked_for(tmp_path):
    write_parquet(tmp_path)
    with pytest.raises(ValueError, match="has the columns img, label; .* 'fine_label'"):
        load_cifar("cifar100", "test", tmp_path)


def test_a_truncated_parquet_file(tmp_path):
    path = write_parquet(tmp_path) / "plain_text" / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"test-00000-of-00001\.parquet cannot be read"):
        load_cifar("cifar10", "test", tmp_path)


def test_a_missing_part_of_the_parquet_files(tmp_path):
    write_parquet(tmp_path, pieces=2)
    (tmp_path / "plain_text" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 2 files of train\*.parquet: train-00000"
    ):
        load_cifar("cifar10", "train", tmp_path)


def test_two_copies_in_one_folder(tmp_path):
    write_parquet(tmp_path)
    shutil.copytree(tmp_path / "plain_text", tmp_path / "other")
    with pytest.raises(
        ValueError, match="in more than one folder: .*other, .*plain_text; name one"
    ):
        load_cifar("cifar10", "train", tmp_path)


def test_a_folder_of_images_that_lacks_a_class_or_has_a_bad_file(tmp_path):
    write_images(tmp_path)
    (tmp_path / "test" / "cat" / "0006.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"test/cat/0006\.png: not a PNG, JPEG or WEBP image"):
        load_cifar("cifar10", "test", tmp_path)
    shutil.rmtree(tmp_path / "test" / "cat")
    with pytest.raises(FileNotFoundError, match=r"test/cat has no images"):
        load_cifar("cifar10", "test", tmp_path)
