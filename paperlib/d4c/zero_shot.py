r"""Zero-shot Top-1 with prompt ensembles, as CLIP_benchmark measures it.

A class is the mean of the unit features of its templates' texts, made unit again,
$w_c \propto \sum_t g(t_c) / \lVert g(t_c) \rVert$; an image goes to the class with the largest
$f(x)^\top w_c$. Source: Radford et al., arXiv 2103.00020.
"""

from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.prompts import zero_shot_task
from paperlib.data import LabelledImages
from paperlib.data.cifar import load_cifar
from paperlib.data.openmoji import draw_scenes, load_classes
from paperlib.data.tiny_imagenet import load_tiny_imagenet
from paperlib.models.clip import IMAGE_BATCH, Tokenizer, class_features, zero_shot_top1
from paperlib.seeds import draws

SCENES_A_CLASS = 10  # in a split of `load_images`


def task_features(
    model: nn.Module, tokenizer: Tokenizer, dataset: str
) -> Float[Tensor, "classes features"]:
    """Unit text features of a data set's classes; compute them once for a text tower.

    Raises:
        ValueError: unknown `dataset`.
    """
    task = zero_shot_task(dataset)
    return class_features(model, tokenizer, task.names, task.templates)


def top1(
    model: nn.Module,
    texts: Float[Tensor, "classes features"],
    data: LabelledImages,
    batch: int = IMAGE_BATCH,
) -> float:
    """Share of the images that are recognised, 0 to 1.

    Args:
        model: a CLIP, quantized or not.
        texts: as of `task_features`.
        data: 8-bit images of any size.
        batch: images in one forward pass.

    Raises:
        ValueError: `texts` has another number of classes than the data.
    """
    if len(texts) != len(data.classes):
        raise ValueError(f"texts: {len(texts)} classes, but {data.source} has {len(data.classes)}")
    return zero_shot_top1(model, texts, data.images, data.labels, batch)


def load_draws(
    dataset: str, split: str, count: int, number: int, seed: int
) -> list[LabelledImages]:
    """Draws from a split, the same for the same seed; no two share an image where it has enough.

    Args:
        dataset: "openmoji", whose splits have ten 64 × 64 scenes of every curated class,
            "cifar10", or "tiny_imagenet", whose test split is its validation images.
        split: "train" or "test".
        count: images of each draw.
        number: of draws.
        seed: of the draws.

    Raises:
        ValueError: unknown `dataset` or `split`, or a split has fewer than `count` images.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r}: valid are 'train', 'test'")
    if dataset in ("cifar10", "tiny_imagenet"):
        data = _load(dataset, split)
        return [data.subset(chosen) for chosen in draws(len(data), count, number, seed, split)]
    if dataset != "openmoji":
        raise ValueError(f"dataset={dataset!r}: valid are 'openmoji', 'cifar10', 'tiny_imagenet'")
    classes = load_classes()
    names = tuple(entry.name for entry in classes)
    drawn = []
    for chosen in draws(SCENES_A_CLASS * len(classes), count, number, seed, split):
        scenes = draw_scenes(split, chosen.tolist(), size=64, classes=classes, balanced=True)
        drawn.append(LabelledImages(scenes.images, scenes.labels[:, 0], names, "OpenMoji (drawn)"))
    return drawn


def _load(dataset: str, split: str) -> LabelledImages:
    if dataset == "cifar10":
        return load_cifar(dataset, split)
    return load_tiny_imagenet("validation" if split == "test" else split)


def load_images(dataset: str, split: str, count: int, seed: int) -> LabelledImages:
    """One of `load_draws`."""
    return load_draws(dataset, split, count, 1, seed)[0]
