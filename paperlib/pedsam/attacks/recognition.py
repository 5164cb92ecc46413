"""Recognition attack: can a server tell what is in the image from the windows that it sees?

Two attackers look at a view: a classifier that was trained on views of all kinds (so it is adapted
to missing windows), and SAM itself, prompted with the true box of every object, on the view with
the unseen pixels in the mean colour of the seen ones. Measured against both on the whole image.
The paper names an object-detection attack without its details; these stand for it.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float
from segment_anything.modeling import Sam
from torch import Tensor
from torchvision.ops import masks_to_boxes

from paperlib.models.frozen import frozen
from paperlib.pedsam.attacks.classifier import ViewClassifier, recognised
from paperlib.pedsam.attacks.images import load_objects, single_scenes
from paperlib.pedsam.attacks.networks import CLASSIFIER_SIZE, GRID
from paperlib.pedsam.attacks.reconstruction import mean_fill
from paperlib.pedsam.attacks.views import draw_views, to_pixels
from paperlib.pedsam.small_sam.masks import iou
from paperlib.pedsam.split.partition import KINDS
from paperlib.seeds import derive


def coalitions(servers: Sequence[int]) -> list[tuple[int, int]]:
    """Servers and how many of them collude: one that has all, one of so many, some of 16."""
    alone = [(1, 1), *((k, 1) for k in servers)]
    return list(dict.fromkeys([*alone, *((16, colluding) for colluding in (1, 2, 4, 8, 12))]))


def accuracies(
    classifier: ViewClassifier, servers: Sequence[int], count: int, draws: int, seed: int
) -> tuple[pd.DataFrame, str]:
    """Accuracy of the classifier on views of scenes of one object, and where those came from.

    Returns:
        A row for each assignment, coalition and draw of `count` scenes: assignment, servers,
        colluding, draw, accuracy (%).
    """
    device, rows = classifier.linear.weight.device, []
    for k in range(draws):
        scenes = single_scenes("test", count, derive(seed, "single scenes", k))
        images, labels = scenes.floats().to(device), scenes.labels.to(device)
        for kind in KINDS:
            for number, colluding in coalitions(servers):
                drawn = derive(seed, "views of single scenes", k)
                views = draw_views(GRID, kind, number, colluding, count, drawn)
                seen = to_pixels(views, CLASSIFIER_SIZE).to(device)
                right = recognised(classifier, images, seen, labels).float().mean().item()
                row = {"assignment": kind, "servers": number, "colluding": colluding, "draw": k}
                rows.append(row | {"accuracy": 100 * right})
    return pd.DataFrame(rows), scenes.source


def ious(sam: Sam, servers: Sequence[int], count: int, draws: int, seed: int) -> pd.DataFrame:
    """IoU of SAM's mask on a view, told the box, and of the box alone; random assignments.

    Returns:
        A row for each coalition and draw of `count` scenes: servers, colluding, draw, IoU, box.
    """
    rows = []
    for k in range(draws):
        images, masks = load_objects(count, derive(seed, "objects", k))
        images, masks = images.to(sam.device), masks.to(sam.device)
        box = iou(box_masks(masks), masks).mean().item()
        for number, colluding in coalitions(servers):
            drawn = derive(seed, "views of objects", k)
            views = draw_views(GRID, "random", number, colluding, count, drawn)
            seen = to_pixels(views, images.shape[-1]).to(sam.device)
            row = {"servers": number, "colluding": colluding, "draw": k, "box": box}
            rows.append(row | {"IoU": segmented(sam, images, seen, masks).mean().item()})
    return pd.DataFrame(rows)


def falls(values: pd.DataFrame) -> pd.DataFrame:
    """Fall from each number of servers (rows, ascending) to the next, by draw (columns)."""
    return -values.diff().iloc[1:]


def by_servers(accuracy: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Means over the draws for one server alone.

    Args:
        accuracy: of `accuracies`.
        found: of `ious`.

    Returns:
        A row for each number of servers: measure, assignment, servers, value; the measures are
        accuracy (%), IoU and box.
    """
    both = found.assign(assignment="random").merge(
        accuracy, how="outer", on=["assignment", "servers", "colluding", "draw"]
    )
    alone = both[both.colluding == 1].melt(
        ["assignment", "servers"], ["accuracy", "IoU", "box"], "measure"
    )
    means = alone.dropna().groupby(["measure", "assignment", "servers"]).value.mean()
    return means.reset_index()


def segmented(
    sam: Sam,
    images: Float[Tensor, "n 3 size size"],
    seen: Bool[Tensor, "n size size"],
    masks: Bool[Tensor, "n size size"],
    batch: int = 10,
) -> Float[Tensor, " n"]:
    """IoU, 0 to 1, of SAM's mask on each mean-filled view with the true mask, prompted by its box.

    Args:
        sam: whose own encoder looks at the view.
        images: RGB in [0, 1], at SAM's input size.
        seen: the views.
        masks: of one object in each image, not empty.
        batch: images at a time.
    """
    views, boxes = 255 * mean_fill(images, seen), masks_to_boxes(masks)
    guesses = []
    with frozen(sam), torch.inference_mode():
        for start in range(0, len(images), batch):
            inputs = [
                {"image": view, "original_size": view.shape[1:], "boxes": box[None]}
                for view, box in zip(
                    views[start : start + batch], boxes[start : start + batch], strict=True
                )
            ]
            guesses += [output["masks"][0, 0] for output in sam(inputs, multimask_output=False)]
    return iou(torch.stack(guesses), masks)


def box_masks(masks: Bool[Tensor, "n size size"]) -> Bool[Tensor, "n size size"]:
    """The box around each mask, filled: what the prompt alone says of the object."""
    rows, columns = masks.any(2), masks.any(1)
    spans = [
        side.cummax(1).values & side.flip(1).cummax(1).values.flip(1) for side in (rows, columns)
    ]
    return spans[0][:, :, None] & spans[1][:, None, :]
