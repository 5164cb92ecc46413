import pytest
import torch
from torch import nn

from paperlib.data import LabelledImages
from paperlib.freq.zoo_training import Job
from paperlib.models.training import Recipe


class Recorder(nn.Module):
    """A small convolutional classifier that remembers the batch sizes it was given."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 4),
        )
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return self.layers(x)


@pytest.fixture(scope="session")
def colours():
    """Four classes of 16 × 16 images: a smooth pattern each, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(16)
    coarse = torch.rand(4, 3, 4, 4, generator=generator) / 2 + 0.25
    smooth = nn.functional.interpolate(coarse, size=16, mode="bilinear")
    noise = 0.03 * torch.randn(64, 3, 16, 16, generator=generator)
    return (smooth[labels] + noise).clamp(0, 1), labels


@pytest.fixture(scope="session")
def trained(colours):
    """A classifier that gets all of `colours` right, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recorder()
    images, labels = colours
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    with torch.no_grad():  # settle the running statistics
        for _ in range(40):
            model(images)
    return model


@pytest.fixture
def noise():
    """Labelled images of noise as a function of their count and a seed: 32 px, ten classes."""

    def images(count, seed):
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return LabelledImages(pixels, torch.arange(count) % 10, tuple("abcdefghij"), "noise")

    return images


@pytest.fixture
def job():
    """A training of the zoo as a function of what matters: of a batch of four, with rate 0."""

    def make(training=0, variant="natural", **changes):
        given = {"recipe": Recipe(1, 0.0, 4), "attacked": 3, "occluded": 2} | changes
        return Job("openmoji", "resnet20", variant, training, **given)

    return make
