import pytest
import torch

from paperlib.data import LabelledImages
from paperlib.models.cnn import build_cnn
from paperlib.models.training import Recipe, accuracy, augment, predict, train


@pytest.fixture
def colours():
    """Ten colours with noise: a linear model can tell them apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(26)
    palette = torch.rand(10, 3, generator=generator) * 200
    images = palette[labels][:, :, None, None] + 40 * torch.rand(
        260, 3, 32, 32, generator=generator
    )
    names = tuple(f"colour {k}" for k in range(10))
    return LabelledImages(images.to(torch.uint8), labels, names, "made here")


def trained(data, seed, **options):
    torch.manual_seed(0)
    return train(build_cnn("linear"), data, Recipe(12, 0.003, batch_size=26), seed, **options)


def test_training_learns_and_repeats(colours):
    first, again, other = (trained(colours, seed) for seed in (0, 0, 1))
    assert accuracy(first, colours.floats(), colours.labels) > 0.9
    assert torch.equal(first.linear.weight, again.linear.weight)
    assert not torch.equal(first.linear.weight, other.linear.weight)
    assert not first.training


def test_the_model_sees_what_prepare_returns(colours):
    seen = []

    def prepare(model, images, labels):
        seen.append((model.training, images.shape, images.min() >= 0, images.max() <= 1))
        return torch.zeros_like(images)

    model = trained(colours, 0, prepare=prepare)
    assert len(seen) == 12 * 10
    assert seen[0] == (True, (26, 3, 32, 32), True, True)
    found = accuracy(model, colours.floats(), colours.labels)
    assert found < 0.5  # black images teach nothing of the colours


def test_too_few_images_are_refused(colours):
    with pytest.raises(ValueError, match="260 images: batch_size=300 needs at least as many"):
        train(build_cnn("linear"), colours, Recipe(1, 0.1, batch_size=300), 0)


def test_augmentation_moves_and_mirrors_whole_images():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32)
    moved = augment(images, flip=True, shift=4)
    padded = torch.nn.functional.pad(images, (4,) * 4, mode="replicate")
    for before, after in zip(padded, moved, strict=True):
        windows = before.unfold(1, 32, 1).unfold(2, 32, 1)  # (3, 9, 9, 32, 32)
        candidates = torch.cat([windows, windows.flip(-1)], 1).flatten(1, 2)
        assert (candidates == after[:, None]).all((0, 2, 3)).sum() >= 1
    assert torch.equal(augment(images, flip=False, shift=0), images)


def test_predict_does_not_depend_on_the_batch(colours):
    model = build_cnn("vgg_small")
    images = colours.floats()[:20]
    assert torch.equal(predict(model, images, 3), predict(model, images, 20))
    assert model.training  # as it was
