r"""Segmentation with SAM: images, prompts made from true masks, and what SAM answers.

| prompt   | made from the true mask                                             | answer      |
|----------|---------------------------------------------------------------------|-------------|
| box      | the smallest around it                                              | single mask |
| 1 point  | the pixel farthest from its edge                                    | best of 3   |
| 3 points | that pixel, and twice the one farthest from the edge and from those | single mask |

The best of three masks is the one of which SAM itself predicts the highest IoU. Masks come from
``SamPredictor``, so that everything but the encoder is segment_anything's.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import nn

from paperlib.data.coco import SegmentedImage, load_coco
from paperlib.models.sam import IMAGE
from paperlib.pedsam.small_sam.masks import box_prompt, ious, point_prompts
from paperlib.pedsam.small_sam.scenes import DRAWN, OBJECTS, Draws, draw_in_parts, scale
from paperlib.runtime import progress
from paperlib.seeds import derive

PROMPTS = ("box", "1 point", "3 points")
SMALLEST = 1 / 256  # share of the image below which what is seen of an object is no target


def load_draws(dataset: str, count: int, number: int, seed: int) -> Draws:
    """`number` draws of `count` images with the masks of their objects; they share none.

    Args:
        dataset: openmoji (scenes with objects of held-out classes) or coco (val2017).
        count: images of a draw.
        number: of draws.
        seed: of the scenes, or of the choice among COCO's images.

    Raises:
        ValueError: unknown data set, or COCO has too few images.
        FileNotFoundError: COCO is not there; the message says where to put it.
    """
    if dataset == "openmoji":
        drawn = [draw_images(count, derive(seed, "scenes", k)) for k in range(number)]
        return Draws(drawn, DRAWN, scale(count, number))
    if dataset != "coco":
        raise ValueError(f"dataset={dataset!r}: valid are openmoji, coco")
    images = load_coco(number * count, derive(seed, "images"))
    parts = [images[k * count : (k + 1) * count] for k in range(number)]
    return Draws(parts, "COCO val2017", scale(count, number))


def draw_images(
    count: int, seed: int, size: int = IMAGE, objects: tuple[int, int] = OBJECTS
) -> list[SegmentedImage]:
    """Test scenes with the masks of their objects, but for those of which too little is seen."""
    return [
        SegmentedImage(image.transpose(1, 2, 0).copy(), masks[masks.mean((1, 2)) >= SMALLEST])
        for scenes in draw_in_parts("test", count, seed, size, objects)
        for image, masks in zip(scenes.images.numpy(), scenes.masks.numpy(), strict=True)
    ]


def replace_encoder(sam: Sam, encoder: nn.Module) -> Sam:
    """A SAM that differs in its image encoder and shares all else; in eval mode."""
    mean, std = sam.pixel_mean.flatten().tolist(), sam.pixel_std.flatten().tolist()
    return Sam(encoder, sam.prompt_encoder, sam.mask_decoder, mean, std).eval()


def segment(
    sam: Sam, images: Sequence[SegmentedImage], prompts: Sequence[str] = PROMPTS
) -> dict[str, list[Bool[np.ndarray, "height width"]]]:
    """Masks by prompt: one for each object of each image, in order.

    Raises:
        ValueError: unknown prompt, with the valid ones.
    """
    unknown = set(prompts) - set(PROMPTS)
    if unknown:
        raise ValueError(f"prompts {sorted(unknown)} are unknown: valid are {', '.join(PROMPTS)}")
    predictor, answers = SamPredictor(sam), {name: [] for name in prompts}
    for each in progress(images, "segmenting"):
        predictor.set_image(each.image)
        for mask in each.masks:
            for name in prompts:
                answers[name].append(_answer(predictor, mask, name))
    return answers


def filled_boxes(images: Sequence[SegmentedImage]) -> list[Bool[np.ndarray, "height width"]]:
    """The box prompt of each object, filled: what one has without any network."""
    filled = []
    for mask in true_masks(images):
        left, top, right, bottom = box_prompt(mask).astype(int)
        answer = np.zeros_like(mask)
        answer[top : bottom + 1, left : right + 1] = True
        filled.append(answer)
    return filled


def by_size(
    answers: Mapping[str, Sequence[Bool[np.ndarray, "height width"]]],
    images: Sequence[SegmentedImage],
) -> pd.DataFrame:
    """Mean IoU with the true masks: a row for all objects and for each of COCO's classes of size.

    Args:
        answers: masks by prompt.
        images: with the true masks.

    Returns:
        Columns: objects (how many), the prompts, filled box. Small objects have less than 32²
        pixels, large ones more than 96². Classes without objects are left out.
    """
    truth = true_masks(images)
    columns = {**answers, "filled box": filled_boxes(images)}
    values = pd.DataFrame({name: ious(masks, truth) for name, masks in columns.items()})
    pixels = np.array([mask.sum() for mask in truth])
    size = np.digitize(pixels, [32**2, 96**2 + 1])
    parts = {"all": values} | {
        name: values[size == k] for k, name in enumerate(("small", "medium", "large"))
    }
    rows = {
        name: {"objects": len(part), **part.mean()} for name, part in parts.items() if len(part)
    }
    return pd.DataFrame(rows).T.astype({"objects": int})


def true_masks(images: Sequence[SegmentedImage]) -> list[Bool[np.ndarray, "height width"]]:
    """The objects of all images in the order of `segment`."""
    return [mask for each in images for mask in each.masks]


def _answer(predictor: SamPredictor, mask: np.ndarray, prompt: str) -> np.ndarray:
    if prompt == "box":
        masks, _, _ = predictor.predict(box=box_prompt(mask), multimask_output=False)
        return masks[0]
    points = point_prompts(mask, int(prompt[0]))
    masks, scores, _ = predictor.predict(
        points, np.ones(len(points)), multimask_output=len(points) == 1
    )
    return masks[scores.argmax()].copy()  # else the other two stay with it
