r"""Retrieval on pairs of one's own: does an image find its texts, and a text its image?

Of $n$ images and $m$ texts, R@K is the share of images whose nearest K texts hold one of their own,
and the share of texts whose nearest K images hold theirs, by the cosine of features. Others that
are as near count as nearer, so that features which are all alike find nothing.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import comb
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.data.picture import open_picture
from paperlib.models.clip import Tokenizer, class_features, encode_images

AT = (1, 5, 10)  # the K of R@K
DIRECTIONS = ("image to text", "text to image")


class Pairs(NamedTuple):
    """Images with texts.

    Attributes:
        files: of the images, each once.
        texts: one or more an image.
        image_of: for every text the place of its image in `files`.
    """

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    image_of: tuple[int, ...]


def load_pairs(path: Path) -> Pairs:
    """Pairs from a CSV file in UTF-8 with the columns image and text, in any order.

    An image is a file, its path relative to that of the CSV file; it may have several rows.

    Raises:
        FileNotFoundError: there is no such file, or not the image of a row.
        ValueError: a column is missing, a cell is empty, or there are no rows.
    """
    files: dict[Path, int] = {}
    texts, image_of = [], []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if not {"image", "text"} <= set(rows.fieldnames or ()):
            found = ", ".join(rows.fieldnames or ()) or "none"
            raise ValueError(f"{path}: columns {found}: valid are image and text, named so")
        for row in rows:
            image, text = ((row[name] or "").strip() for name in ("image", "text"))
            if not image or not text:
                raise ValueError(f"{path}: line {rows.line_num}: image or text is empty")
            file = path.parent / image
            if not file.is_file():
                raise FileNotFoundError(f"{path}: line {rows.line_num}: there is no {file}")
            image_of.append(files.setdefault(file, len(files)))
            texts.append(text)
    if not texts:
        raise ValueError(f"{path} has no rows: valid is an image and a text in each")
    return Pairs(tuple(files), tuple(texts), tuple(image_of))


def recall(
    images: Float[Tensor, "n features"],
    texts: Float[Tensor, "m features"],
    image_of: Int[Tensor, " m"],
) -> pd.DataFrame:
    """R@K in both directions, 0 to 1: a row for each of `DIRECTIONS`, columns R@1, R@5, R@10.

    Args:
        images, texts: unit features.
        image_of: for every text the place of its image; every image has a text.
    """
    cosines = images @ texts.T  # (n, m)
    own = image_of == torch.arange(len(images), device=image_of.device)[:, None]  # (n, m)
    nearest = cosines.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    before_text = ((cosines >= nearest) & ~own).sum(1)  # texts of others, for every image
    mine = cosines.gather(0, image_of[None])  # (1, m)
    before_image = ((cosines >= mine) & ~own).sum(0)  # other images, for every text
    rows = [
        [(before < k).float().mean().item() for k in AT] for before in (before_text, before_image)
    ]
    return pd.DataFrame(rows, index=[*DIRECTIONS], columns=[f"R@{k}" for k in AT])


def by_chance(pairs: Pairs) -> pd.DataFrame:
    """What features at random reach, as `recall` has it: a lower end to read the rest by.

    Of an image with t of m texts, the K nearest hold none of its own with the probability
    C(m - t, K) / C(m, K).
    """
    n, m = len(pairs.files), len(pairs.texts)
    own = Counter(pairs.image_of).values()  # texts of each image
    rows = []
    for counts, others in ((own, m), ([1], n)):
        drawn = [min(k, others) for k in AT]
        missed = [[comb(others - t, k) / comb(others, k) for t in counts] for k in drawn]
        rows.append([1 - fmean(each) for each in missed])
    return pd.DataFrame(rows, index=[*DIRECTIONS], columns=[f"R@{k}" for k in AT])


def retrieval(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Pairs,
    transform: Callable[[object], Tensor],
    batch: int = 64,
) -> pd.DataFrame:
    """`recall` of a CLIP on pairs, `batch` images read at a time.

    Args:
        model: a CLIP, quantized or not.
        tokenizer: its own.
        pairs: images and texts.
        transform: an image to what the model takes, (3, height, width).

    Raises:
        ValueError: an image cannot be decoded; with its file.
    """
    texts = class_features(model, tokenizer, pairs.texts, (str,))
    images = torch.cat([encode_images(model, x) for x in _batches(pairs.files, transform, batch)])
    return recall(images, texts, torch.tensor(pairs.image_of, device=texts.device))


def _batches(
    files: Sequence[Path], transform: Callable[[object], Tensor], size: int
) -> Iterator[Float[Tensor, "n 3 height width"]]:
    for start in range(0, len(files), size):
        yield torch.stack([transform(open_picture(f, str(f))) for f in files[start : start + size]])
