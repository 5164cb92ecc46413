"""Segmentation over servers of this machine, by schedule, weights, number format and servers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam

from paperlib.data.coco import SegmentedImage
from paperlib.intervals import bootstrap
from paperlib.models.sam import load_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.listener import serving
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.remote.wire import FORMATS
from paperlib.pedsam.small_sam.masks import box_prompt, iou, ious, mean_iou, point_prompts
from paperlib.pedsam.small_sam.segmentation import (
    PROMPTS,
    filled_boxes,
    replace_encoder,
    segment,
    true_masks,
)
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.seeds import derive

WHOLE = "SAM, whole"
SIDE = 320  # pixels of the longer side of a picture that is shown
AUTOMATIC = {  # 64 points at a time, the default, take 0.2 GB more than 16
    "points_per_side": 8,
    "pred_iou_thresh": 0.7,
    "stability_score_thresh": 0.7,
    "points_per_batch": 16,
}
CORNERS = ("x0", "y0", "x1", "y1")
RESAMPLES = 1000
Box = tuple[int, int, int, int]  # left, top, right, bottom
Masks = dict[str, list[np.ndarray]]  # by prompt, one for each object


@dataclass(frozen=True)
class Case:
    """How SAM is split.

    Attributes:
        schedule: exact or pixels_once.
        weights: name of the SAM.
        format: of numbers on the wire.
        servers: how many.
    """

    schedule: str
    weights: str
    format: str
    servers: int

    @property
    def method(self) -> str:
        """Schedule in words, and whether the network is distilled for it."""
        distilled = ", distilled" if self.weights.endswith("pixels_once") else ""
        return self.schedule.replace("_", " ") + distilled


KEYS = list(Case.__dataclass_fields__)


def cases(sam: str, distilled: Sequence[str], servers: Sequence[int]) -> list[Case]:
    """Four servers in every format, other numbers of them, and the pixels-once schedule.

    Args:
        sam: name of the SAM.
        distilled: names of what was distilled from it for the pixels-once schedule, if anything.
        servers: numbers of them.
    """
    found = [Case("exact", sam, form, 4) for form in FORMATS]
    found += [Case("exact", sam, "float32", k) for k in servers if k != 4]
    found += [Case("pixels_once", sam, "float32", 4)]
    return found + [
        Case("pixels_once", name, form, 4) for name in distilled for form in ("float32", "int8")
    ]


def segment_over_servers(
    cases: Sequence[Case], draws: Sequence[Sequence[SegmentedImage]], own: Sequence[Masks]
) -> tuple[pd.DataFrame, dict[Case, list[np.ndarray]], dict[Case, pd.DataFrame]]:
    """Segment every draw in every case, and measure it; of most masks no more is kept.

    Args:
        cases: how SAM is split.
        draws: the images.
        own: SAM's own masks of every draw.

    Returns:
        What `measure` gives of each case, one below the other; by case, the answers to the boxes of
        the first draw; by case, the calls to servers.
    """
    parts, boxes, calls = [], {}, {}
    for weights in dict.fromkeys(case.weights for case in cases):
        sam, mine = load_sam(weights), [case for case in cases if case.weights == weights]
        most = max(case.servers for case in mine)
        with local_servers(most, ["--sam", weights]) as servers:
            for case in mine:
                addresses = [server.address for server in servers[: case.servers]]
                worker = WindowBlocks(sam.image_encoder)
                with EdgeCompute(worker, addresses, form=case.format) as edge:
                    encoder = PartitionedEncoder(sam.image_encoder, edge, case.schedule)
                    split = replace_encoder(sam, encoder)
                    answers = [segment(split, images) for images in draws]
                calls[case], boxes[case] = edge.table(), answers[0]["box"]
                parts.append(measure(case, answers, calls[case], own, draws))
    return pd.concat(parts, ignore_index=True), boxes, calls


def measure(
    case: Case,
    answers: Sequence[Masks],
    calls: pd.DataFrame,
    own: Sequence[Masks],
    draws: Sequence[Sequence[SegmentedImage]],
) -> pd.DataFrame:
    """IoU with the true masks and with SAM's own, a row for each draw and prompt.

    Args:
        case: how SAM was split.
        answers: masks of every draw.
        calls: to servers, for what travelled.
        own: SAM's own masks of every draw.
        draws: the images.
    """
    sent, rows = calls[["bytes_up", "bytes_down"]].sum().sum() / 1e6, []
    row = asdict(case) | {"MB an image": sent / (calls.image.max() + 1)}
    for k, (found, images) in enumerate(zip(answers, draws, strict=True)):
        truth = true_masks(images)
        for name in PROMPTS:
            values = {"IoU": mean_iou(found[name], truth)}
            values |= {"IoU with SAM's mask": mean_iou(found[name], own[k][name])}
            rows.append(row | {"prompt": name, "draw": k} | values)
    return pd.DataFrame(rows)


def baseline(own: Sequence[Masks], draws: Sequence[Sequence[SegmentedImage]]) -> pd.DataFrame:
    """IoU of SAM's own masks with the true ones: a row a prompt, a column a draw."""
    columns = [
        {name: mean_iou(masks[name], true_masks(images)) for name in PROMPTS}
        for masks, images in zip(own, draws, strict=True)
    ]
    return pd.DataFrame(columns).T.rename_axis(index="prompt", columns="draw")


