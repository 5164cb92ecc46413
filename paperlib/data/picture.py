"""One picture from a file, as a person sees it: upright, eight bits a colour, nothing transparent.

A camera's orientation is followed, sixteen bits of grey are scaled to eight, and what is
transparent shows white. Every reader of photographs takes this one.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from paperlib.data.encoded import open_image

FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(file: Path) -> UInt8[np.ndarray, "height width 3"]:
    """RGB, 0 to 255.

    Raises:
        ValueError: see `open_picture`.
        FileNotFoundError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    return np.array(open_picture(file, str(file)))


def open_picture(file: Path | io.BytesIO, place: str) -> Image.Image:
    """A decoded picture in RGB.

    Raises:
        ValueError: no PNG, JPEG or WebP that can be decoded, its EXIF data is damaged, or it has
            more pixels than Pillow takes for a picture; with `place`.
    """
    image = open_image(file, place, FORMATS)
    try:
        image = ImageOps.exif_transpose(image)
    except Exception as error:  # of many kinds, for a damaged block of EXIF
        raise ValueError(f"{place}: its EXIF data cannot be read") from error
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(np.rint(np.clip(image, 0, 65535) / 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file below a folder, or a folder between them, is hidden (``._photo.jpg``)."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
