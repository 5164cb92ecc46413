"""Photographs from a folder: BSDS500 (Arbeláez et al. 2011) or any other images.

Looked for in `source`, else in the folder that ``$PAPERLIB_PHOTOGRAPHS`` names: the images that lie
in it, else those in its ``images`` folder and below, which is the layout of BSDS500. Nothing is
downloaded.

`FREE` are photographs that come with scikit-image and that anyone may show: NOTICE says whose.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from pyarrow import parquet
from skimage import data
from torch import Tensor

from paperlib.data import external
from paperlib.data.picture import is_hidden, open_picture
from paperlib.seeds import draws

SUFFIXES = (".jpg", ".jpeg", ".png")
ENVIRONMENT = external.variable("photographs")
FREE = ("astronaut", "chelsea", "coffee", "rocket")


def find_photographs(source: Path | None = None) -> list[Path]:
    """Paths of the photographs, in the order of their names.

    Raises:
        FileNotFoundError: no folder is named, it does not exist, or it has no images.
    """
    folder = external.given("photographs", source)
    if folder is None:
        raise FileNotFoundError(
            f"photographs: name a folder of {', '.join(SUFFIXES)} images, such as BSDS500's: "
            f"{ENVIRONMENT}=/path/to/folder"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"photographs: {folder} is no folder ({ENVIRONMENT} names it)")
    found = _images(folder, folder.glob("*")) or _images(folder, (folder / "images").rglob("*"))
    if not found:
        raise FileNotFoundError(
            f"photographs: {folder} has no {', '.join(SUFFIXES)} images, nor has its folder images/"
        )
    return found


def read_photographs(source: Path) -> Iterator[Image.Image]:
    """The photographs of a folder, or of a parquet file in the hub's layout, in RGB.

    Raises:
        FileNotFoundError: there is no such file, or the folder has none.
        ValueError: one cannot be decoded, or the file has no column of images.
    """
    if source.suffix != ".parquet":
        for path in find_photographs(source):
            yield open_picture(path, str(path))
        return
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    columns = parquet.read_schema(source).names
    if "image" not in columns:
        raise ValueError(f"{source} has the columns {', '.join(columns)}; 'image' is needed")
    cells = parquet.read_table(source, columns=["image"]).column("image")
    for row, cell in enumerate(cells):
        yield open_picture(io.BytesIO(cell["bytes"].as_py() or b""), f"{source}, row {row}")


def draw_photographs(count: int | None, seed: int, source: Path | None = None) -> list[Path]:
    """Paths of `count` photographs, drawn without replacement, the same for the same seed.

    Of all, in a random order, if `count` is None.

    Raises:
        FileNotFoundError: see `find_photographs`.
        ValueError: there are fewer than `count`.
    """
    paths = find_photographs(source)
    count = len(paths) if count is None else count
    if not 1 <= count <= len(paths):
        raise ValueError(f"count={count}: {paths[0].parent} has {len(paths)} photographs")
    chosen = [paths[index] for index in draws(len(paths), count, 1, seed)[0]]
    external.note("photographs", chosen)
    return chosen


def load_photographs(
    count: int, size: int, source: Path | None = None, seed: int = 0
) -> UInt8[Tensor, "count 3 size size"]:
    """`count` photographs drawn without replacement, the same for the same seed: RGB, 0 to 255.

    The largest square in the middle, averaged down (or interpolated up) to `size` pixels.

    Raises:
        FileNotFoundError: see `find_photographs`.
        ValueError: there are fewer than `count`, or one of them cannot be decoded.
    """
    if size < 1:
        raise ValueError(f"size={size}: whole numbers from 1 are valid")
    chosen = draw_photographs(count, seed, source)
    return torch.stack([_square(open_picture(path, str(path)), size) for path in chosen])


def free_photograph(name: str) -> UInt8[np.ndarray, "height width 3"]:
    """One of `FREE`, RGB, 0 to 255: 300 to 512 pixels high and 451 to 640 wide.

    Raises:
        ValueError: it is none of them.
    """
    if name not in FREE:
        raise ValueError(f"photograph {name!r} is unknown: valid are {', '.join(FREE)}")
    return getattr(data, name)()


def free_squares(size: int) -> UInt8[Tensor, "4 3 size size"]:
    """All of `FREE`, as `load_photographs` would give them."""
    return torch.stack([_square(Image.fromarray(free_photograph(name)), size) for name in FREE])


def _images(folder: Path, paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES and path.is_file() and not is_hidden(path, folder)
    )


def _square(image: Image.Image, size: int) -> Tensor:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    how = Image.Resampling.BOX if side >= size else Image.Resampling.BICUBIC
    square = image.resize((size, size), how, box=box)
    return torch.from_numpy(np.asarray(square).transpose(2, 0, 1).copy())