def bars(measured: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Mean IoU and its standard deviation over the draws, by case (four servers) and prompt.

    Args:
        measured: of `measure`.
        whole: of `baseline`.
    """
    parts = {WHOLE: whole.T}
    for keys, part in measured[measured.servers == 4].groupby(KEYS, sort=False):
        case = Case(*keys)
        parts[f"{case.method}, {case.format}"] = part.pivot(
            index="draw", columns="prompt", values="IoU"
        )
    rows = [
        {
            "case": name,
            "prompt": prompt,
            "IoU": part[prompt].mean(),
            "deviation": part[prompt].std(),
        }
        for name, part in parts.items()
        for prompt in PROMPTS
    ]
    return pd.DataFrame(rows)


def losses(measured: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Largest IoU over the prompts that is lost against SAM, whole: by case, a column a draw."""
    lost = measured.set_index(["prompt", "draw"])
    lost["IoU"] = whole.stack().reindex(lost.index) - lost["IoU"]
    return lost.groupby([*KEYS, "draw"], sort=False).IoU.max().unstack("draw")


def not_distilled(sam: Sam) -> Sam:
    """SAM in the pixels-once schedule with its own weights, in this process: another network."""
    return replace_encoder(sam, PartitionedEncoder(sam.image_encoder, schedule="pixels_once"))


def at_stake(
    own: Masks, other: Masks, images: Sequence[SegmentedImage], seed: int
) -> tuple[pd.DataFrame, tuple[float, float]]:
    """What a network that is not SAM's costs: of that, the exact schedule must cost nothing.

    Args:
        own: SAM's own masks.
        other: those of `not_distilled`.
        images: with the true masks.
        seed: of the resamples.

    Returns:
        A row a prompt: IoU of either with the true masks, what is lost, and the IoU of the one with
        the other; and the ends of the 95 % interval, over images, of the largest loss of a prompt,
        which is chosen anew in each resample.
    """
    truth, rows, lost = true_masks(images), {}, []
    for name in PROMPTS:
        found = ious(own[name], truth), ious(other[name], truth)
        lost.append(found[0] - found[1])
        row = {"SAM": found[0].mean(), "not distilled": found[1].mean(), "lost": lost[-1].mean()}
        rows[name] = row | {"IoU with SAM's mask": mean_iou(other[name], own[name])}
    table = pd.DataFrame.from_dict(rows, "index").rename_axis("prompt")
    return table, _over_images(np.stack(lost, 1), images, derive(seed, "stake"))


def agreement(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean IoU with SAM's own masks over four servers, smallest of prompts and formats.

    By schedule and weights, a column a draw, of `measure`.
    """
    four = measured[measured.servers == 4]
    keys = ["schedule", "weights", "draw"]
    return four.groupby(keys)["IoU with SAM's mask"].min().unstack("draw")


def together(
    own: Sequence[Masks], draws: Sequence[Sequence[SegmentedImage]]
) -> tuple[Masks, list[SegmentedImage]]:
    """Masks by prompt, and images, of all draws one after the other."""
    masks = {name: [mask for each in own for mask in each[name]] for name in PROMPTS}
    return masks, [image for images in draws for image in images]


def over_filled_box(
    boxes: Sequence[np.ndarray], images: Sequence[SegmentedImage], seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean IoU of the answers to the boxes minus that of the boxes, filled.

    Args:
        boxes: the answers, one for each object of each image, in order.
        images: with the true masks.
        seed: of the resamples.

    Returns:
        It, and the ends of its 95 % interval over images.
    """
    truth = true_masks(images)
    gains = ious(boxes, truth) - ious(filled_boxes(images), truth)
    return float(gains.mean()), _over_images(gains[:, None], images, derive(seed, "filled box"))


def _over_images(
    values: Float[np.ndarray, "objects columns"], images: Sequence[SegmentedImage], seed: int
) -> tuple[float, float]:
    """Ends of the 95 % interval of a column's largest mean over objects; images are resampled."""
    ends = np.cumsum([len(each.masks) for each in images])[:-1]
    parts = np.split(values, ends)  # of each image

    def largest(chosen: np.ndarray) -> float:
        return float(np.concatenate([parts[index] for index in chosen]).mean(0).max())

    low, high = bootstrap(largest, [len(parts)], RESAMPLES, seed)
    return float(low), float(high)


def prompts_of(image: SegmentedImage) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The prompts of an image's first object: corners of the box, and points; and the picture."""
    (mask, *_), rows = image.masks, []
    box = box_prompt(mask).reshape(2, 2)
    for name, places in (
        ("box", box),
        ("1 point", point_prompts(mask, 1)),
        ("3 points", point_prompts(mask, 3)),
    ):
        rows += [{"prompt": name, "x": x, "y": y} for x, y in places]
    factor, pixels = _small(image.image, mask[None])
    table = pd.DataFrame(rows)
    table[["x", "y"]] *= factor
    return table, {"image": pixels[0], "masks": pixels[1]}


def examples(
    boxes: Mapping[Case, Sequence[np.ndarray]],
    own: Sequence[np.ndarray],
    images: Sequence[SegmentedImage],
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Answers to the box of the first object of some images.

    Args:
        boxes: by case, the answers to the boxes of all objects of these images and of others.
        own: SAM's own.
        images: the first of the draw.

    Returns:
        A row for each image and case (image, case, IoU, and the box in pixels of the picture:
        x0, y0, x1, y1); and by name, of each image, its picture and its masks, one for each case.
    """
    columns = {WHOLE: own}
    for case, masks in boxes.items():
        if (case.format, case.servers) == ("float32", 4):
            columns[case.method] = masks
    rows, pixels, place = [], {}, 0
    for number, image in enumerate(images):
        true = torch.from_numpy(image.masks[0])
        found = np.stack([masks[place] for masks in columns.values()])
        factor, (picture, masks) = _small(image.image, found)
        box = dict(zip(CORNERS, factor * box_prompt(image.masks[0]), strict=True))
        values = iou(torch.from_numpy(found), true.expand(len(found), -1, -1)).tolist()
        rows += [
            {"image": number, "case": name, "IoU": value} | box
            for name, value in zip(columns, values, strict=True)
        ]
        pixels |= {f"image{number}": picture, f"masks{number}": masks}
        place += len(image.masks)
    return pd.DataFrame(rows), pixels


def photograph(
    cases: Sequence[Case], image: UInt8[np.ndarray, "height width 3"], boxes: Sequence[Box]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """SAM's answers to boxes on a photograph, whole and split over four servers in this process.

    Args:
        cases: how SAM is split; those with other numbers of servers or formats than float32 are
            left out. The first says which SAM is the whole one.
        image: RGB.
        boxes: left, top, right and bottom in pixels, one for each row of pictures.

    Returns:
        As of `examples`, with the IoU with the mask of SAM, whole, and a box in place of an image.
    """
    columns = {WHOLE: _boxed(load_sam(cases[0].weights), image, boxes)}
    for case in cases:
        if (case.format, case.servers) == ("float32", 4):
            sam = load_sam(case.weights)
            worker = WindowBlocks(sam.image_encoder)
            services = (WindowService(worker, Limits()) for _ in range(case.servers))
            with (
                serving(services) as addresses,
                EdgeCompute(worker, addresses, deadline=600) as edge,
            ):
                encoder = PartitionedEncoder(sam.image_encoder, edge, case.schedule)
                columns[case.method] = _boxed(replace_encoder(sam, encoder), image, boxes)
    rows, pixels = [], {}
    for number, box in enumerate(boxes):
        found = np.stack([masks[number] for masks in columns.values()])
        factor, (picture, masks) = _small(image, found)
        corners = dict(zip(CORNERS, factor * np.asarray(box), strict=True))
        own = torch.from_numpy(found[0]).expand(len(found), -1, -1)
        values = iou(torch.from_numpy(found), own).tolist()
        rows += [
            {"image": number, "case": name, "IoU": value} | corners
            for name, value in zip(columns, values, strict=True)
        ]
        pixels |= {f"image{number}": picture, f"masks{number}": masks}
    return pd.DataFrame(rows), pixels


def _boxed(sam: Sam, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
    """The mask of each box."""
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    return [predictor.predict(box=np.array(box), multimask_output=False)[0][0] for box in boxes]


def everything(sam: Sam, name: str, image: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Masks of everything in an image without a prompt: by SAM, whole, and over four servers."""
    with local_servers(4, ["--sam", name]) as servers:
        addresses = [server.address for server in servers]
        with EdgeCompute(WindowBlocks(sam.image_encoder), addresses) as edge:
            split = replace_encoder(sam, PartitionedEncoder(sam.image_encoder, edge))
            found = {
                title: SamAutomaticMaskGenerator(model, **AUTOMATIC).generate(image)
                for title, model in {WHOLE: sam, "exact, 4 servers": split}.items()
            }
    return {title: [each["segmentation"] for each in masks] for title, masks in found.items()}


def _small(image: np.ndarray, masks: np.ndarray) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """The factor to `SIDE` pixels at the longer side at most; image and masks (0, 1) so shrunk."""
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = round(factor * width), round(factor * height)
    picture = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    parts = [
        np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
        for mask in masks
    ]
    return factor, (picture, np.stack(parts))
