"""Words: the generic names that guide the synthesis, and every data set's zero-shot task.

The names are ours, everyday nouns of the kinds that the paper lists; they know nothing of a target
data set. Classes and templates of ImageNet are open_clip's; those of CIFAR are the ones that CLIP
was evaluated with (Radford et al., arXiv 2103.00020), nine patterns for "a" and for "the".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from paperlib.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from paperlib.data.openmoji import load_classes
from paperlib.data.tiny_imagenet import tiny_imagenet_names
from paperlib.seeds import generator

Template = Callable[[str], str]

_KINDS = {
    "animals": "cat, dog, horse, cow, sheep, pig, goat, rabbit, mouse, elephant, lion, tiger, "
    "bear, monkey, deer, fox, wolf, giraffe, zebra, kangaroo, camel, hamster, chicken, duck, owl, "
    "eagle, penguin, parrot, swan, fish, shark, whale, dolphin, octopus, crab, turtle, frog, "
    "snake, lizard, butterfly, spider, snail",
    "plants": "pine tree, palm tree, leafy tree, cactus, sunflower, rose, tulip, mushroom, "
    "maple leaf, potted plant",
    "vehicles": "car, bus, truck, train, tractor, taxi, ambulance, fire engine, bicycle, "
    "motorcycle, airplane, helicopter, rocket, ship, sailing boat, canoe",
    "furniture": "chair, table, sofa, bed, wardrobe, lamp, mirror, door, window, picture frame",
    "electronics": "television, laptop, keyboard, telephone, mobile phone, camera, printer, "
    "radio, microphone, robot, battery, light bulb, alarm clock, game controller",
    "clothing": "dress, coat, scarf, sock, boot, sandal, running shoe, top hat, baseball cap, "
    "umbrella, handbag, backpack, suitcase, ring",
    "food": "apple, pear, banana, orange, lemon, peach, strawberry, pineapple, watermelon, "
    "tomato, carrot, onion, loaf of bread, croissant, hamburger, slice of pizza, sandwich, egg, "
    "doughnut, birthday cake, ice cream cone, cup of coffee",
    "landscape": "mountain, volcano, desert island, forest, sea, wave, rock, cloud, rainbow, "
    "crescent moon, snowman",
    "street": "road, bridge, traffic light, house, castle, church, factory, hospital, fountain, "
    "tent, postbox",
    "stationery": "pencil, fountain pen, crayon, ruler, book, newspaper, envelope, clipboard, "
    "calendar, paintbrush, cardboard box, magnifying glass",
    "bathroom": "bathtub, toilet, shower head, bar of soap, sponge, toilet roll, razor, bucket",
}
GENERIC_NAMES = tuple(name for names in _KINDS.values() for name in names.split(", "))
# As many of ImageNet's, drawn once: what the pilot of the synthesis tries beside them.
_ORDER = torch.randperm(len(IMAGENET_CLASSNAMES), generator=generator(1000, "names"))
NAMES = {
    "generic": GENERIC_NAMES,
    "ImageNet": tuple(IMAGENET_CLASSNAMES[k] for k in _ORDER[: len(GENERIC_NAMES)]),
}

_PATTERNS = (
    "a photo of {} {}.",
    "a blurry photo of {} {}.",
    "a black and white photo of {} {}.",
    "a low contrast photo of {} {}.",
    "a high contrast photo of {} {}.",
    "a bad photo of {} {}.",
    "a good photo of {} {}.",
    "a photo of {} small {}.",
    "a photo of {} big {}.",
)


def photo(name: str) -> str:
    """The paper's template of the prompts: "a photo of a cat."."""
    return f"a photo of a {name}."


def _template(pattern: str, article: str) -> Template:
    return lambda name: pattern.format(article, name)


CIFAR_TEMPLATES = tuple(_template(p, article) for article in ("a", "the") for p in _PATTERNS)


@dataclass(frozen=True)
class ZeroShotTask:
    """A data set's class names, in the order of its labels, and its templates."""

    names: tuple[str, ...]
    templates: tuple[Template, ...]


TASKS: dict[str, Callable[[], ZeroShotTask]] = {
    "openmoji": lambda: ZeroShotTask(
        tuple(entry.name for entry in load_classes()), tuple(SIMPLE_IMAGENET_TEMPLATES)
    ),
    "cifar10": lambda: ZeroShotTask(CIFAR10_CLASSES, CIFAR_TEMPLATES),
    "cifar100": lambda: ZeroShotTask(
        tuple(name.replace("_", " ") for name in CIFAR100_CLASSES), CIFAR_TEMPLATES
    ),
    "imagenet": lambda: ZeroShotTask(tuple(IMAGENET_CLASSNAMES), tuple(OPENAI_IMAGENET_TEMPLATES)),
    "tiny_imagenet": lambda: ZeroShotTask(
        tuple(first for first, *_ in tiny_imagenet_names()), tuple(SIMPLE_IMAGENET_TEMPLATES)
    ),
}


def zero_shot_task(dataset: str) -> ZeroShotTask:
    """Class names and templates of a data set.

    Raises:
        ValueError: unknown `dataset`, with the valid ones.
    """
    if dataset not in TASKS:
        raise ValueError(f"dataset={dataset!r}: valid are {', '.join(map(repr, TASKS))}")
    return TASKS[dataset]()


def calibration_texts(
    templates: Sequence[Template],
    count: int,
    seed: int,
    names: Sequence[str] = GENERIC_NAMES,
) -> list[str]:
    """`count` texts for the text tower, drawn without replacement from templates × names.

    Raises:
        ValueError: `count` is not between 1 and the number of such texts.
    """
    texts = [template(name) for name in names for template in templates]
    if not 1 <= count <= len(texts):
        raise ValueError(
            f"count={count}: {len(templates)} templates × {len(names)} names give 1 to "
            f"{len(texts)} texts"
        )
    order = torch.randperm(len(texts), generator=generator(seed, "prompts"))
    return [texts[index] for index in order[:count]]
