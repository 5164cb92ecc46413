"""All reconstruction attacks on the same images and views, so that they can be compared.

| attack     | what the coalition uses                                           |
|------------|-------------------------------------------------------------------|
| mean_fill  | the mean colour of the pixels that it sees                        |
| biharmonic | a smooth continuation of them                                     |
| inpainting | a network trained to rebuild images from them                     |
| inversion  | the same network, with the tokens of round two that it receives   |
| tokens     | the same network, with these tokens but without the pixels        |
"""

from jaxtyping import Bool, Float
from torch import Tensor

from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import load_attack
from paperlib.pedsam.attacks.reconstruction import Rebuilder, biharmonic_fill, mean_fill, rebuild
from paperlib.pedsam.attacks.views import to_pixels

LEARNED = ("inpainting", "inversion", "tokens")
ATTACKS = ("mean_fill", "biharmonic", *LEARNED)


def load_networks() -> dict[str, Rebuilder]:
    """The trained networks of the learned attacks.

    Raises:
        CheckpointError: one is missing or damaged, with the command that trains it.
    """
    return {name: load_attack(name) for name in LEARNED}


def attack(
    networks: dict[str, Rebuilder], targets: Targets, views: Bool[Tensor, "n grid grid"]
) -> dict[str, Float[Tensor, "n 3 size size"]]:
    """What each of `ATTACKS` makes of the images from one view of each."""
    images, seen = targets.images, to_pixels(views, targets.images.shape[-1])
    guesses = {
        "mean_fill": mean_fill(images, seen),
        "biharmonic": biharmonic_fill(images, seen, shrink=2),
    }
    for name, network in networks.items():
        tokens = None if network.tokens is None else targets.tokens
        guesses[name] = rebuild(network, images, seen, tokens)
    return guesses


def attack_quality(
    networks: dict[str, Rebuilder], targets: Targets, views: Bool[Tensor, "n grid grid"]
) -> list[dict[str, float | str]]:
    """A row for each of `ATTACKS`: its name and the means of all measures over the images.

    See `paperlib.pedsam.attacks.measures.quality`. A view must hide something in each image.
    """
    seen = to_pixels(views, targets.images.shape[-1])
    return [
        {"attack": name}
        | {
            measure: values.mean().item()
            for measure, values in quality(targets.images, guesses, seen).items()
        }
        for name, guesses in attack(networks, targets, views).items()
    ]
