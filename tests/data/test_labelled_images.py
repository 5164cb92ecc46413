"""The split of a data set that every loader returns."""

import pytest
import torch

from paperlib.data import LabelledImages


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(20) % 3, ("a", "b", "c"), "made here", "JPEG")


def test_floats_are_in_the_unit_interval(data):
    floats = data.floats()
    assert floats.dtype == torch.float32
    assert torch.equal((floats * 255).round().to(torch.uint8), data.images)
    assert floats.min() >= 0 and floats.max() <= 1


def test_subset_keeps_order_classes_source_and_what_was_altered(data):
    indices = torch.tensor([7, 3, 3])
    subset = data.subset(indices)
    assert len(subset) == 3
    assert torch.equal(subset.images, data.images[indices])
    assert subset.labels.tolist() == [1, 0, 0]
    for part in (subset, data.sample(2, 0)):
        assert (part.classes, part.source, part.altered) == (data.classes, data.source, "JPEG")


def test_the_same_on_a_device(data):
    there = data.to(torch.device("meta"))
    assert there.images.is_meta and there.labels.is_meta
    assert (there.classes, there.source, there.altered) == (data.classes, data.source, "JPEG")


def test_sample_is_without_replacement_and_by_seed(data):
    first, again, other = data.sample(15, 0), data.sample(15, 0), data.sample(15, 1)
    assert len(first.images.flatten(1).unique(dim=0)) == 15
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(data.sample(5, 0).images, first.images[:5])
    whole = data.sample(20, 4)
    assert torch.equal(whole.labels.sort().values, data.labels.sort().values)


@pytest.mark.parametrize("count", [0, -1, 21])
def test_sample_of_an_impossible_size(data, count):
    with pytest.raises(ValueError, match=rf"count={count}: this split has 20 images \(made here\)"):
        data.sample(count, 0)


def test_draws_share_no_image_where_the_split_allows(data):
    drawn = data.draws(6, 3, 1)
    assert [len(part) for part in drawn] == [6] * 3
    seen = [image.numpy().tobytes() for part in drawn for image in part.images]
    assert len(set(seen)) == 18
    assert torch.equal(data.draws(6, 3, 1)[2].images, drawn[2].images)
