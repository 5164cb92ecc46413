import io

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from paperlib.data.own import load_own


def encoded(value, size=(4, 4), form="PNG", mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, size, value).save(stream, form)
    return stream.getvalue()


def in_folders(folder, names, **options):
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            value = (10 * k, i, 0) if options.get("mode", "RGB") == "RGB" else 10 * k
            (folder / name / f"{i}.png").write_bytes(encoded(value, **options))
    return folder


def test_a_folder_a_class(tmp_path):
    data = load_own(in_folders(tmp_path, ["zebra", "ant"]))
    assert data.classes == ("ant", "zebra")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.images[:, :2, 0, 0].tolist() == [[10, 0], [10, 1], [10, 2], [0, 0], [0, 1], [0, 2]]
    assert data.altered == ""


def test_numbers_are_labels(tmp_path):
    data = load_own(in_folders(tmp_path, ["7", "10"]))
    assert data.labels.tolist() == [10, 10, 10, 7, 7, 7]
    assert data.images[0, 0, 0, 0] == 10 and len(data.classes) == 11


def test_a_draw_is_the_same_for_a_seed(tmp_path):
    folder = in_folders(tmp_path, ["a", "b", "c"])
    first, again, other = (load_own(folder, 5, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 5 and (first.images == again.images).all()
    assert (first.images != other.images).any()
    assert (first.images[:, 0, 0, 0] == 10 * first.labels).all()


def test_all_of_a_folder_are_drawn_too(tmp_path):
    folder = in_folders(tmp_path, ["a", "b", "c"])
    for count in (9, 100):
        labels = load_own(folder, count, seed=1).labels.tolist()
        assert len(set(labels[:3])) > 1 and sorted(labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_parquet(tmp_path):
    cells = [{"bytes": encoded((k, 0, 0)), "path": None} for k in range(4)]
    table = pyarrow.table({"image": cells, "label": [3, 1, 0, 1]})
    parquet.write_table(table, tmp_path / "some.parquet")
    (tmp_path / "._some.parquet").write_bytes(b"of a file system")
    for source in (tmp_path, tmp_path / "some.parquet"):
        data = load_own(source)
        assert data.labels.tolist() == [3, 1, 0, 1] and data.classes == ("0", "1", "2", "3")
        assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_the_middle_is_cut_out_of_what_is_scaled(tmp_path):
    (tmp_path / "a").mkdir()
    picture = np.zeros((8, 24, 3), np.uint8)
    picture[:, 8:16] = 200  # the middle third
    Image.fromarray(picture).save(tmp_path / "a" / "wide.png")
    assert (load_own(tmp_path, size=8).images == 200).all()
    assert load_own(tmp_path, size=4).images.shape == (1, 3, 4, 4)
    assert load_own(tmp_path).images.shape == (1, 3, 8, 24)


def test_grey_images_and_jpeg(tmp_path):
    assert (load_own(in_folders(tmp_path / "grey", ["a", "b"], mode="L")).images[3:] == 10).all()
    assert load_own(in_folders(tmp_path / "jpeg", ["a"], form="JPEG")).altered == "JPEG"


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no images: needed are a folder a class"):
        load_own(tmp_path / "nothing")
    in_folders(tmp_path / "two", ["a"])
    (tmp_path / "two" / "a" / "3.png").write_bytes(encoded(0, (5, 4)))
    with pytest.raises(ValueError, match="images of 4 x 4 and 5 x 4: give the size"):
        load_own(tmp_path / "two")
    (tmp_path / "two" / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0\.png: not a PNG, JPEG or WEBP image"):
        load_own(tmp_path / "two")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read"):
        load_own(tmp_path / "bad.parquet")
    for columns, message in (
        ({"pixels": [b""], "label": [0]}, "columns pixels, label; needed are 'img' or 'image'"),
        ({"image": [b""], "label": [-1]}, "whole numbers from 0"),
        ({"image": [b""], "label": ["cat"]}, "whole numbers from 0"),
        ({"image": [[1, 2, 3]], "label": [0]}, "'image' holds values of type list; needed are enc"),
    ):
        parquet.write_table(pyarrow.table(columns), tmp_path / "bad.parquet")
        with pytest.raises(ValueError, match=message):
            load_own(tmp_path / "bad.parquet")
    for word in ("count", "size"):
        with pytest.raises(ValueError, match=f"{word}=0: whole numbers from 1"):
            load_own(tmp_path / "two", **{word: 0})
