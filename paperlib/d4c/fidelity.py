r"""How close a quantized CLIP is to the one in floating point, on images of one's own.

Without labels: the mean cosine $\cos(f(x), \hat f(x))$ of the image features, and how often both
give an image the same class. With labels also the zero-shot Top-1 of both. In one pass over the
images, so that a data set need not fit into memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.models.clip import encode_images

UNLABELLED = -1  # in place of a class


@dataclass(frozen=True)
class Fidelity:
    """What `fidelity` measures, all as shares from 0 to 1 but for the cosine.

    Attributes:
        images: how many there were.
        cosine: mean over images of the cosine between both features, -1 to 1.
        agreement: images that both models give the same class.
        top1, float_top1: images that the quantized model, and the float one, give their class; None
            where no image is labelled.
    """

    images: int
    cosine: float
    agreement: float
    top1: float | None
    float_top1: float | None


def fidelity(
    model: nn.Module,
    quantized: nn.Module,
    texts: Float[Tensor, "classes features"],
    quantized_texts: Float[Tensor, "classes features"],
    batches: Iterable[tuple[Float[Tensor, "n 3 size size"], Int[Tensor, " n"]]],
) -> Fidelity:
    """Compare both models on images, each with its own texts.

    Args:
        model: the CLIP in floating point.
        quantized: the quantized one.
        texts, quantized_texts: unit features of the classes by each (see `class_features`).
        batches: images, normalised as the models take them, and labels, all `UNLABELLED` if there
            are none.

    Raises:
        ValueError: there are no images, or a label is not of a class.
    """
    cosines, found, labels = [], [], []
    for images, truth in batches:
        exact, near = encode_images(model, images), encode_images(quantized, images)
        cosines.append((exact * near).sum(1).cpu())
        guesses = [(exact @ texts.T).argmax(1), (near @ quantized_texts.T).argmax(1)]
        found.append(torch.stack(guesses).cpu())
        labels.append(truth)
    if not labels:
        raise ValueError("batches: there are no images")
    truth, (exactly, nearly) = torch.cat(labels), torch.cat(found, dim=1)
    labelled = bool((truth != UNLABELLED).any())
    if labelled and not 0 <= int(truth.min()) <= int(truth.max()) < len(texts):
        raise ValueError(f"labels {int(truth.min())} to {int(truth.max())}: {len(texts)} classes")
    return Fidelity(
        images=len(truth),
        cosine=float(torch.cat(cosines).mean()),
        agreement=float((exactly == nearly).float().mean()),
        top1=float((nearly == truth).float().mean()) if labelled else None,
        float_top1=float((exactly == truth).float().mean()) if labelled else None,
    )
