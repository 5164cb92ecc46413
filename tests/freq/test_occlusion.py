import copy

import pytest
import torch

from paperlib.freq import occlusion
from paperlib.freq.bands import band_masks, low_mask
from paperlib.freq.dct import dct2, idct2
from paperlib.freq.occlusion import (
    band_changes,
    band_changes_by_score,
    component_changes,
    low_share,
    normalise,
    occluded_bands,
    occluded_frequency,
)


class Pair(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1), x


def plain_loop(model, images, labels, masks, score):
    """Transform, zero, transform back, ask the model: one image and one mask at a time."""
    changes = torch.zeros(len(images), len(masks))
    model.eval()
    with torch.no_grad():
        for i, (x, y) in enumerate(zip(images, labels, strict=True)):
            for k, mask in enumerate(masks):
                X = dct2(x)
                X[:, mask] = 0
                logits = model(torch.stack([x, idct2(X)]))
                values = logits.softmax(-1) if score == "probability" else logits
                changes[i, k] = values[0, y] - values[1, y]
    model.train()
    return changes


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_components_equal_the_plain_loop(trained, colours, score):
    images, labels = colours[0][:2], colours[1][:2]
    single = torch.eye(256, dtype=torch.bool).view(256, 16, 16)
    expected = plain_loop(trained, images, labels, single, score)
    ours = component_changes(trained, images, labels, score, batch=100)
    torch.testing.assert_close(ours.flatten(1), expected, atol=1e-5, rtol=1e-5)
    share = expected.abs() / expected.abs().sum(1, keepdim=True)
    maps = occluded_frequency(trained, images, labels, score)
    torch.testing.assert_close(maps.flatten(1), share, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_bands_equal_the_plain_loop(trained, colours, score):
    images, labels, masks = colours[0][:6], colours[1][:6], band_masks(16, 5)
    expected = plain_loop(trained, images, labels, masks, score)
    ours = band_changes(trained, images, labels, masks, score, batch=7)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    shares = occluded_bands(trained, images, labels, masks, score)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_two_scores_of_bands_take_the_passes_of_one(trained, colours):
    images, labels, masks = colours[0][:4], colours[1][:4], band_masks(16, 5)
    trained.batches.clear()
    found = band_changes_by_score(trained, images, labels, masks)
    assert sum(trained.batches) == 4 * 5 + 4 + 1
    assert list(found) == ["logit", "probability"]
    for score, changes in found.items():
        torch.testing.assert_close(changes, band_changes(trained, images, labels, masks, score))


def test_rectangular_images(trained):
    torch.manual_seed(0)
    images, labels = torch.rand(2, 3, 12, 16), torch.tensor([0, 3])
    single = torch.eye(192, dtype=torch.bool).view(192, 12, 16)
    expected = plain_loop(trained, images, labels, single, "logit")
    ours = component_changes(trained, images, labels)
    torch.testing.assert_close(ours.flatten(1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 50, 10_000])
def test_no_forward_pass_exceeds_the_batch(trained, colours, batch):
    images, labels, masks = colours[0][:3], colours[1][:3], band_masks(16, 4)
    trained.batches.clear()
    band_changes(trained, images, labels, masks, batch=batch)
    if batch > 1:
        component_changes(trained, images, labels, batch=batch)
        assert sum(trained.batches) == 3 * 256 + 3 + 3 * 4 + 3 + 2  # twice one, for its classes
    assert 0 < max(trained.batches) <= batch


def test_a_linear_model_in_closed_form():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5)).double()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    labels = torch.tensor([4, 0, 0, 2])
    template = model[1].weight.view(5, 3, 8, 8)[labels].detach()
    expected = (dct2(images) * dct2(template)).sum(1)  # the DCT keeps inner products
    torch.testing.assert_close(component_changes(model, images, labels), expected)


