"""Images in one folder a class: ImageNet's validation split, or a set of one's own.

Read one image after the other, so that 50,000 photographs need no memory. Classes are named after
their folders, `_` as a space; ImageNet's thousand, whose folders have WordNet numbers such as
n01440764, by whoever knows the names in their order.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from paperlib.data.picture import is_hidden, open_picture
from paperlib.seeds import draws

WORDNET = re.compile(r"n\d{8}")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# an image to what a model takes, (3, height, width)
Transform = Callable[[Image.Image], Tensor]


@runtime_checkable
class Encoded(Protocol):
    """An image as it is stored: a file, or a part of one; as text, where that is."""

    def read_bytes(self) -> bytes:
        """Its bytes."""


class ClassFolders(NamedTuple):
    """A data set on disk.

    Attributes:
        samples: every image and its label, by class and name.
        folders: names of the folders, by label.
        source: where it is, in words for a table.
    """

    samples: list[tuple[Encoded, int]]
    folders: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label, as texts have them."""
        return tuple(name.replace("_", " ") for name in self.folders)

    @property
    def is_wordnet(self) -> bool:
        """Whether the folders are named by WordNet's numbers, as ImageNet's are."""
        return all(WORDNET.fullmatch(name) for name in self.folders)

    def batches(
        self, transform: Transform, size: int
    ) -> Iterator[tuple[Float[Tensor, "n 3 height width"], Int[Tensor, " n"]]]:
        """Images as a model takes them and their labels, `size` at a time.

        Raises:
            ValueError: an image cannot be decoded; with its file.
        """
        labels = torch.tensor([label for _, label in self.samples]).split(size)
        files = [file for file, _ in self.samples]
        yield from zip(picture_batches(files, transform, size), labels, strict=True)


def picture_batches(
    files: Sequence[Encoded], transform: Transform, size: int
) -> Iterator[Float[Tensor, "n 3 height width"]]:
    """Images as a model takes them, `size` at a time.

    Raises:
        ValueError: an image cannot be decoded; with its file.
    """
    for start in range(0, len(files), size):
        part = files[start : start + size]
        yield torch.stack(
            [transform(open_picture(io.BytesIO(f.read_bytes()), str(f))) for f in part]
        )


def class_samples(folder: Path) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """Images below each folder in a folder, by class and name, with their labels; the classes.

    Hidden files and folders are left out, such as the ``._`` files of some file systems.
    """
    folders = [path for path in folder.glob("*") if path.is_dir() and not is_hidden(path, folder)]
    names = tuple(sorted(path.name for path in folders))
    samples = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and not is_hidden(path, folder)
    ]
    return samples, names


def load_class_folders(source: Path, count: int | None = None, seed: int = 0) -> ClassFolders:
    """The images below a folder that has one folder a class.

    Args:
        source: the folder.
        count: draw so many without replacement, the same for the same seed; None takes all.
        seed: of the draw.

    Raises:
        FileNotFoundError: there is no such folder, it has no folders, or one has no images.
        ValueError: there are fewer than `count` images.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder: name one that has a folder a class")
    return drawn(*class_samples(source), source, count, seed)


def drawn(
    samples: Sequence[tuple[Encoded, int]],
    names: tuple[str, ...],
    source: Path,
    count: int | None,
    seed: int,
) -> ClassFolders:
    """A data set of all samples, or of so many, in their order.

    Args:
        samples: every image and its label, by class and name.
        names: of the folders, by label.
        source: where they were found.
        count, seed: see `load_class_folders`.

    Raises:
        FileNotFoundError: there are no classes, or one has no images.
        ValueError: there are fewer than `count` images.
    """
    filled = {label for _, label in samples}
    empty = [name for label, name in enumerate(names) if label not in filled]
    if empty or not names:
        raise FileNotFoundError(
            f"{source / empty[0] if empty else source} has no images: valid is one folder a class, "
            f"with {', '.join(SUFFIXES)} files in it"
        )
    if count is not None:
        if not 1 <= count <= len(samples):
            raise ValueError(f"count={count}: {source} has {len(samples)} images")
        order = draws(len(samples), count, 1, seed)[0].tolist()
        samples = [samples[index] for index in sorted(order)]
    return ClassFolders(list(samples), names, source.name)
