"""What is seen of a network before it is measured: faults end it at once, doubts are said."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperlib.freq.sampled import first_order_changes
from paperlib.freq.tables import bootstrap
from paperlib.models.classifier import (
    GAIN,
    NORMALISATIONS,
    Classifier,
    FirstLook,
    Images,
    check_labels,
    floats,
)
from paperlib.models.frozen import frozen

LUMA = (0.299, 0.587, 0.114)  # of RGB in a grey image, ITU-R BT.601, as Pillow has it
BATCH = 100  # most images in one forward pass


def taken(
    networks: Mapping[str, Classifier], images: Images, labels: Int[Tensor, " n"]
) -> Float[Tensor, "n taken height width"]:
    """The images as the networks take them: in grey where one of them has one input channel.

    Args:
        networks: by title; all are given the same images.
        images: floats in [0, 1] or uint8.
        labels: true classes.

    Raises:
        ValueError: a network fails on the images, gives logits that are no numbers or have no
            gradient, or has no logit for a label; with its title.
    """
    images = floats(images)
    if images.shape[1] == 3 and any(_grey_only(model, images) for model in networks.values()):
        images = torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))[:, None].clamp(0, 1)
    for title, model in networks.items():
        shape = " x ".join(map(str, images.shape[1:]))
        with _named(f"{title} fails on images of {shape}"):
            found = logits(model, images)
        if bad := (~found.isfinite().all(1)).sum().item():
            raise ValueError(
                f"{title} gives logits that are NaN or infinite for {bad} of {len(images)} images"
            )
        with _named(title):
            check_labels(labels, len(images), found.shape[1])
            first_order_changes(model, images[:1], labels[:1])
    return images


def doubts(
    model: Classifier, images: Images, labels: Int[Tensor, " n"], look: FirstLook
) -> list[str]:
    """What may be wrong with a network that works, in words, each a sentence.

    Another normalisation is named where it gains `GAIN` of accuracy or more and the 95 % interval
    of the gain, over images, is above 0: with few images one more that is right may be chance.
    """
    images, said = floats(images), []
    own = logits(model, images)
    best = max(look.others, key=look.others.__getitem__)
    if look.others[best] - look.accuracy >= GAIN:
        mean, std = NORMALISATIONS[best]
        if len(mean) not in (1, images.shape[1]):
            mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
        if _gains(Classifier(model.network, mean, std, model.output), own, images, labels):
            said.append(f"{look.warning}, of {len(images)} images")
    whole = Classifier(model.network, (0.0,), (1 / 255,), model.output)
    if _gains(whole, own, images, labels):
        right = (logits(whole, images).argmax(1) == labels).float().mean()
        said.append(
            f"the accuracy is {look.accuracy:.1%}, and {right:.1%} with pixels from 0 to 255: "
            "Classifier(network, std=(1 / 255,))"
        )
    if (own >= 0).all() and (own.sum(1) - 1).abs().max() < 1e-3:
        said.append(
            "what it returns sums to 1, as probabilities do: logits are measured here, so take "
            "the softmax from its end, since it flattens small changes"
        )
    return said


def logits(model: Classifier, images: Images) -> Float[Tensor, "n classes"]:
    """Logits of all images, in eval mode."""
    with frozen(model), torch.inference_mode():
        return torch.cat([model(part) for part in floats(images).split(BATCH)])


def _grey_only(model: Classifier, images: Tensor) -> bool:
    """Whether a network fails on three channels and takes one."""
    works = []
    for some in (images[:1], images[:1, :1]):
        try:
            logits(model, some)
        except Exception:  # of any kind: it is the network's own code
            works.append(False)
        else:
            works.append(True)
    return works == [False, True]


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """What a network's own code raises, as one sentence.

    Raises:
        ValueError: for any exception.
    """
    try:
        yield
    except Exception as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{what}: {why}") from error


def _gains(other: Classifier, own: Tensor, images: Tensor, labels: Tensor) -> bool:
    """Whether another classifier gets `GAIN` more right, with an interval above 0."""

    def right(found: Tensor) -> Bool[np.ndarray, " n"]:
        return (found.argmax(1) == labels).cpu().numpy()

    gain = right(logits(other, images)).astype(float) - right(own)
    return bool(gain.mean() >= GAIN and bootstrap(gain)[0] > 0)
