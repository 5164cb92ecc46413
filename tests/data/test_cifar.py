"""CIFAR in every layout: files of the true format, made here, must all give the same arrays."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from paperlib.data import cifar, external
from paperlib.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES, load_cifar
from paperlib.data.download import DownloadError
from paperlib.data.encoded import alteration

ROWS = {"train": 40, "test": 20}


@pytest.fixture(autouse=True)
def nothing_from_this_machine(monkeypatch, tmp_path):
    """An empty cache, no variables, and no way to the network."""
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path / "cache"))
    for name in ("PAPERLIB_CIFAR10", "PAPERLIB_CIFAR100"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def example(split: str, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels, every class there; sorted as a folder sorts them."""
    rows = max(ROWS[split], 2 * classes)
    generator = np.random.default_rng({"train": 1, "test": 2}[split])
    images = generator.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
    return images, np.sort(np.arange(rows) % classes)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    """A PNG, JPEG, BMP or WebP file; "lossless" is WebP as the hub has it now."""
    stream = io.BytesIO()
    options = {"lossless": True, "exact": True} if kind == "lossless" else {}
    Image.fromarray(image).save(stream, "WebP" if options else kind, **options)
    return stream.getvalue()


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: every string as bytes without a kind (opcode T), protocol 2."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(content: dict) -> bytes:
    """A pickle as in the published archive; its numpy kept arrays in numpy.core."""
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_batches(folder: Path) -> Path:
    """CIFAR-10 as torchvision unpacks it."""
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    for split, names in cifar.EDITIONS["cifar10"].files.items():
        images, labels = example(split)
        parts = np.array_split(np.arange(len(labels)), len(names))
        for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
            batch = {
                "batch_label": f"batch {number} of {len(names)}",
                "labels": labels[part].tolist(),
                "data": images[part].transpose(0, 3, 1, 2).reshape(len(part), 3072),
                "filenames": [f"image_{i}.png" for i in part],
            }
            (inside / name).write_bytes(python2_pickle(batch))
    meta = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10_CLASSES), "num_vis": 3072}
    (inside / "batches.meta").write_bytes(python2_pickle(meta))
    return folder


