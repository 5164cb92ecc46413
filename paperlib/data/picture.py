"""One picture from a file, as a person sees it: upright, eight bits a colour, nothing transparent.

A camera's orientation is followed, sixteen bits of grey are scaled to eight, and what is
transparent shows white. The size stands in the file's header and is checked before anything is
decoded.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from paperlib.data.encoded import open_image

FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(file: Path) -> UInt8[np.ndarray, "height width 3"]:
    """RGB, 0 to 255.

    Raises:
        ValueError: no PNG, JPEG or WebP that can be decoded; more pixels than Pillow
            takes for a picture.
        FileNotFoundError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = ImageOps.exif_transpose(open_image(file, str(file), FORMATS))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: {error}") from None
    if image.mode.startswith("I"):  # 16 bits
        grey = np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
