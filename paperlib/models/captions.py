"""Captioned images for training the small CLIPs.

OpenMoji scenes with one or two objects, drawn once; or CIFAR-10's images together with such scenes,
so that the text tower knows more than ten words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from paperlib.data.cifar import CIFAR100_CLASSES, load_cifar
from paperlib.data.openmoji import SceneClass, draw_scenes, load_classes, load_classes10
from paperlib.models.clip import CompactTokenizer

SIZE = 64
TEMPLATES = (
    *OPENAI_IMAGENET_TEMPLATES,
    lambda name: f"a low contrast photo of a {name}.",
    lambda name: f"a high contrast photo of a {name}.",
    lambda name: f"a photo of a big {name}.",
)


@dataclass(frozen=True)
class CaptionedImages:
    """Images and what they show.

    Attributes:
        images: RGB, 0 to 255.
        labels: classes of the objects in an image, -1 where it has fewer.
        classes: of the labels, each name once.
        source: in words, for a card.
        photographs: how many of the images, the first ones, are CIFAR-10's.
    """

    images: UInt8[Tensor, "n 3 size size"]
    labels: Int[Tensor, "n objects"]
    classes: tuple[SceneClass, ...]
    source: str
    photographs: int = 0


def draw_captioned(split: str, count: int, size: int = SIZE, seed: int = 0) -> CaptionedImages:
    """Scenes: 55 % with one and 25 % with two of the curated classes, 20 % of CIFAR-10's ten.

    Raises:
        ValueError: unknown split, or fewer than 20 scenes.
    """
    if count < 20:
        raise ValueError(f"count={count}: valid are 20 and more")
    merged = merge_classes(load_classes(), load_classes10())
    index = {entry.name: label for label, entry in enumerate(merged)}
    images, labels = [], []
    ends = [0, count * 11 // 20, count * 16 // 20, count]
    for (start, end), classes, objects in zip(
        pairwise(ends),
        (load_classes(), load_classes(), load_classes10()),
        ((1, 1), (2, 2), (1, 1)),
        strict=True,
    ):
        scenes = draw_scenes(
            split, range(start, end), size=size, classes=classes, seed=seed, objects=objects
        )
        names = torch.tensor([index[entry.name] for entry in classes])
        images.append(scenes.images)
        labels.append(F.pad(names[scenes.labels], (0, 2 - objects[1]), value=-1))
    return CaptionedImages(
        torch.cat(images), torch.cat(labels), merged, f"{count:,} OpenMoji scenes"
    )


def merge_classes(*lists: Sequence[SceneClass]) -> tuple[SceneClass, ...]:
    """All classes, each name once."""
    return tuple({entry.name: entry for classes in lists for entry in classes}.values())


def with_cifar10(scenes: CaptionedImages, split: str = "train") -> CaptionedImages:
    """CIFAR-10's images, enlarged to the scenes' size, before the scenes."""
    cifar = load_cifar("cifar10", split)
    index = {entry.name: label for label, entry in enumerate(scenes.classes)}
    labels = torch.tensor([index[name] for name in cifar.classes])[cifar.labels]
    size = scenes.images.shape[-1]
    enlarged = [
        F.interpolate(part, size=(size, size), mode="bicubic")  # 8-bit in, 8-bit out
        for part in cifar.images.split(5_000)
    ]
    return CaptionedImages(
        torch.cat([*enlarged, scenes.images]),
        torch.cat([F.pad(labels[:, None], (0, 1), value=-1), scenes.labels]),
        scenes.classes,
        f"{len(cifar):,} training images of {cifar.source}, and {scenes.source}",
        len(cifar),
    )


def captions(data: CaptionedImages, chosen: Int[Tensor, " n"]) -> list[str]:
    """A text for each chosen image, its template and order drawn from torch's generator."""
    templates = torch.randint(len(TEMPLATES), (len(chosen),)).tolist()
    swapped = (torch.rand(len(chosen)) < 0.5).tolist()
    texts = []
    for row, template, swap in zip(data.labels[chosen].tolist(), templates, swapped, strict=True):
        shown = [data.classes[label] for label in row if label >= 0]
        if len(shown) == 1:
            texts.append(TEMPLATES[template](shown[0].name))
        else:
            first, second = reversed(shown) if swap else shown
            texts.append(f"{first.phrase} and {second.phrase}.")
    return texts


def make_tokenizer() -> CompactTokenizer:
    """The tokens of all class names (CIFAR-100's too) and templates."""
    names = [entry.phrase for entry in merge_classes(load_classes(), load_classes10())]
    names += [name.replace("_", " ") for name in CIFAR100_CLASSES]
    return CompactTokenizer.of([*names, "and", *(template("") for template in TEMPLATES)])
