"""Twenty test images of CIFAR-10, lossless, that the package foolbox brings.

They are the first twenty of the test split as published: few, but real, and on every machine.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from paperlib.data import LabelledImages
from paperlib.data.cifar import CIFAR10_CLASSES


def foolbox_cifar10() -> LabelledImages:
    """The twenty images; the package is found, but not imported, which would take seconds."""
    folder = Path(find_spec("foolbox").origin).parent / "data"
    files = sorted(folder.glob("cifar10_*.png"))  # cifar10_NUMBER_CLASS.png
    images = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    return LabelledImages(
        images.permute(0, 3, 1, 2).contiguous(),
        torch.tensor([int(file.stem.rpartition("_")[2]) for file in files]),
        CIFAR10_CLASSES,
        f"CIFAR-10 (lossless), {len(files)} test images",
    )
