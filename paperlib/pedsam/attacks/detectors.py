r"""Detectors that were trained elsewhere: which objects, or faces, they find in a picture.

| detector                     | finds                | file                   | side |
|------------------------------|----------------------|------------------------|------|
| NanoDet-m (RangiLyu/nanodet) | COCO's 80 categories | `nanodet_m.onnx`       | 416  |
| YuNet (Wu et al. 2023)       | faces                | `yunet_n_320_320.onnx` | 320  |
| cascade of scikit-image      | faces from the front | comes with the package | any  |

The first two are networks in ONNX, run by onnxruntime, that a user has: nothing is downloaded. They
are looked for in `source`, else in the folder that ``$PAPERLIB_DETECTORS`` names. A picture is
resized to the network's side and filled up with black at the right and bottom; colours are in the
order blue, green, red, standardised for the first. For each cell of a map of stride $s$, in pixels,
both say how sure they are and where the box is:

- NanoDet (generalised focal loss, Li et al. 2020): a score for each category; from the centre
  $s (\text{column} + \tfrac12, \text{row} + \tfrac12)$ to the left, top, right and bottom the
  distances $s \sum_{j=0}^{7} j \, \mathrm{softmax}(z)_j$;
- YuNet: score $\sqrt{\text{class} \cdot \text{object}}$, centre
  $s (\text{column} + \delta_x, \text{row} + \delta_y)$, width and height $s\,(e^{w}, e^{h})$.

Of boxes of one category that overlap, the one with the highest score stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.ops import batched_nms, clip_boxes_to_image

from paperlib.data import external

ENVIRONMENT = external.variable("detectors")
STRIDES = (8, 16, 32)
BINS = 8  # of a distance in NanoDet's output
SMALLEST_FACE = 24  # pixels, of the cascade
BLUE_GREEN_RED = [2, 1, 0]
CATEGORIES = tuple(  # COCO's, in the order of their numbers
    name
    for name in FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    if name not in ("__background__", "N/A")
)


@dataclass(frozen=True)
class Found:
    """What a detector finds in a picture, the surest first.

    Attributes:
        boxes: left, top, right and bottom in pixels of the picture.
        scores: 0 to 1.
        kinds: index of the category; 0 for every face.
    """

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    kinds: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.scores)


Picture = UInt8[np.ndarray, "height width 3"]
Detector = Callable[[Picture], Found]
Outputs = dict[str, Float[Tensor, "_cells _values"]]


@dataclass(frozen=True)
class Network:
    """What a file of a detector has to be, and how it is asked.

    Attributes:
        file: its name.
        entry: name of the input.
        side: of the input, in pixels.
        outputs: their names, each with the stride of its cells and the values for a cell.
        mean, deviation: of the colours, blue first, that the input is standardised with.
        decode: boxes, in pixels of the input, and the scores of all kinds, from the outputs.
        least: score, from 0 to 1, from which something counts as found.
        overlap: of two boxes of a kind, intersection over union, of which one is left out.
    """

    file: str
    entry: str
    side: int
    outputs: dict[str, tuple[int, int]]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    decode: Callable[[Outputs], tuple[Float[Tensor, "cells 4"], Float[Tensor, "cells kinds"]]]
    least: float
    overlap: float

    def shapes(self) -> dict[str, list[int]]:
        """Of the outputs, by name."""
        return {
            name: [1, (self.side // stride) ** 2, values]
            for name, (stride, values) in self.outputs.items()
        }


def cells(side: int) -> Float[Tensor, "cells 2"]:
    """Column and row of each cell of a square map, row by row."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1).float()


def distances(
    outputs: Outputs,
) -> tuple[Float[Tensor, "cells 4"], Float[Tensor, "cells kinds"]]:
    """NanoDet's boxes and scores (see the module)."""
    boxes, scores = [], []
    for stride, score, box in zip(STRIDES, NANODET_SCORES, NANODET_BOXES, strict=True):
        z = outputs[box].unflatten(1, (4, BINS)).softmax(2)
        away = stride * (z * torch.arange(BINS)).sum(2)
        centres = stride * (cells(round(len(z) ** 0.5)) + 0.5)
        boxes.append(torch.cat([centres - away[:, :2], centres + away[:, 2:]], 1))
        scores.append(outputs[score])
    return torch.cat(boxes), torch.cat(scores)


def sizes(outputs: Outputs) -> tuple[Float[Tensor, "cells 4"], Float[Tensor, "cells kinds"]]:
    """YuNet's boxes and scores (see the module)."""
    boxes, scores = [], []
    for stride in STRIDES:
        z = outputs[f"bbox_{stride}"]
        centres = stride * (cells(round(len(z) ** 0.5)) + z[:, :2])
        half = stride * z[:, 2:].exp() / 2
        boxes.append(torch.cat([centres - half, centres + half], 1))
        both = outputs[f"cls_{stride}"].clamp(0, 1) * outputs[f"obj_{stride}"].clamp(0, 1)
        scores.append(both.sqrt())
    return torch.cat(boxes), torch.cat(scores)