def write_batches_100(folder: Path) -> Path:
    """CIFAR-100 as torchvision unpacks it."""
    inside = folder / "cifar-100-python"
    inside.mkdir(parents=True)
    for split in ("train", "test"):
        images, labels = example(split, 100)
        batch = {
            "filenames": [f"image_{i}.png" for i in range(len(labels))],
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": labels.tolist(),
            "coarse_labels": (labels // 5).tolist(),
            "data": images.transpose(0, 3, 1, 2).reshape(len(labels), 3072),
        }
        (inside / split).write_bytes(python2_pickle(batch))
    meta = {"fine_label_names": list(CIFAR100_CLASSES), "coarse_label_names": ["fish"]}
    (inside / "meta").write_bytes(python2_pickle(meta))
    return folder


def write_archive(folder: Path, monkeypatch) -> Path:
    """The published archive beside nothing else, with the checksum that it has here."""
    unpacked = write_batches(folder.with_name("to-pack"))
    folder.mkdir()
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(unpacked / "cifar-10-batches-py", "cifar-10-batches-py")
    publish(path, monkeypatch)
    return folder


def publish(path: Path, monkeypatch, url: str = "https://example.invalid/cifar.tar.gz") -> None:
    edition = cifar.EDITIONS["cifar10"]
    remote = dataclasses.replace(
        edition.archive,
        url=url,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(cifar.EDITIONS, "cifar10", dataclasses.replace(edition, archive=remote))


def write_parquet(
    folder: Path, kind: str = "PNG", column: str = "img", pieces: int = 1, classes: int = 10
) -> Path:
    """The hub's layout, in the sub-folder where it keeps it."""
    inside = folder / "plain_text"
    inside.mkdir(parents=True)
    for split in ("train", "test"):
        images, labels = example(split, classes)
        cells = [
            {"bytes": encode(image, kind), "path": f"{i}.png"} for i, image in enumerate(images)
        ]
        label = "label" if classes == 10 else "fine_label"
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for number, part in enumerate(np.array_split(np.arange(len(labels)), pieces)):
            table = pa.table(
                {
                    column: pa.array([cells[i] for i in part], struct),
                    label: pa.array(labels[part], pa.int64()),
                }
            )
            parquet.write_table(table, inside / f"{split}-{number:05}-of-{pieces:05}.parquet")
    return folder


def write_images(folder: Path, kind: str = "PNG") -> Path:
    for split in ("train", "test"):
        images, labels = example(split)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / split / CIFAR10_CLASSES[label] / f"{i:04}.{kind.lower()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(image, kind))
    return folder


def assert_is_example(data, split: str, classes: int = 10) -> None:
    images, labels = example(split, classes)
    assert data.images.dtype == torch.uint8
    assert data.images.is_contiguous()
    assert torch.equal(data.images, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert torch.equal(data.labels, torch.from_numpy(labels))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    "layout", ["batches", "archive", "parquet", "WebP parquet", "two parquets", "images"]
)
def test_every_lossless_layout_gives_the_same(layout, split, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    if layout == "archive":
        write_archive(folder, monkeypatch)
    else:
        write = {
            "batches": write_batches,
            "parquet": write_parquet,
            "WebP parquet": lambda folder: write_parquet(folder, "lossless"),
            "two parquets": lambda folder: write_parquet(folder, column="image", pieces=2),
            "images": write_images,
        }
        write[layout](folder)
    data = load_cifar("cifar10", split, folder)
    assert_is_example(data, split)
    assert data.classes == CIFAR10_CLASSES
    found, whole = ROWS[split], {"train": "50,000", "test": "10,000"}[split]
    assert data.source == f"CIFAR-10 (lossless, {found} of {whole} {split} images)"
    assert data.altered == ""


@pytest.mark.parametrize("write", [write_batches_100, lambda f: write_parquet(f, classes=100)])
def test_cifar100(write, tmp_path):
    data = load_cifar("cifar100", "test", write(tmp_path))
    assert_is_example(data, "test", 100)
    assert len(data.classes) == 100
    assert list(data.classes) == sorted(data.classes)
    assert data.source == "CIFAR-100 (lossless, 200 of 10,000 test images)"


def test_torchvision_reads_the_same(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    theirs = CIFAR10(write_batches(tmp_path), train=True)
    ours = load_cifar("cifar10", "train", tmp_path)
    assert np.array_equal(theirs.data, ours.images.permute(0, 2, 3, 1).numpy())
    assert theirs.targets == ours.labels.tolist()
    assert tuple(theirs.classes) == ours.classes


def test_the_folder_of_the_batches_itself_and_the_archive_itself(tmp_path, monkeypatch):
    write_archive(tmp_path / "copy", monkeypatch)
    unpacked = tmp_path / "to-pack" / "cifar-10-batches-py"
    for source in (unpacked, str(unpacked), tmp_path / "copy" / "cifar-10-python.tar.gz"):
        assert_is_example(load_cifar("cifar10", "test", source), "test")


@pytest.mark.parametrize("layout", ["parquet", "images"])
@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
def test_a_copy_that_lost_something_says_so(layout, kind, tmp_path):
    write = {"parquet": write_parquet, "images": write_images}[layout]
    data = load_cifar("cifar10", "test", write(tmp_path, kind))
    images, labels = example("test")
    again = [np.asarray(Image.open(io.BytesIO(encode(image, kind)))) for image in images]
    assert torch.equal(data.images, torch.from_numpy(np.stack(again)).permute(0, 3, 1, 2))
    assert torch.equal(data.labels, torch.from_numpy(labels))
    assert data.source == f"CIFAR-10 ({kind} copy, 20 of 10,000 test images)"
    assert data.altered == kind


def test_one_image_that_lost_something_is_enough(tmp_path):
    path = write_images(tmp_path) / "test" / "cat" / "0006.png"
    path.write_bytes(encode(np.zeros((32, 32, 3), np.uint8), "JPEG"))  # named as if lossless
    assert load_cifar("cifar10", "test", tmp_path).altered == "JPEG"
    path.write_bytes(encode(np.zeros((32, 32, 3), np.uint8), "lossless"))
    assert load_cifar("cifar10", "test", tmp_path).altered == ""


def test_the_kind_of_webp_is_its_chunk_s():
    """A lossy picture in the extended format, with VP8L in a comment, and a lossless one."""
    image = Image.fromarray(example("test")[0][0])
    for lossless in (False, True):
        stream = io.BytesIO()
        image.save(stream, "WebP", lossless=lossless, xmp=b"VP8L" * 3, icc_profile=b"odd")
        assert stream.getvalue()[12:16] == b"VP8X"
        assert alteration(stream.getvalue()) == ("" if lossless else "WebP")


def test_a_whole_split_needs_no_number(tmp_path, monkeypatch):
    monkeypatch.setitem(cifar.WHOLE, "test", 20)
    assert load_cifar("cifar10", "test", write_images(tmp_path)).source == "CIFAR-10 (lossless)"


@pytest.mark.parametrize(
    ("write", "files"),
    [
        (write_batches, {"cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"}),
        (write_parquet, {"plain_text/test-00000-of-00001.parquet"}),
        (write_images, {f"test/{CIFAR10_CLASSES[i // 2]}/{i:04}.png" for i in range(20)}),
    ],
)
def test_the_files_that_were_read_are_noted(write, files, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "_noted", {})
    monkeypatch.setenv("PAPERLIB_CIFAR10", str(write(tmp_path)))
    load_cifar("cifar10", "test")
    assert external.read()["cifar10"].keys() == files


def test_order_of_the_sources(tmp_path, monkeypatch):
    """The argument before the variable before the cache; the first that is given decides."""
    write_images(tmp_path / "cache" / "cifar10", "JPEG")
    assert load_cifar("cifar10", "test").altered == "JPEG"
    monkeypatch.setenv("PAPERLIB_CIFAR10", str(write_batches(tmp_path / "named")))
    assert load_cifar("cifar10", "test").altered == ""
    jpeg = write_parquet(tmp_path / "argument", "JPEG")
    assert load_cifar("cifar10", "test", jpeg).altered == "JPEG"
    monkeypatch.setenv("PAPERLIB_CIFAR10", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="empty does not exist"):
        load_cifar("cifar10", "test")


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(tmp_path / "pictures")
    assert_is_example(load_cifar("cifar10", "test", "~/pictures"), "test")


# --- errors ---------------------------------------------------------------------------------


def test_unknown_name_and_split():
    with pytest.raises(ValueError, match="name='cifar': valid are 'cifar10', 'cifar100'"):
        load_cifar("cifar", "train")
    with pytest.raises(ValueError, match="split='val': valid are 'train' and 'test'"):
        load_cifar("cifar10", "val")


@pytest.mark.parametrize(
    ("name", "size", "variable"),
    [
        ("cifar10", "170,498,071", "PAPERLIB_CIFAR10"),
        ("cifar100", "169,001,437", "PAPERLIB_CIFAR100"),
    ],
)
def test_no_copy_and_no_network(name, size, variable, tmp_path):
    archive = cifar.EDITIONS[name].archive
    with pytest.raises(DownloadError) as caught:
        load_cifar(name, "train")
    text = str(caught.value)
    for fact in (
        archive.name,
        f"{size} bytes",
        f"https://www.cs.toronto.edu/~kriz/{archive.name}",
        str(tmp_path / "cache" / name / archive.name),
        f"{variable}=/path/to/folder",
    ):
        assert fact in text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_archive_is_downloaded_into_the_cache(tmp_path, monkeypatch):
    import http.server
    import threading
    from functools import partial

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """No log on stderr."""

    folder = write_archive(tmp_path / "served", monkeypatch)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    path = folder / "cifar-10-python.tar.gz"
    publish(path, monkeypatch, f"http://127.0.0.1:{server.server_port}/{path.name}")
    assert_is_example(load_cifar("cifar10", "test"), "test")
    server.shutdown()
    server.server_close()
    cached = tmp_path / "cache" / "cifar10" / path.name
    assert cached.read_bytes() == path.read_bytes()
    assert_is_example(load_cifar("cifar10", "train"), "train")  # the server is gone
    cached.write_bytes(cached.read_bytes()[:1000])
    with pytest.raises(DownloadError, match=r"present file cannot be used: .* it has 1,000 bytes"):
        load_cifar("cifar10", "train")


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
        (encode(np.zeros((32, 32, 3), np.uint8))[:60], "row 7: not a PNG, JPEG or WEBP image"),
        (
            encode(np.zeros((32, 32, 3), np.uint8), "lossless")[:30],
            "row 7: not a PNG, JPEG or WEBP",
        ),
        (
            encode(np.zeros((32, 32, 3), np.uint8), "JPEG")[:300],
            "row 7: not a PNG, JPEG or WEBP image",
        ),
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
