"""Captioned images for training the small CLIPs.

OpenMoji scenes with one or two objects, drawn once; or the photographs of CIFAR-10 or Tiny ImageNet
together with such scenes, so that the text tower knows more words than theirs.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from joblib import Parallel, delayed
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from paperlib.data.cifar import CIFAR100_CLASSES, load_cifar
from paperlib.data.openmoji import SceneClass, Scenes, draw_scenes, load_classes, load_classes10
from paperlib.data.tiny_imagenet import load_tiny_imagenet, tiny_imagenet_names
from paperlib.models.clip import CompactTokenizer

SIZE = 64
PART = 500  # scenes that one process draws at a time
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
        photographs: how many of the images, the first ones, are no scenes.
        synonyms: further names of a class, by its name.
    """

    images: UInt8[Tensor, "n 3 size size"]
    labels: Int[Tensor, "n objects"]
    classes: tuple[SceneClass, ...]
    source: str
    photographs: int = 0
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
        scenes = draw_many(
            split, range(start, end), size=size, classes=classes, seed=seed, objects=objects
        )
        names = torch.tensor([index[entry.name] for entry in classes])
        images.append(scenes.images)
        labels.append(F.pad(names[scenes.labels], (0, 2 - objects[1]), value=-1))
    return CaptionedImages(
        torch.cat(images), torch.cat(labels), merged, f"{count:,} OpenMoji scenes"
    )


def draw_many(split: str, indices: Sequence[int], **how: Any) -> Scenes:
    """`draw_scenes` by as many processes as there are processors."""
    parts = [indices[k : k + PART] for k in range(0, len(indices), PART)]
    run = Parallel(min(len(parts), os.cpu_count() or 1))
    drawn = run(delayed(draw_scenes)(split, part, **how) for part in parts)
    return Scenes(
        torch.cat([scenes.images for scenes in drawn]),
        torch.cat([scenes.labels for scenes in drawn]),
        torch.cat([scenes.masks for scenes in drawn]),
        tuple(text for scenes in drawn for text in scenes.captions),
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


def with_tiny_imagenet(scenes: CaptionedImages, split: str = "train") -> CaptionedImages:
    """Tiny ImageNet's photographs before the scenes; a class that both have is one class."""
    tiny = load_tiny_imagenet(split)
    own = [SceneClass(name, "an" if name[0] in "aeiouAEIOU" else "a", ()) for name in tiny.classes]
    classes = merge_classes(scenes.classes, own)
    index = {entry.name: label for label, entry in enumerate(classes)}
    labels = torch.tensor([index[name] for name in tiny.classes])[tiny.labels]
    return CaptionedImages(
        torch.cat([tiny.images, scenes.images]),
        torch.cat([F.pad(labels[:, None], (0, 1), value=-1), scenes.labels]),
        classes,
        f"{len(tiny):,} training images of {tiny.source}, and {scenes.source}",
        len(tiny),
        {
            first: tuple(name for name in others if name not in index)
            for first, *others in tiny_imagenet_names()
        },
    )


class Captions:
    """The texts that may go with each image, as tokens: one of them is drawn for each step.

    An image of one object has its class's name in every template; if there are synonyms, half of
    its texts have one of them. An image of two objects has their names in both orders.

    Attributes:
        tokens: of all texts.
        first: row of an image's first text in `tokens`.
        count: of its texts, which follow one another.
    """

    def __init__(self, data: CaptionedImages, tokenizer: CompactTokenizer) -> None:
        device = data.images.device
        kinds, kind = data.labels.unique(dim=0, return_inverse=True)
        texts = [_texts(data, [label for label in row if label >= 0]) for row in kinds.tolist()]
        counts = torch.tensor([len(some) for some in texts])
        self.tokens = tokenizer([text for some in texts for text in some]).to(device)
        self.first = (counts.cumsum(0) - counts).to(device)[kind]
        self.count = counts.to(device)[kind]

    def draw(self, chosen: Int[Tensor, " n"]) -> Int[Tensor, "n context"]:
        """Tokens of a text for each chosen image, drawn from torch's generator."""
        share = torch.rand(len(chosen), device=self.tokens.device)
        return self.tokens[self.first[chosen] + (share * self.count[chosen]).long()]


def _texts(data: CaptionedImages, labels: Sequence[int]) -> list[str]:
    shown = [data.classes[label] for label in labels]
    if len(shown) > 1:
        first, second = shown
        return [f"{a.phrase} and {b.phrase}." for a, b in ((first, second), (second, first))]
    name = shown[0].name
    others = data.synonyms.get(name, ())
    names = [name] * max(1, len(others)) + list(others)
    return [template(each) for each in names for template in TEMPLATES]


def make_tokenizer(names: Iterable[str] = ()) -> CompactTokenizer:
    """The tokens of all class names (CIFAR-100's too), of further `names`, and of the templates."""
    known = [entry.phrase for entry in merge_classes(load_classes(), load_classes10())]
    known += [name.replace("_", " ") for name in CIFAR100_CLASSES]
    return CompactTokenizer.of([*known, *names, "and", *(template("") for template in TEMPLATES)])
