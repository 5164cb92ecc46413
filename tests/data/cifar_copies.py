"""CIFAR in every layout: files of the true format, made here."""

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet

from paperlib.data import cifar
from paperlib.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES

ROWS = {"train": 40, "test": 20}


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