def test_model_is_left_as_it_was(trained, colours):
    trained.train()
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    occluded_bands(trained, colours[0][:2], colours[1][:2], band_masks(16, 2))
    assert trained.training
    assert all(p.requires_grad and p.grad is None for p in trained.parameters())
    assert all(torch.equal(v, before[k]) for k, v in trained.state_dict().items())


def test_normalise():
    changes = torch.tensor([[[1.0, -3.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(normalise(changes), torch.tensor([[[0.25, 0.75]], [[0.0, 0.0]]]))


def test_low_share():
    flat = torch.full((3, 16, 16), 1 / 256)
    torch.testing.assert_close(low_share(flat, 4), torch.full((3,), 16 / 256))
    expected = low_mask(16, 4, "radial").sum() / 256
    torch.testing.assert_close(low_share(flat, 4, "radial"), expected.expand(3))
    corner = torch.zeros(2, 16, 16)
    corner[:, 3, 3] = 1
    assert low_share(corner, 4).tolist() == [1, 1]
    assert low_share(corner, 3).tolist() == [0, 0]


def test_low_share_of_a_rectangle():
    flat = torch.full((1, 12, 20), 1 / 240)
    torch.testing.assert_close(low_share(flat, 6), torch.tensor([60 / 240]))


def test_bytes_and_halves_are_measured_as_floats_are(trained, colours):
    x, y, masks = (255 * colours[0][:3]).round(), colours[1][:3], band_masks(16, 4)
    expected = band_changes(trained, x / 255, y, masks)
    assert expected.abs().min() > 0
    torch.testing.assert_close(band_changes(trained, x.to(torch.uint8), y, masks), expected)
    half = band_changes(trained, (x / 255).bfloat16(), y, masks)
    torch.testing.assert_close(half, expected, atol=0.2, rtol=0.1)
    halved = copy.deepcopy(trained).bfloat16()
    components = component_changes(halved, x / 255, y)
    assert components.dtype == torch.float32
    assert (components.abs() > 1e-6).float().mean() > 0.99  # in half precision most round to 0


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_one_logit_is_the_difference_of_two(score):
    class One(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).mean(1, keepdim=True) - 3 * x[:, 0, :1, 0]

    class Two(torch.nn.Module):
        def forward(self, x):
            return torch.cat([-One()(x), One()(x)], 1) / 2

    x, y = torch.rand(2, 1, 6, 8), torch.tensor([0, 1])
    ours = component_changes(One(), x, y, score)
    torch.testing.assert_close(ours, component_changes(Two(), x, y, score))
    assert ours.abs().amax((1, 2)).min() > 1e-3


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named(trained, colours):
    images, labels = colours[0][:2], colours[1][:2]
    with pytest.raises(ValueError, match="score='loss': valid are 'logit' and 'probability'"):
        occluded_frequency(trained, images, labels, "loss")
    with pytest.raises(ValueError, match="batch=0"):
        occluded_frequency(trained, images, labels, batch=0)
    with pytest.raises(ValueError, match="from 0 to 4, but the model has 4 logits"):
        occluded_frequency(trained, images, torch.tensor([4, 0]))
    with pytest.raises(ValueError, match="1 of 2 images hold NaN, the first is 1"):
        occluded_frequency(trained, torch.stack([images[0], images[1] * torch.nan]), labels)
    with pytest.raises(ValueError, match="returns a tuple; needed is a tensor of logits"):
        occluded_frequency(Pair(), images, labels)


def test_hours_of_work_are_announced(trained, colours, monkeypatch):
    monkeypatch.setattr(occlusion, "LONG", 0)
    with pytest.warns(UserWarning, match=r"needs 512 forward passes.*fewer images.*bands"):
        component_changes(trained, colours[0][:2], colours[1][:2])


def test_without_the_constant_the_other_components_keep_their_proportions():
    maps = torch.tensor([[[0.5, 0.1], [0.4, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    left = occlusion.without_constant(maps)
    torch.testing.assert_close(left[0], torch.tensor([[0, 0.2], [0.8, 0]]))
    assert torch.equal(left[1], torch.zeros(2, 2))
