"""Small squares of many photographs, which the attackers of photographs are trained on.

A photograph of `POOL` pixels or less along a side gives itself, a larger one `CROPS` squares of its
own, drawn at random: half to all of its short side, resized to `POOL` pixels, or to those that an
encoder takes whose tokens are asked for.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from paperlib.cache import cached
from paperlib.data.photographs import read_photographs
from paperlib.runtime import progress
from paperlib.seeds import generator

POOL = 64  # pixels: side of a square that is kept
CROPS = 8  # of a large photograph
EVERY = 10  # of the photographs of the first source, one is held out
ALIKE = 0.95  # correlation from which on two squares are taken for the same photograph


def is_held_out(source: int, number: int) -> bool:
    """Whether a photograph is for validation: of the first source the 10th, 20th, and so on."""
    return source == 0 and number % EVERY == EVERY - 1


def load_squares(
    sources: Sequence[Path], seed: int, folder: Path | None = None, side: int = POOL
) -> UInt8[Tensor, "n 3 {side} {side}"]:
    """The squares for training, without those that look like a photograph that is held out.

    Args:
        sources: folders or parquet files, see `read_photographs`.
        seed: of the crops.
        folder: where they are kept, if anywhere.
        side: pixels of a square, in place of `POOL`.
    """
    decides = [(source.name, source.stat().st_size) for source in sources]
    return cached(folder, partial(_squares, sources, seed, side), decides, seed, side)["squares"]


def load_held_out(source: Path, size: int) -> UInt8[Tensor, "n 3 {size} {size}"]:
    """The photographs for validation: the largest square in the middle, of `size` pixels."""
    chosen = [
        image for number, image in enumerate(read_photographs(source)) if is_held_out(0, number)
    ]
    return torch.stack([_cut(image, min(image.size), 0.5, 0.5, size) for image in chosen])


def _squares(
    sources: Sequence[Path], seed: int, size: int
) -> dict[str, UInt8[Tensor, "n 3 {size} {size}"]]:
    draw, squares, held_out = generator(seed, "crops"), [], []
    for place, source in enumerate(sources):
        for number, image in enumerate(progress(read_photographs(source), source.name)):
            if is_held_out(place, number):
                held_out.append(_cut(image, min(image.size), 0.5, 0.5, size))
            elif min(image.size) <= POOL:
                squares.append(_cut(image, min(image.size), 0.5, 0.5, size))
            else:
                for share, across, down in torch.rand(CROPS, 3, generator=draw).tolist():
                    side = round(min(image.size) * (1 + share) / 2)
                    squares.append(_cut(image, side, across, down, size))
    pool = torch.stack(squares)
    return {"squares": pool[~alike(pool, torch.stack(held_out))] if held_out else pool}


def alike(
    squares: UInt8[Tensor, "n 3 size size"], others: UInt8[Tensor, "m 3 size size"]
) -> Bool[Tensor, " n"]:
    """Which squares correlate by `ALIKE` or more, at 8 × 8 pixels, with one of the others."""
    return (_outlines(squares) @ _outlines(others).T).amax(1) >= ALIKE


def _outlines(squares: UInt8[Tensor, "n 3 size size"]) -> Float[Tensor, "n features"]:
    small = [
        F.adaptive_avg_pool2d(part.float(), 8).flatten(1) for part in squares.split(1000)
    ]  # (part, 192)
    x = torch.cat(small)
    return F.normalize(x - x.mean(1, keepdim=True), dim=1)


def _cut(
    image: Image.Image, side: int, across: float, down: float, size: int
) -> UInt8[Tensor, "3 {size} {size}"]:
    """A square of `side` pixels, its place in shares of what is left, resized."""
    left, top = across * (image.width - side), down * (image.height - side)
    how = Image.Resampling.BOX if side >= size else Image.Resampling.BICUBIC
    square = image.resize((size, size), how, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(square).transpose(2, 0, 1).copy())
