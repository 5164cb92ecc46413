"""Recognition attack: can a server tell what is in the image from the windows that it sees?

Two attackers look at a view: a classifier that was trained on views of all kinds (so it is adapted
to missing windows), and SAM itself, prompted with the true box of every object, on the view with
the unseen pixels in the mean colour of the seen ones. Measured against both on the whole image.
The paper names an object-detection attack without its details; these stand for it.
"""

import torch
from jaxtyping import Bool, Float, Int
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from paperlib.models.cnn import MEAN, STD
from paperlib.models.frozen import frozen
from paperlib.pedsam.attacks.reconstruction import mean_fill


class ViewClassifier(nn.Module):
    """A small CNN on a view: mean-filled colours and the mask of what was seen; 0.3 M parameters.

    Args:
        classes: number of classes.
        channels: of the first stage; doubled in each of the two that follow.
    """

    def __init__(self, classes: int = 10, channels: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 4
        for stage in range(3):
            for stride in (2, 1):
                out = channels * 2**stage
                layers += [nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)]
                layers.append(nn.ReLU())
                width = out
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(width, classes)

    def forward(
        self, images: Float[Tensor, "n 3 size size"], seen: Bool[Tensor, "n size size"]
    ) -> Float[Tensor, "n classes"]:
        """Logits; `images` in [0, 1], of which only the seen pixels count."""
        mean, std = (images.new_tensor(value).view(3, 1, 1) for value in (MEAN, STD))
        x = (mean_fill(images, seen) - mean) / std
        x = torch.cat([x, seen[:, None].to(x)], dim=1)
        x = self.features(x.contiguous(memory_format=torch.channels_last))
        return self.linear(x.mean((2, 3)))


def recognised(
    model: ViewClassifier,
    images: Float[Tensor, "n 3 size size"],
    seen: Bool[Tensor, "n size size"],
    labels: Int[Tensor, " n"],
    batch: int = 100,
) -> Bool[Tensor, " n"]:
    """Whether the classifier names each image's class from its view."""
    with frozen(model), torch.inference_mode():
        parts = zip(images.split(batch), seen.split(batch), strict=True)
        guesses = torch.cat([model(x, m).argmax(-1) for x, m in parts])
    return guesses == labels


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


def iou(
    guesses: Bool[Tensor, "n size size"], masks: Bool[Tensor, "n size size"]
) -> Float[Tensor, " n"]:
    """Intersection over union of each pair of masks, of which one at least is not empty."""
    return (guesses & masks).sum((1, 2)) / (guesses | masks).sum((1, 2))
