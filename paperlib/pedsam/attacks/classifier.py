"""A classifier of views: it is trained on views of all kinds, so adapted to missing windows."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

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
