r"""What calibration images show: their semantics and their diversity, compared with real images.

Similarity to prompts, $f(x)^\top g(t)$; similarity between the patches of one image, from a
feature map of the image tower; the information between images and prompts as another network sees
it; and a plane through the space of image features, on which the
images of several methods lie beside real ones (principal components). Source: the two limits of
earlier methods in D4C, arXiv 2511.15411.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor, nn

from paperlib.d4c.baselines import pair_similarities
from paperlib.d4c.prompts import GENERIC_NAMES, photo
from paperlib.models.clip import (
    Tokenizer,
    class_features,
    denormalise,
    encode_images,
    image_size,
)
from paperlib.models.frozen import frozen

LEAST_SIDE = 4  # of the feature map that patches are taken from
NOTHING = 2.0  # prompts: whoever tells as many apart in noise sees what is not there


def prompt_similarities(
    model: nn.Module,
    texts: Float[Tensor, "prompts features"],
    images: Float[Tensor, "n 3 size size"],
) -> Float[Tensor, "n prompts"]:
    """Cosine similarity of normalised images to prompts' unit features, -1 to 1."""
    return encode_images(model, images) @ texts.T


def prompt_information(
    judge: nn.Module,
    texts: Float[Tensor, "prompts features"],
    images: Float[Tensor, "n 3 size size"],
) -> float:
    r"""How many prompts a set of images tells apart, by a judge that did not make them: 1 to n.

    $\exp\bigl(H(\bar p) - \overline{H(p)}\bigr)$, the exponential of the mutual information between
    images and prompts, with $p(t \mid x) = \mathrm{softmax}_t(\cos(f(x), g(t)) / \tau)$ at the
    judge's own temperature. Images that show nothing, or all the same, have 1; those that each show
    something else, and clearly, have n, which caps it: compare equal numbers of images alone.

    Args:
        judge: a CLIP; not the one that the images were optimised for.
        texts: its unit features of the prompts.
        images: normalised.
    """
    scale = judge.logit_scale.exp().item()
    shares = (scale * prompt_similarities(judge, texts, images)).double().softmax(1)
    mean = shares.mean(0)
    inside = torch.special.entr(shares).sum(1).mean()
    return (torch.special.entr(mean).sum() - inside).exp().item()


def told_apart(
    judges: Mapping[str, tuple[nn.Module, Tokenizer]],
    images: Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]],
) -> dict[tuple[str, int, str], float]:
    """The `prompt_information` of sets of images about the generic names.

    Args:
        judges: CLIPs that judge, by the encoder that the images were made for; images of another
            size than they take are resized.
        images: by encoder, draw and method.
    """
    texts = {name: class_features(*clip, GENERIC_NAMES, [photo]) for name, clip in judges.items()}
    return {
        key: prompt_information(judges[key[0]][0], texts[key[0]], _fitted(judges[key[0]][0], drawn))
        for key, drawn in images.items()
    }


def check_sight(told: Mapping[tuple[str, int, str], float]) -> None:
    """Whether the judges see anything: in the mean over draws, nothing in noise, something in real
    images.

    Args:
        told: of `told_apart`, with the methods "real" and "gaussian".

    Raises:
        ValueError: a judge tells `NOTHING` prompts or more apart in noise, or no more in real
            images: what it says of other images says nothing.
    """
    found = pd.Series(told).groupby(level=[0, 2]).mean().unstack()
    for name, row in found.iterrows():
        if not row.gaussian < min(NOTHING, row.real):
            words = f"{row.gaussian:.2f} prompts apart in noise, {row.real:.2f} in real images"
            raise ValueError(f"the judge of {name}'s images is blind: it tells {words}")


def _fitted(judge: nn.Module, images: Float[Tensor, "n 3 size size"]) -> Tensor:
    """Images at the size that a CLIP takes."""
    size = image_size(judge)
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True)


def patch_similarities(
    model: nn.Module, images: Float[Tensor, "n 3 size size"], batch: int = 64
) -> Float[Tensor, "n pairs"]:
    """Cosine similarities between different patches of an image, -1 to 1.

    Patches are the places of the deepest feature map of at least 4 × 4: the last block's tokens
    of a ViT; the last such stage of a ResNet.
    """
    place = next(model.parameters()).device
    with frozen(model), torch.inference_mode():
        similarities = []
        for part in images.split(batch):
            maps = model.visual.forward_intermediates(part.to(place), intermediates_only=True)
            deepest = [m for m in maps["image_intermediates"] if m.shape[-1] >= LEAST_SIDE][-1]
            similarities.append(pair_similarities(deepest.flatten(2).mT))
    return torch.cat(similarities).clone()


def share_out_of_range(images: Float[Tensor, "n 3 size size"]) -> float:
    """Share of the normalised images' values that are darker than black or brighter than white."""
    pixels = denormalise(images)
    return ((pixels < 0) | (pixels > 1)).double().mean().item()


def embed(
    features: Mapping[str, Float[Tensor, "n features"]], reference: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Image features on the first two principal components of one method's.

    Args:
        features: by method, such as from `encode_images`.
        reference: the method that gives the components, such as "real".

    Returns:
        Coordinates (n, 2) by method, and the share of the reference's variance on each component.

    Raises:
        ValueError: `reference` is none of the methods.
    """
    if reference not in features:
        raise ValueError(f"reference={reference!r}: valid are {', '.join(map(repr, features))}")
    plane = PCA(n_components=2, svd_solver="full").fit(features[reference].cpu().numpy())
    places = {method: plane.transform(x.cpu().numpy()) for method, x in features.items()}
    return places, plane.explained_variance_ratio_
