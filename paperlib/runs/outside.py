"""Which data and weights from outside the project a run needs, and whether they are here.

A copy is looked for where its variable says (``$PAPERLIB_COCO``), else in its folder in the cache
of downloads. Whether the files are whole is for their loaders to say. Imports the standard library
alone and runs under any Python from 3.9.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paperlib.paths import cache_dir


@dataclass(frozen=True)
class Outside:
    """Data or weights that somebody else publishes.

    Attributes:
        title: for messages.
        megabytes: of what is to be downloaded; 0 where any folder of images will do.
        source: where it comes from.
        holds: patterns; a folder that has a file of one of them has a copy.
        fetched: whether a notebook downloads it where it is not here.
    """

    title: str
    megabytes: int
    source: str
    holds: tuple[str, ...]
    fetched: bool


OUTSIDE = {
    "cifar10": Outside(
        "CIFAR-10",
        170,
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ("cifar-10-python.tar.gz", "cifar-10-batches-py", "**/test*.parquet", "test/*/*"),
        fetched=True,
    ),
    "photographs": Outside(
        "photographs",
        0,
        "any folder of .jpg, .jpeg or .png images, such as BSDS500's",
        ("*.[jJpP][pPnN]*[gG]", "images/**/*.[jJpP][pPnN]*[gG]"),
        fetched=False,
    ),
    "coco": Outside(
        "COCO, images and annotations of val2017",
        1069,
        "http://images.cocodataset.org/zips/val2017.zip (816 MB) and http://images.cocodataset.org/"
        "annotations/annotations_trainval2017.zip (253 MB), both unpacked into one folder",
        ("annotations/instances_val2017.json",),
        fetched=False,
    ),
    "sam": Outside(
        "weights of Segment Anything's ViT-B",
        375,
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        ("sam_vit_b_01ec64.*",),
        fetched=True,
    ),
    "detectors": Outside(
        "detectors, nanodet_m.onnx and yunet_n_320_320.onnx",
        5,
        "https://github.com/hpc203/nanodet-opncv-dnn-cpp-python (NanoDet-m at 416 pixels) and "
        "https://github.com/ShiqiYu/libfacedetection.train (YuNet), both into one folder",
        ("nanodet_m.onnx",),
        fetched=False,
    ),
}
WEIGHTS = {
    ("08_privacy", "paper"): ("detectors",),
}  # beside the data set


def variable(name: str) -> str:
    """Name of the variable that says where a copy is."""
    return f"PAPERLIB_{name.upper()}"


def place(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """File or folder to look in."""
    named = environment.get(variable(name))
    return Path(named).expanduser() if named else cache_dir() / name


def found(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a copy is here."""
    where = place(name, environment)
    if where.is_file():
        return True
    return any(next(where.glob(pattern), None) for pattern in OUTSIDE[name].holds)


def needed(notebook: str, profile: str, dataset: str) -> list[str]:
    """What a run of a notebook takes from outside."""
    return [name for name in (dataset, *WEIGHTS.get((notebook, profile), ())) if name in OUTSIDE]


def missing(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is not here, each with what to do, in one line a fact."""
    told = {}
    for name in dict.fromkeys(names):
        if found(name, environment):
            continue
        one, where = OUTSIDE[name], place(name, environment)
        size = f", {one.megabytes} MB" if one.megabytes else ""
        told[name] = (
            f"{one.title}{size}: not in {where}\n"
            f"  from  {one.source}\n"
            f"  then  {variable(name)}=/path/to/folder"
        )
    return told