NANODET_SCORES, NANODET_BOXES = ("792", "814", "836"), ("795", "817", "839")
NETWORKS = {
    "objects": Network(
        file="nanodet_m.onnx",
        entry="input.1",
        side=416,
        outputs={
            **{name: (s, len(CATEGORIES)) for name, s in zip(NANODET_SCORES, STRIDES, strict=True)},
            **{name: (s, 4 * BINS) for name, s in zip(NANODET_BOXES, STRIDES, strict=True)},
        },
        mean=(103.53, 116.28, 123.675),
        deviation=(57.375, 57.12, 58.395),
        decode=distances,
        least=0.4,
        overlap=0.6,
    ),
    "faces": Network(
        file="yunet_n_320_320.onnx",
        entry="input",
        side=320,
        outputs={
            f"{name}_{s}": (s, values)
            for name, values in {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}.items()
            for s in STRIDES
        },
        mean=(0.0, 0.0, 0.0),
        deviation=(1.0, 1.0, 1.0),
        decode=sizes,
        least=0.6,
        overlap=0.45,
    ),
}


class OnnxDetector:
    """A detector from a file."""

    def __init__(self, network: Network, file: Path) -> None:
        """Load and check it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it cannot be read, or has other inputs or outputs.
        """
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is raised
        try:
            self._session = onnxruntime.InferenceSession(
                file.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's have no class in common
            raise ValueError(f"{file}: no ONNX model that onnxruntime can run") from error
        self.network, self.file = network, file
        entries = {each.name: each.shape for each in self._session.get_inputs()}
        outputs = {each.name: each.shape for each in self._session.get_outputs()}
        wanted = {network.entry: [1, 3, network.side, network.side]}
        for what, is_there, should in [
            ("inputs", entries, wanted),
            ("outputs", outputs, network.shapes()),
        ]:
            if is_there != should:
                raise ValueError(f"{file}: {what} {_words(is_there)}, expected {_words(should)}")

    def __call__(self, picture: Picture, least: float | None = None) -> Found:
        """What it finds.

        Args:
            picture: RGB.
            least: score from which something counts as found; the network's if None.

        Raises:
            ValueError: the network cannot be computed, or says what is no finite number.
        """
        network, (height, width) = self.network, picture.shape[:2]
        scale = network.side / max(height, width)
        small = [max(1, round(scale * each)) for each in (height, width)]
        x = torch.from_numpy(picture[..., BLUE_GREEN_RED].copy()).permute(2, 0, 1)[None].float()
        x = F.interpolate(x, size=small, mode="bilinear", align_corners=False)
        x = F.pad(x, (0, network.side - small[1], 0, network.side - small[0]))
        mean, deviation = (
            torch.tensor(each).view(3, 1, 1) for each in (network.mean, network.deviation)
        )
        names = [*network.outputs]
        try:
            values = self._session.run(names, {network.entry: ((x - mean) / deviation).numpy()})
        except Exception as error:
            raise ValueError(f"{self.file}: it cannot be computed") from error
        outputs = {
            name: torch.from_numpy(each)[0] for name, each in zip(names, values, strict=True)
        }
        if not all(each.isfinite().all() for each in outputs.values()):
            raise ValueError(f"{self.file}: an output is not finite")
        boxes, scores = network.decode(outputs)
        cell, kinds = (scores >= (network.least if least is None else least)).nonzero(as_tuple=True)
        boxes, scores = boxes[cell], scores[cell, kinds]
        boxes = boxes * torch.tensor([width / small[1], height / small[0]] * 2)
        boxes = clip_boxes_to_image(boxes, (height, width))
        kept = batched_nms(boxes, scores, kinds, network.overlap)
        return Found(boxes[kept], scores[kept], kinds[kept])


def load_detectors(source: Path | None = None) -> dict[str, OnnxDetector]:
    """The networks, "objects" and "faces".

    Raises:
        FileNotFoundError: no folder is named, or a file is not in it.
        ValueError: a file is not that network.
    """
    folder = external.given("detectors", source)
    if folder is None:
        names = " and ".join(network.file for network in NETWORKS.values())
        raise FileNotFoundError(
            f"detectors: name the folder of {names}: {ENVIRONMENT}=/path/to/folder"
        )
    found = {
        name: OnnxDetector(network, folder / network.file) for name, network in NETWORKS.items()
    }
    external.note("detectors", [each.file for each in found.values()])
    return found


def find_faces(picture: Picture) -> Found:
    """Faces seen from the front, by scikit-image's cascade, all with score 1.

    It was trained on local binary patterns by the authors of scikit-image and needs no file.
    """
    faces: Sequence[dict[str, int]] = []
    if min(picture.shape[:2]) >= SMALLEST_FACE:
        faces = Cascade(lbp_frontal_face_cascade_filename()).detect_multi_scale(
            img=picture,
            scale_factor=1.2,
            step_ratio=1,
            min_size=(SMALLEST_FACE, SMALLEST_FACE),
            max_size=picture.shape[:2],
        )
    corners = [(f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]) for f in faces]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return Found(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.long))


def _words(shapes: dict[str, list[int]]) -> str:
    """Names and shapes, such as ``bbox_8 (1, 1600, 4)``, at most four of them."""
    words = [f"{name} ({', '.join(map(str, shape))})" for name, shape in sorted(shapes.items())]
    return ", ".join(words[:4] + ["…"] * (len(words) > 4)) or "none"
