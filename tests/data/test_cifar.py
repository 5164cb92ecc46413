"""CIFAR in every layout: files of the true format must all give the same arrays."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from paperlib.data import cifar, external
from paperlib.data.cifar import CIFAR10_CLASSES, load_cifar
from paperlib.data.download import DownloadError
from paperlib.data.encoded import alteration
from tests.data.cifar_copies import (
    ROWS,
    assert_is_example,
    encode,
    example,
    publish,
    write_archive,
    write_batches,
    write_batches_100,
    write_images,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("nothing_from_this_machine")


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
