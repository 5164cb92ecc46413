"""The networks of the attacks: what each gets, and how they are built and loaded.

| network    | what it gets                              | what it says       |
|------------|-------------------------------------------|--------------------|
| inpainting | the seen pixels                           | the whole image    |
| inversion  | the seen pixels, and round-2 tokens there | the whole image    |
| tokens     | round-2 tokens of the seen windows alone  | the whole image    |
| classifier | the seen pixels of a single object        | one of ten classes |
| gaussian, unet, transformer | the seen pixels          | the whole image    |
| unet_tokens | the seen pixels, and round-2 tokens there | the whole image   |

The first three are one architecture trained alike on drawn scenes
(`paperlib.pedsam.attacks.training`), so that they differ in what they get alone; the tokens are
those of the small SAM's exact schedule. The last four learn from photographs
(`paperlib.pedsam.attacks.photograph_training`).
"""

from functools import partial
from pathlib import Path

from paperlib.models.checkpoints import load_weights
from paperlib.models.sam import IMAGE, PATCH, WIDTH, WINDOW
from paperlib.paths import CHECKPOINTS
from paperlib.pedsam.attacks.classifier import ViewClassifier
from paperlib.pedsam.attacks.gaussian import GaussianAttacker
from paperlib.pedsam.attacks.photographic import PhotographTransformer, PhotographUNet
from paperlib.pedsam.attacks.reconstruction import Rebuilder
from paperlib.pedsam.split.partition import WindowGrid

SAM = "sam-small"
GRID = WindowGrid(tokens=IMAGE // PATCH, window=WINDOW)
SIZE = IMAGE // 2  # pixels that the rebuilding networks work on
CLASSIFIER_SIZE = 4 * GRID.tokens
ENOUGH = 0.05  # dB: a doubling of a training on photographs that gains less ends it
NETWORKS = ("inpainting", "inversion", "tokens", "classifier")
PHOTOGRAPHIC = {
    "gaussian": GaussianAttacker,
    "unet": PhotographUNet,
    "transformer": PhotographTransformer,
    "unet_tokens": partial(PhotographUNet, token_channels=WIDTH),
}
Network = Rebuilder | ViewClassifier | GaussianAttacker | PhotographUNet | PhotographTransformer


def build_attack(network: str) -> Network:
    """A network of the table above, with random weights.

    Raises:
        ValueError: unknown network, with the valid ones.
    """
    if network in PHOTOGRAPHIC:
        return PHOTOGRAPHIC[network]()
    if network not in NETWORKS:
        valid = ", ".join([*NETWORKS, *PHOTOGRAPHIC])
        raise ValueError(f"network {network!r} is unknown: valid are {valid}")
    if network == "classifier":
        return ViewClassifier()
    channels = 0 if network == "inpainting" else WIDTH
    return Rebuilder(token_channels=channels, pixels=network != "tokens")


def load_attack(network: str, folder: Path = CHECKPOINTS) -> Network:
    """A trained network of the table above, in eval mode.

    Raises:
        ValueError: unknown network.
        CheckpointError: it is missing or damaged, with the command that trains it.
    """
    return load_weights(checkpoint_name(network), build_attack(network), folder)


def checkpoint_name(network: str) -> str:
    """Name of the checkpoint in ``data/checkpoints``, such as ``pedsam-inpainting``."""
    return f"pedsam-{network}"
