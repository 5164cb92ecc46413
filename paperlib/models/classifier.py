r"""Any network as a classifier: images in [0, 1] go in, logits (n, classes) come out.

Everything here works in pixel space, so a network that was trained on shifted and scaled pixels is
wrapped once, and is then told images in [0, 1]:

    model = Classifier(network, *NORMALISATIONS["ImageNet's"])

To forget this costs most of the accuracy without a word; `first_look` says the accuracy and names
the usual normalisation that is better. Of images, float of any precision and uint8 are taken, grey
or colour, of any size. A network with one logit $z$, whose probability of class 1 is
$\sigma(z)$, is taken as one with the two logits $(-z/2, z/2)$, whose softmax is the same.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from paperlib.models.frozen import frozen

Images = Float[Tensor, "n channels height width"] | UInt8[Tensor, "n channels height width"]
Statistic = tuple  # a number for each channel, or one for all

NORMALISATIONS: dict[str, tuple[Statistic, Statistic]] = {  # mean and deviation by channel
    "none": ((0.0,), (1.0,)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "0.5 and 0.5": ((0.5,), (0.5,)),
}
PIXELS = 100 * 64 * 64  # most in one pass, of the usual batches
GAIN = 0.05  # of accuracy, from which another normalisation is worth a warning


class Classifier(nn.Module):
    """A network behind its normalisation, as a map from images in [0, 1] to float logits.

    A network in half precision is copied to single precision, in which a small change of a logit
    does not round to nothing.

    Args:
        network: a module, or a function of images.
        mean, std: by channel, or one for all channels; pixels are shifted and scaled by them.
        output: takes the logits out of what the network returns, ``lambda out: out[0]``.

    Raises:
        ValueError: (on a call) the network returns something else than logits (n, classes).
    """

    def __init__(
        self,
        network: Callable[[Tensor], Any],
        mean: Statistic = (0.0,),
        std: Statistic = (1.0,),
        output: Callable[[Any], Tensor] = lambda returned: returned,
    ) -> None:
        super().__init__()
        if isinstance(network, nn.Module) and _precision(network) in (torch.half, torch.bfloat16):
            network = copy.deepcopy(network).float()
        self.network, self.output = network, output
        self.normalises = any(mean) or any(value != 1 for value in std)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Images) -> Float[Tensor, "n classes"]:
        """Logits; images out of [0, 1] are taken too, as occlusion makes them."""
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.normalises:
            x = (x - self.mean.to(x)) / self.std.to(x)
        found = self.output(self.network(x.to(_precision(self.network) or x.dtype)))
        return _logits(found, len(images), type(self.network).__name__)

    def classes(self, images: Images) -> int:
        """How many logits it has."""
        with frozen(self), torch.no_grad():
            return self(floats(images[:1])).shape[1]


def as_classifier(model: Callable[[Tensor], Any]) -> Classifier:
    """The model itself if it is a `Classifier`, else the model behind no normalisation."""
    return model if isinstance(model, Classifier) else Classifier(model)


def _logits(found: Any, images: int, name: str) -> Float[Tensor, "n classes"]:
    """What the network of a name returned for so many images, if it is logits."""
    if not isinstance(found, Tensor):
        raise ValueError(
            f"{name} returns a {type(found).__name__}; needed is a tensor of logits (n, classes): "
            "Classifier(network, output=lambda out: out[0]) takes it out of a tuple"
        )
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or len(found) != images:
        raise ValueError(
            f"{name} returns the shape {tuple(found.shape)} for {images} images; needed are "
            "logits (n, classes)"
        )
    if found.shape[1] == 1:
        found = torch.cat([-found / 2, found / 2], 1)
    return found if found.dtype == torch.float64 else found.float()


def floats(images: Tensor) -> Float[Tensor, "n channels height width"]:
    """Images as floats in [0, 1], of single precision at least; uint8 is divided by 255.

    Raises:
        ValueError: another shape or type, a value that is no number, or one out of [0, 1].
    """
    if images.ndim != 4 or not images.numel():
        raise ValueError(
            f"images have shape {tuple(images.shape)}: (n, channels, height, width) is valid"
        )
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}: floats from 0 to 1 and uint8 are valid")
    bad = images.isnan().flatten(1).any(1)
    if bad.any():
        first = bad.nonzero()[0].item()
        raise ValueError(f"{bad.sum()} of {len(images)} images hold NaN, the first is {first}")
    if images.min() < 0 or images.max() > 1:
        raise ValueError(
            f"images are from {images.min():g} to {images.max():g}: floats from 0 to 1 are valid, "
            "and Classifier(network, mean, std) normalises them"
        )
    return images if images.dtype == torch.float64 else images.float()


def at_once(images: Tensor, most: int) -> int:
    """How many images go through a network together: `most`, fewer above 64 × 64 pixels.

    So that a batch with its gradients takes no more memory at 224 pixels than at 64.
    """
    return max(1, min(most, PIXELS // (images.shape[-2] * images.shape[-1])))


def check_labels(labels: Tensor, images: int, classes: int) -> None:
    """See that there is one class index for each image.

    Raises:
        ValueError: another shape or type, or a label that the model has no logit for.
    """
    if labels.shape != (images,) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: "
            f"int64 of shape ({images},) is valid"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels are from {labels.min()} to {labels.max()}, but the model has {classes} "
            f"logits: 0 to {classes - 1} are valid"
        )


@dataclass(frozen=True)
class FirstLook:
    """The accuracy of a classifier as it is given, and with other normalisations before it.

    Attributes:
        accuracy: share of the images whose class is predicted, 0 to 1.
        others: the same by name of the normalisation, put before the network in place of its own.
    """

    accuracy: float
    others: Mapping[str, float]

    @property
    def warning(self) -> str:
        """Names the normalisation that gains `GAIN` or more; empty if there is none."""
        best = max(self.others, key=self.others.__getitem__)
        if self.others[best] - self.accuracy < GAIN:
            return ""
        return (
            f"the accuracy is {self.accuracy:.1%}, and {self.others[best]:.1%} with the "
            f"normalisation {best!r}: Classifier(network, *NORMALISATIONS[{best!r}])"
        )


def first_look(
    model: Callable[[Tensor], Any],
    images: Images,
    labels: Int[Tensor, " n"],
    batch: int = 100,
) -> FirstLook:
    """Accuracy of a model, and whether a usual normalisation would do better.

    Args:
        model: a network, or a `Classifier` of one.
        images: in [0, 1].
        labels: true classes.
        batch: most images in one forward pass.

    Raises:
        ValueError: as for `Classifier`, `floats` and `check_labels`.
    """
    images = floats(images)
    own = as_classifier(model)
    others = {
        name: Classifier(own.network, *_for(images.shape[1], *normalisation), own.output)
        for name, normalisation in NORMALISATIONS.items()
    }
    accuracies = {}
    for name, classifier in {"": own, **others}.items():
        place = next(classifier.parameters(), images).device
        if not name:
            check_labels(labels, len(images), classifier.classes(images.to(place)))
        with frozen(classifier), torch.inference_mode():
            found = [classifier(x.to(place)) for x in images.split(at_once(images, batch))]
        right = torch.cat([part.argmax(-1) for part in found]).to(labels.device) == labels
        accuracies[name] = right.float().mean().item()
    return FirstLook(accuracies.pop(""), accuracies)


def _for(channels: int, mean: Statistic, std: Statistic) -> tuple[Statistic, Statistic]:
    """Statistics of RGB for images of another number of channels: their mean for each."""
    if len(mean) in (1, channels):
        return mean, std
    return (sum(mean) / len(mean),), (sum(std) / len(std),)


def _precision(model: Callable) -> torch.dtype | None:
    """Of a model's parameters; None if it has none."""
    if not isinstance(model, nn.Module):
        return None
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
