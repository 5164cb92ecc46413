"""Take a band of frequencies out of an image in JupyterLab, and see what a network says then.

The fall of the true class's logit is the δ of `paperlib.freq.occlusion`, of a band as a whole.
"""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.freq.bands import filter_components, radius
from paperlib.models.frozen import frozen
from paperlib.notebook.figures import as_pixels, image_row


def show_without(
    network: nn.Module,
    image: Float[Tensor, "3 height width"],
    label: int,
    classes: Sequence[str],
    band: tuple[int, int],
) -> plt.Figure:
    """An image, the same without a band, and the band alone on grey, with the network's logits.

    Args:
        network: takes images in [0, 1], returns logits.
        image: in [0, 1], on the network's device.
        label: the true class, whose logit is given.
        classes: their names; the second title says which one has the largest logit.
        band: first and last max(u, v) that is taken out.
    """
    distance = radius(*image.shape[-2:], "square").to(image.device)
    without = filter_components(image, (distance < band[0]) | (distance > band[1]))
    with frozen(network), torch.inference_mode():
        scores = network(torch.stack([image, without]))
    before, after = scores[:, label].tolist()
    seen = classes[int(scores[1].argmax())]
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.7))
    titles = [f"logit of {classes[label]} {before:.1f}", f"without {after:.1f}, seen as {seen}"]
    pictures = torch.stack([image, without, image - without + 0.5]).cpu()
    image_row(axes, as_pixels(pictures), [*titles, "taken out"])
    return figure


def explorer(
    networks: Mapping[str, nn.Module],
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
) -> widgets.Widget:
    """Controls for `show_without` with its picture below; networks by title."""
    last = min(images.shape[-2:]) - 1

    def draw(network: str, image: int, band: tuple[int, int]) -> None:
        show_without(networks[network], images[image], int(labels[image]), classes, band)
        plt.show()

    return widgets.interactive(
        draw,
        network=list(networks),
        image=widgets.IntSlider(0, 0, len(images) - 1),
        band=widgets.IntRangeSlider(value=(8, last), min=0, max=last, description="max(u, v)"),
    )
