import pytest
import torch
from torch import nn

from paperlib.models.classifier import (
    NORMALISATIONS,
    Classifier,
    as_classifier,
    check_labels,
    first_look,
    floats,
)
from paperlib.models.training import predict

IMAGENET = NORMALISATIONS["ImageNet's"]


class Brightness(nn.Module):
    """Two classes, told apart by whether the normalised image is above 0."""

    def __init__(self, channels=3):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 10.0))

    def forward(self, x):
        z = (x.mean((2, 3)) * self.weight).sum(1)
        return torch.stack([-z, z], 1)


def told_apart_by(mean, channels=3):
    """Images a little below and above a mean by channel, and which is which."""
    labels = torch.arange(20) % 2
    about = torch.tensor(mean).expand(channels).view(-1, 1, 1)
    return (about + 0.02 * (2 * labels - 1)[:, None, None, None]).expand(-1, -1, 6, 8), labels


def test_pixels_are_shifted_and_scaled():
    x = torch.rand(2, 3, 4, 6, dtype=torch.float64)
    by_hand = torch.stack([(x[:, c] - IMAGENET[0][c]) / IMAGENET[1][c] for c in range(3)], 1)
    model = Classifier(lambda x: x.flatten(1), *IMAGENET)
    torch.testing.assert_close(model(x), by_hand.flatten(1), atol=1e-6, rtol=1e-6)
    assert torch.equal(Classifier(lambda x: x.flatten(1))(x), x.flatten(1))


@pytest.mark.parametrize("name", ["ImageNet's", "0.5 and 0.5"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_forgotten_normalisation_is_named(name, channels):
    mean, std = NORMALISATIONS[name]
    if channels == 1:
        mean = (sum(mean) / len(mean),)
    images, labels = told_apart_by(mean, channels)
    network = Brightness(channels)
    look = first_look(network, images, labels)
    assert look.accuracy == 0.5 and look.others[name] == 1
    assert look.warning == (
        f"the accuracy is 50.0%, and 100.0% with the normalisation {name!r}: "
        f"Classifier(network, *NORMALISATIONS[{name!r}])"
    )
    right = first_look(Classifier(network, mean, std), images, labels)
    assert right.accuracy == 1 and right.warning == ""


def test_less_than_five_points_are_no_warning():
    images, labels = told_apart_by(IMAGENET[0])
    many, truth = images.repeat(5, 1, 1, 1), labels.repeat(5)
    model = Classifier(Brightness(), *IMAGENET)
    truth[:4] = 1 - truth[:4]  # the other way round two of these would be right
    assert first_look(model, many, truth).warning == ""
    look = first_look(Brightness(), many, truth)
    assert look.warning and look.accuracy == pytest.approx(0.5)


@pytest.mark.parametrize("precision", [torch.half, torch.bfloat16])
def test_a_network_in_half_precision_is_copied_not_changed(precision):
    network = Brightness().to(precision)
    x = torch.rand(2, 3, 4, 4)
    found = as_classifier(network)(x)
    assert found.dtype == torch.float32 and network.weight.dtype == precision
    torch.testing.assert_close(found, Brightness()(x))
    assert not torch.equal(found.to(precision).float(), found)
    torch.testing.assert_close(
        as_classifier(Brightness())(x.to(precision)), found, atol=0.5, rtol=0
    )


def test_one_logit_becomes_two_of_the_same_probability():
    class One(nn.Module):
        def forward(self, x):
            return x.sum((1, 2, 3))

    x = torch.rand(3, 1, 2, 2) - 0.5
    found = as_classifier(One())(x)
    torch.testing.assert_close(found.softmax(1)[:, 1], x.sum((1, 2, 3)).sigmoid())
    assert predict(One(), x).tolist() == (x.sum((1, 2, 3)) > 0).long().tolist()


def test_an_output_of_many_parts():
    class Parts(nn.Module):
        def forward(self, x):
            return x.flatten(1), "something else"

    x = torch.rand(2, 3, 2, 2)
    with pytest.raises(ValueError, match="Parts returns a tuple; needed is .*output=lambda out"):
        as_classifier(Parts())(x)
    assert torch.equal(Classifier(Parts(), output=lambda out: out[0])(x), x.flatten(1))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 2, 2\) for 2 images"):
        as_classifier(nn.Identity())(x)
    with pytest.raises(ValueError, match=r"shape \(6, 4\) for 2 images"):
        as_classifier(lambda x: x.flatten(2).flatten(0, 1))(x)


def test_bytes_become_floats():
    x = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert floats(x).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert Classifier(lambda x: x.flatten(1))(x).tolist()[0] == pytest.approx([0, 0.2, 1])
    assert floats(torch.zeros(1, 1, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_function_has_a_first_look_too():
    images, labels = told_apart_by((0.5,))
    assert first_look(lambda x: Brightness()(x - 0.5), images, labels).accuracy == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"shape \(3, 8, 8\): \(n, channels, height, width\)"),
        (torch.zeros(0, 3, 8, 8), r"shape \(0, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8).long(), "images are torch.int64: floats from 0 to 1 and uint8"),
        (torch.full((1, 3, 8, 8), 1.5), "from 1.5 to 1.5: .* normalises them"),
        (torch.full((1, 3, 8, 8), -0.1), "from -0.1 to -0.1"),
        (torch.full((1, 3, 8, 8), torch.inf), "from inf to inf"),
        (torch.full((1, 3, 8, 8), torch.nan), "1 of 1 images hold NaN, the first is 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        floats(images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3).long(), r"int64 of shape \(2,\)"),
        (torch.zeros(2), "labels are torch.float32"),
        (torch.tensor([0, 5]), "from 0 to 5, but the model has 5 logits: 0 to 4 are valid"),
        (torch.tensor([0, -1]), "from -1 to 0"),
    ],
)
def test_wrong_labels_are_named(labels, message):
    check_labels(torch.tensor([0, 4]), 2, 5)
    with pytest.raises(ValueError, match=message):
        check_labels(labels, 2, 5)
