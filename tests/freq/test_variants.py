import pytest
import torch

from paperlib.data.openmoji import openmoji10
from paperlib.freq import variants
from paperlib.models import checkpoints


@pytest.fixture(scope="module")
def data():
    return openmoji10("train", 130)


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="dataset 'cifar' is unknown: valid are openmoji, cifar10"):
        variants.load_images("cifar", "test")


def test_networks_of_tiny_imagenet_have_its_classes_and_differ_by_seed():
    first, other = (
        variants.load_variant("tiny_imagenet", "resnet14", "natural", k) for k in (0, 1)
    )
    assert first.linear.out_features == 200
    assert not torch.equal(first.linear.weight, other.linear.weight)
    assert first(torch.rand(2, 3, 64, 64)).shape == (2, 200)


def test_trained_are_those_with_a_card():
    assert ("vgg_small", "pgd") in variants.trained("openmoji")
    assert ("vgg_small", "pgd") not in variants.trained("cifar10")


def test_a_variant_that_was_never_trained_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(variants, "CHECKPOINTS", tmp_path)
    command = "--dataset cifar10 --architecture vgg_small --variant pgd"
    with pytest.raises(checkpoints.CheckpointError, match=f"no checkpoint cifar10-.*{command}"):
        variants.load_variant("cifar10", "vgg_small", "pgd")


def test_transfer_matrix_of_models_that_always_say_one_class(data):
    class Always(torch.nn.Module):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), self.label), 10).float()

    few = data.subset(torch.arange(20))
    matrix = variants.transfer_matrix([Always(0), Always(3)], few)
    assert matrix.shape == (2, 3)
    assert matrix == pytest.approx(0.1)


def test_an_untrained_model_is_another_one_for_each_start_and_moves_no_generator():
    state = torch.get_rng_state()
    first, again, other = (variants.untrained("resnet20", 0, index) for index in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state) and not first.training
    weights = [net.conv1.weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
