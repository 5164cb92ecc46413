r"""Retrieval on pairs of one's own: does an image find its texts, and a text its images?

Of $n$ images and $m$ different texts, R@K is the share of images whose nearest K texts hold one of
their own, and the share of texts whose nearest K images hold one of theirs, by the cosine of
features. Others that are as near count as nearer, so that features which are all alike, or no
numbers, find nothing.
"""

import csv
from math import comb
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from paperlib.data.class_folders import Transform, picture_batches
from paperlib.models.clip import Tokenizer, class_features, encode_images

AT = (1, 5, 10)  # the K of R@K
DIRECTIONS = ("image to text", "text to image")
COLUMNS = {"image", "text"}  # of a file of pairs


class Pairs(NamedTuple):
    """Images with texts.

    Attributes:
        files: of the images, each once.
        texts: each once, be it of one image or of several.
        own: which text is of which image.
    """

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    own: Bool[Tensor, "images texts"]


def load_pairs(path: Path) -> Pairs:
    """Pairs from a CSV file in UTF-8 with the columns image and text, in any order.

    An image is a file, its path relative to that of the CSV file; it may have several rows, and so
    may a text.

    Raises:
        FileNotFoundError: there is no such file, or not the image of a row.
        ValueError: no CSV file in UTF-8, a column is missing or stands twice, a row has more cells
            than the first one, a cell is empty, or there are no rows.
    """
    files: dict[Path, int] = {}
    texts: dict[str, int] = {}
    places = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            names = list(rows.fieldnames or ())
            if not set(names) >= COLUMNS or len(set(names)) < len(names):
                found = ", ".join(names) or "none"
                raise ValueError(f"{path}: columns {found}: valid are image and text, each once")
            for row in rows:
                where = f"{path}: line {rows.line_num}"
                if None in row:
                    raise ValueError(f"{where}: {row[None][0]!r} is one cell too many: quote texts")
                image, text = ((row[name] or "").strip() for name in ("image", "text"))
                if not image or not text:
                    raise ValueError(f"{where}: image or text is empty")
                file = (path.parent / image).resolve()
                if not file.is_file():
                    raise FileNotFoundError(f"{where}: there is no {file}")
                place = files.setdefault(file, len(files)), texts.setdefault(text, len(texts))
                places.append(place)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from None
    if not places:
        raise ValueError(f"{path} has no rows: valid is an image and a text in each")
    own = torch.zeros(len(files), len(texts), dtype=torch.bool)
    own[tuple(torch.tensor(places).T)] = True
    return Pairs(tuple(files), tuple(texts), own)


def recall(
    images: Float[Tensor, "n features"],
    texts: Float[Tensor, "m features"],
    own: Bool[Tensor, "n m"],
) -> pd.DataFrame:
    """R@K in both directions, 0 to 1: a row for each of `DIRECTIONS`, columns R@1, R@5, R@10.

    Args:
        images, texts: unit features.
        own: which text is of which image; each has at least one.
    """
    cosines, rows = images @ texts.T, []
    for found, mine in ((cosines, own), (cosines.T, own.T)):
        nearest = found.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        before = (~(found < nearest) & ~mine).sum(1)  # others, for every query
        rows.append([(before < k).float().mean().item() for k in AT])
    return pd.DataFrame(rows, index=[*DIRECTIONS], columns=[f"R@{k}" for k in AT])


def by_chance(own: Bool[Tensor, "n m"]) -> pd.DataFrame:
    """What features at random reach, as `recall` has it: a lower end to read the rest by.

    Of an image with t of m texts, the K nearest hold none of its own with the probability
    C(m - t, K) / C(m, K).
    """
    rows = []
    for mine in (own, own.T):
        others, counts = mine.shape[1], mine.sum(1).tolist()
        drawn = [min(k, others) for k in AT]
        missed = [[comb(others - t, k) / comb(others, k) for t in counts] for k in drawn]
        rows.append([1 - fmean(each) for each in missed])
    return pd.DataFrame(rows, index=[*DIRECTIONS], columns=[f"R@{k}" for k in AT])


def retrieval(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Pairs,
    transform: Transform,
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
    batches = picture_batches(pairs.files, transform, batch)
    images = torch.cat([encode_images(model, x) for x in batches])
    return recall(images, texts, pairs.own.to(texts.device))
