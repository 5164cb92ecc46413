"""Images in one folder a class inside a tar, and ImageNet's own tar files; nothing is unpacked.

Each image of an uncompressed tar stands in it as it is, from some byte on: the headers are read
once, an image when it is its turn. A tar may have any folders above those of the classes, or hold a
tar a class, as ILSVRC2012_img_train.tar does. ILSVRC2012_img_val.tar has no folders: which image is
of which class says the development kit, ILSVRC2012_devkit_t12.tar.gz, beside it.
"""

import io
import os
import re
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from scipy.io import loadmat

from paperlib.data.class_folders import SUFFIXES, WORDNET, ClassFolders, drawn
from paperlib.data.picture import is_hidden

KIT = "ILSVRC2012_devkit_t12.tar.gz"
VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


class TarEntry(NamedTuple):
    """A file in an uncompressed tar.

    Attributes:
        tar: the tar.
        name: of the file in it; that of a tar in the tar stands before.
        start, size: where its bytes are in `tar`, and how many.
    """

    tar: Path
    name: Path
    start: int
    size: int

    def __str__(self) -> str:
        return str(self.tar / self.name)

    def read_bytes(self) -> bytes:
        """Its bytes."""
        with self.tar.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.size)


def load_class_tar(source: Path, count: int | None = None, seed: int = 0) -> ClassFolders:
    """The images of a tar, as `load_class_folders` has those of the same folders.

    Args:
        source: an uncompressed tar that has a folder or a tar a class, or the images of ImageNet's
            validation split with the development kit beside it.
        count, seed: see `load_class_folders`.

    Raises:
        FileNotFoundError: there is no such tar, no development kit where one is needed, the tar has
            no folders, or one has no images.
        ValueError: a tar that is compressed, damaged, or has links or paths with ``..``; a kit that
            cannot be read or is of other images; fewer than `count` images.
    """
    images: dict[Path, TarEntry] = {}
    folders: set[Path] = set()
    with source.open("rb") as stream:
        if stream.read(6).startswith(COMPRESSED):
            raise ValueError(
                f"{source} is compressed, so that no image in it can be read without all before "
                "it: decompress it first, such as with gunzip, and name the tar"
            )
        stream.seek(0)
        for path, file in _walk(stream, source.stat().st_size, source):
            folders.add(path.parent if file else path)
            if file and path.suffix.lower() in SUFFIXES:
                images[path] = file
    leaves = folders - {parent for folder in folders for parent in folder.parents}
    if _is_flat(images, leaves):
        images, leaves = _by_kit(images, source)
    root = Path(os.path.commonpath(leaves))
    root = root.parent if root in leaves else root  # a single class
    depth = len(root.parts)  # where the name of the class stands in a path
    names = tuple(sorted({path.parts[depth] for path in leaves if len(path.parts) > depth}))
    labels = {name: label for label, name in enumerate(names)}
    inside = [path for path in sorted(images) if len(path.parts) > depth + 1]
    samples = [(images[path], labels[path.parts[depth]]) for path in inside]
    return drawn(samples, names, source, count, seed)


def read_kit(kit: Path) -> tuple[list[str], list[str]]:
    """WordNet's numbers of ImageNet's classes, and of each validation image, in the files' order.

    Raises:
        FileNotFoundError: there is no such file; with what to do.
        ValueError: it cannot be read, or lacks something.
    """
    if not kit.is_file():
        raise FileNotFoundError(
            f"{kit} is missing: labels of ImageNet's validation images stand in the development "
            "kit of that name, so fetch it from image-net.org and put it there, beside the tar"
        )
    names = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
    try:
        with tarfile.open(kit) as archive:
            content = {
                name: archive.extractfile(member).read()
                for member in archive
                for name in names
                if member.name.endswith(name)
            }
        meta, truth = (content[name] for name in names)
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        leaves = synsets[synsets["num_children"] == 0]
        numbers = dict(zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True))
        return list(numbers.values()), [numbers[int(line)] for line in truth.split()]
    except Exception as error:  # of many kinds, for damaged files of tar, gzip and MATLAB
        raise ValueError(
            f"{kit} cannot be read as ImageNet's development kit ({error!r}): fetch it again"
        ) from error


def _walk(
    stream: BinaryIO, end: int, tar: Path, inside: Path = Path(), folder: Path = Path()
) -> Iterator[tuple[Path, TarEntry | None]]:
    """Every path in a tar that is not hidden, with its file, or None for a folder.

    A tar in the tar is a folder of its name.

    Args:
        stream: stands where the tar begins.
        end: where it ends.
        tar: the outer one.
        inside: which tar of its files this is.
        folder: that this one is.
    """
    yield folder, None
    for member in _members(stream, end, tar / inside):
        name = member.name.lstrip("/")
        path = folder / name
        file = TarEntry(tar, inside / name, member.offset_data, member.size)
        if ".." in path.parts:
            raise ValueError(f"{file}: a path with .. leads elsewhere: pack the folder without it")
        if is_hidden(path, Path()):
            continue
        if not (member.isdir() or member.isreg()) or member.issparse():
            raise ValueError(
                f"{file} is a link, has holes or is no file at all: pack whole files, as "
                "tar --dereference --hard-dereference does"
            )
        yield path, None if member.isdir() else file
        if member.isreg() and path.suffix.lower() == ".tar":
            stream.seek(file.start)
            yield from _walk(stream, file.start + file.size, tar, file.name, path.with_suffix(""))


def _members(stream: BinaryIO, end: int, place: Path) -> Iterator[tarfile.TarInfo]:
    """Headers of a tar; it is read to the block of zeros that a whole tar has behind the last."""
    try:
        archive = tarfile.TarFile(fileobj=stream)
        while member := archive.next():
            archive.members.clear()  # none is kept
            yield member
        stream.seek(archive.offset)
        last = stream.read(tarfile.BLOCKSIZE)
        if last != bytes(tarfile.BLOCKSIZE) or stream.tell() > end:
            raise tarfile.ReadError("it is damaged or ends too early")
    except (tarfile.TarError, ValueError) as error:
        raise ValueError(
            f"{place} cannot be read as a tar: {error}: needed is a whole, uncompressed one, so "
            "fetch or pack it again"
        ) from error


def _is_flat(images: Collection[Path], leaves: set[Path]) -> bool:
    """Whether these are validation images of ImageNet that no folders sort into classes."""
    sorted_in = len(leaves) > 1 or any(WORDNET.fullmatch(leaf.name) for leaf in leaves)
    return (
        bool(images) and not sorted_in and all(VALIDATION.fullmatch(path.name) for path in images)
    )


def _by_kit(images: dict[Path, TarEntry], source: Path) -> tuple[dict[Path, TarEntry], set[Path]]:
    """The images in folders, and the folders, as the development kit sorts them."""
    kit = source.with_name(KIT)
    numbers, labels = read_kit(kit)
    if len(labels) != len(images):
        raise ValueError(
            f"{kit} has {len(labels)} labels, {source} {len(images)} images: one of them is not "
            "ImageNet's own or not whole, so fetch it again"
        )
    pairs = zip(labels, sorted(images), strict=True)
    placed = {Path(label, path.name): images[path] for label, path in pairs}
    return placed, set(map(Path, numbers))
