"""Fidelity of a quantized model, beside a null and a positive control."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from paperlib.d4c.fidelity import fidelity


def batches(images, labels, size=5):
    return zip(images.split(size), labels.split(size), strict=True)


def test_the_model_itself_and_an_unrelated_one(clip, inputs):
    images, _ = inputs
    texts = F.normalize(torch.randn(6, 24, generator=torch.Generator().manual_seed(2)), dim=1)
    labels = torch.arange(12) % 6
    own = fidelity(clip, clip, texts, texts, batches(images, labels))
    assert own.images == 12 and own.agreement == 1 and own.top1 == own.float_top1
    assert own.cosine == pytest.approx(1, abs=1e-6)
    other = copy.deepcopy(clip)
    for parameter in other.visual.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    far = fidelity(clip, other, texts, texts, batches(images, labels))
    assert far.cosine < 0.8 and far.float_top1 == own.float_top1


def test_each_number_by_hand(vit, inputs):
    """Texts that are the images' own features: every image is its own class."""
    images, _ = inputs
    with torch.no_grad():
        texts = vit.encode_image(images, normalize=True)
    labels = torch.arange(12)
    labels[:3] = 11
    moved = texts.roll(1, 0)  # the second model calls image k class k + 1
    found = fidelity(vit, vit, texts, moved, batches(images, labels))
    assert (found.float_top1, found.top1, found.agreement) == (9 / 12, 0.0, 0.0)
    opposed = fidelity(vit, Opposed(vit), texts, -texts, batches(images, labels))
    assert opposed.cosine == pytest.approx(-1, abs=1e-6) and opposed.agreement == 1


def test_without_labels_the_same_but_for_top1(vit, inputs):
    images, _ = inputs
    texts = F.normalize(torch.randn(6, 24, generator=torch.Generator().manual_seed(2)), dim=1)
    with_labels = fidelity(vit, Opposed(vit), texts, texts, batches(images, torch.zeros(12).long()))
    without = fidelity(vit, Opposed(vit), texts, texts, batches(images, torch.full((12,), -1)))
    assert without == replace(with_labels, top1=None, float_top1=None)
    assert without.agreement < 1 and without.cosine == pytest.approx(-1, abs=1e-6)
    with pytest.raises(ValueError, match="labels -1 to 0: 6 classes"):  # not some of them
        fidelity(vit, vit, texts, texts, batches(images, torch.tensor([-1] * 6 + [0] * 6)))


class Opposed(torch.nn.Module):
    """A model whose image features point the other way."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def encode_image(self, images, normalize=False):
        return -self.model.encode_image(images, normalize)


def test_what_cannot_be_measured(clip, inputs):
    texts = F.normalize(torch.ones(3, 24), dim=1)
    with pytest.raises(ValueError, match="there are no images"):
        fidelity(clip, clip, texts, texts, [])
    with pytest.raises(ValueError, match="labels 0 to 11: 3 classes"):
        fidelity(clip, clip, texts, texts, batches(inputs[0], torch.arange(12)))
    assert math.isfinite(
        fidelity(clip, clip, texts, texts, batches(inputs[0], torch.zeros(12).long())).cosine
    )
