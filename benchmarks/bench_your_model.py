"""`paperlib.freq.your_model` on trained networks of torchvision and timm, on photographs.

    PAPERLIB_TINY_IMAGENET=folder python benchmarks/bench_your_model.py FOLDER

Trains, on twenty classes of Tiny ImageNet, torchvision's ResNet-18 and timm's ViT-Ti at 64 pixels,
and both from there on at 224, of the same images enlarged. Then the command compares, on validation
images, the ResNet-18 with the ViT at either size, and at 64 with itself at a third of its training.
Weights, images, tables and figures go to FOLDER; what is there is not trained again. An hour and a
half of a core; not part of the tests. The networks are for trying the command on: short trainings,
a tenth of the classes.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torchvision.io import encode_png
from torchvision.models import resnet18

from paperlib.data.tiny_imagenet import load_tiny_imagenet
from paperlib.models.classifier import NORMALISATIONS
from paperlib.runtime import set_threads
from paperlib.seeds import generator

CLASSES = range(0, 200, 10)
VIT = "vit_tiny_patch16_224"
BATCH, SHIFT = 64, 6
BETWEEN = 3  # one in so many steps is where a checkpoint is kept


@dataclass(frozen=True)
class Training:
    """A short training.

    Attributes:
        name: as `paperlib.models.named` takes it.
        size: of the images, in pixels.
        epochs, rate: of AdamW with one cycle.
        normalisation: that the library gives this network.
        start: file that it starts from.
    """

    name: str
    size: int
    epochs: float
    rate: float
    normalisation: str
    start: str = ""

    def network(self) -> nn.Module:
        """Untrained."""
        if self.name.startswith("torchvision"):
            return resnet18(num_classes=len(CLASSES))
        return timm.create_model(VIT, num_classes=len(CLASSES), img_size=self.size)


TRAININGS = {
    "resnet18-64": Training("torchvision:resnet18", 64, 30, 2e-3, "ImageNet's"),
    "vit-64": Training(f"timm:{VIT}", 64, 40, 1e-3, "0.5 and 0.5"),
    "resnet18-224": Training(
        "torchvision:resnet18", 224, 1, 5e-4, "ImageNet's", start="resnet18-64"
    ),
    "vit-224": Training(f"timm:{VIT}", 224, 2, 3e-4, "0.5 and 0.5", start="vit-64"),
}


def load_some(split: str) -> tuple[Tensor, Tensor]:
    """Images of `CLASSES`, 0 to 255, and their labels from 0."""
    data = load_tiny_imagenet(split)
    chosen = torch.isin(data.labels, torch.tensor(CLASSES))
    return data.images[chosen], data.labels[chosen] // CLASSES.step


def enlarged(images: Tensor, training: Training) -> Tensor:
    """Images of 0 to 255 as the network gets them."""
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in NORMALISATIONS[training.normalisation])
    x = F.interpolate(images.float() / 255, size=2 * (training.size,), mode="bilinear")
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def train(training: Training, images: Tensor, labels: Tensor, folder: Path, name: str) -> None:
    """Train a network and write its weights, and those of a third of the training."""
    torch.manual_seed(0)
    network, draw = training.network().to(memory_format=torch.channels_last), generator(0, "images")
    if training.start:
        weights = load_file(folder / f"{training.start}.safetensors")
        if training.name.startswith("timm"):  # positions of a smaller grid
            weights = checkpoint_filter_fn(weights, network)
        network.load_state_dict(weights)
    steps, began = int(training.epochs * len(images) / BATCH), time.perf_counter()
    optimiser = torch.optim.AdamW(network.parameters(), training.rate, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(images), (BATCH,), generator=draw)
        shifts = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=draw).tolist()
        some = images[chosen].roll(shifts, (2, 3))
        some = some.flip(-1) if torch.rand((), generator=draw) < 0.5 else some
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(enlarged(some, training))
        loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1)
        optimiser.step()
        cycle.step()
        if step == steps // BETWEEN:
            save(network, folder / f"{name}-third.safetensors")
        if step % 100 == 0:
            took = time.perf_counter() - began
            print(f"{name}: {step} of {steps}, loss {loss:.2f}, {took:.0f} s", flush=True)
    save(network, folder / f"{name}.safetensors")


def save(network: nn.Module, file: Path) -> None:
    """Write the weights of a network."""
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)


def look(files: Mapping[str, str], images: Path, size: int, count: int, folder: Path) -> None:
    """The command, as a reader gives it."""
    models = [f"{TRAININGS[of].name}={folder / file}.safetensors" for file, of in files.items()]
    words = [sys.executable, "-m", "paperlib.freq.your_model", "--model", *models]
    words += ["--images", str(images), "--size", str(size), "--count", str(count)]
    words += ["--folder", str(folder / f"found-{size}")]
    subprocess.run(words, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    set_threads()
    images, labels = load_some("train")
    for name, training in TRAININGS.items():
        if not (folder / f"{name}.safetensors").exists():
            train(training, images, labels, folder, name)
    seen, kinds = load_some("validation")
    pictures = [{"bytes": encode_png(image).numpy().tobytes()} for image in seen]
    table = pd.DataFrame({"image": pictures, "label": kinds.tolist()})
    table.to_parquet(folder / "validation.parquet")
    small = {name: name for name in ("resnet18-64", "vit-64")}
    small["resnet18-64-third"] = "resnet18-64"
    look(small, folder / "validation.parquet", 64, 500, folder)
    large = {name: name for name in ("resnet18-224", "vit-224")}
    look(large, folder / "validation.parquet", 224, 50, folder)


if __name__ == "__main__":
    main()
