"""Sizes of the notebooks of PED-SAM, a profile each."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PartitionSizes:
    """06_partition.

    Attributes:
        frames: that random assignments are drawn for.
        layers: of crops, at most.
        trials: rounds in which spot checks are measured.
        sharing: numbers of servers that an image is shared among, 4 among them.
    """

    frames: int
    layers: int
    trials: int
    sharing: tuple[int, ...]


@dataclass(frozen=True)
class SegmentationSizes:
    """07_segmentation.

    Attributes:
        sam: which (`paperlib.models.sam.SAMS`).
        photographed: which is shown a photograph.
        distilled: what was distilled from it for the pixels-once schedule, if anything.
        images: of a draw, segmented in every setting.
        draws: of images.
        servers: numbers of them, 4 among them.
    """

    sam: str
    photographed: str
    distilled: tuple[str, ...]
    images: int
    draws: int
    servers: tuple[int, ...]


@dataclass(frozen=True)
class PrivacySizes:
    """08_privacy.

    Attributes:
        images: of a draw, rebuilt in every setting.
        recognised: of a draw, shown to the classifier in every setting.
        segmented: of a draw, shown to SAM in every setting.
        draws: of images and views.
        frames: of the video.
        trials: secrets that its assignments are drawn from.
        taught: drawn scenes that the decoder of an active server is fitted to.
        detected: photographs that detectors look at, with files that a user gives.
        sharing: numbers of servers that an image is shared among, 4 among them.
    """

    images: int
    recognised: int
    segmented: int
    draws: int
    frames: int
    trials: int
    taught: int
    detected: int
    sharing: tuple[int, ...]


@dataclass(frozen=True)
class LatencySizes:
    """09_latency.

    Attributes:
        images: encoded in every setting, for each SAM.
        compared: SAMs whose own encoder is timed too; ViT-B's takes 4 GB.
        servers: numbers of them, for each SAM.
        threads: SAMs whose servers are threads of the edge's process, since two processes with
            ViT-B take 2.5 GB.
        edge_factors: how many times slower the edge is than a server, above 0.
        turns: images that the CPU time of all processes is measured over.
    """

    images: Mapping[str, int]
    compared: tuple[str, ...]
    servers: Mapping[str, tuple[int, ...]]
    threads: tuple[str, ...]
    edge_factors: tuple[float, ...]
    turns: int


SHARING = (2, 4, 8, 16)
PHOTOGRAPHED, DISTILLED = "sam-small-photographs", ("sam-small-pixels_once",)
SIZES = {
    "06_partition": {
        "smoke": PartitionSizes(20, 1, 10, SHARING),
        "default": PartitionSizes(1000, 2, 150, SHARING),
        "paper": PartitionSizes(1000, 2, 150, SHARING),
    },
    "07_segmentation": {
        "smoke": SegmentationSizes("sam-small", PHOTOGRAPHED, DISTILLED, 2, 1, (1, 4)),
        "default": SegmentationSizes("sam-small", PHOTOGRAPHED, DISTILLED, 25, 3, (1, 4, 16)),
        "paper": SegmentationSizes(PHOTOGRAPHED, PHOTOGRAPHED, (), 50, 3, (1, 4, 16)),
    },
    "08_privacy": {
        "smoke": PrivacySizes(4, 20, 4, 1, 8, 20, 10, 0, SHARING),
        "default": PrivacySizes(14, 200, 20, 3, 16, 200, 150, 0, SHARING),
        "paper": PrivacySizes(30, 1000, 60, 3, 16, 1000, 150, 100, SHARING),
    },
    "09_latency": {
        "smoke": LatencySizes(
            {"sam-small": 2}, ("sam-small",), {"sam-small": (1, 4)}, (), (1.0, 5.0), 4
        ),
        "default": LatencySizes(
            {"sam-small": 10, "vit_b": 1},
            ("sam-small",),
            {"sam-small": (1, 2, 4, 16), "vit_b": (4,)},
            ("vit_b",),
            (1.0, 5.0),
            50,
        ),
        "paper": LatencySizes(
            {"sam-small": 20, "vit_b": 3},
            ("sam-small", "vit_b"),
            {"sam-small": (1, 2, 4, 16), "vit_b": (1, 4, 25)},
            (),
            (1.0, 5.0),
            50,
        ),
    },
}

# That a notebook takes: the first is that of the profiles smoke and default, the last that of
# profile paper.
DATASETS: dict[str, tuple[str, ...]] = {
    "06_partition": ("openmoji", "photographs"),
    "07_segmentation": ("openmoji", "coco"),
    "08_privacy": ("openmoji", "photographs"),
    "09_latency": ("openmoji",),
}
