import foolbox
import pytest
import torch
from torch import nn

from paperlib.freq.band_attack import band_attack, band_noise, fooled
from paperlib.freq.bands import filter_components, low_mask
from paperlib.freq.dct import dct2
from paperlib.models.frozen import frozen
from paperlib.models.training import predict


class Template(nn.Module):
    """Linear, two classes: the sign of a product with a template."""

    def __init__(self, template):
        super().__init__()
        self.template = nn.Parameter(template)

    def forward(self, x):
        z = (x * self.template).flatten(1).sum(1)
        return torch.stack([-z, z], 1)


@pytest.fixture
def template():
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def grey():
    noise = 0.01 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return 0.5 + noise


@pytest.mark.parametrize("mask", [low_mask(8, 3), ~low_mask(8, 3), low_mask(8, 9)])
def test_on_a_linear_model_in_closed_form(template, grey, mask):
    model = Template(template)
    labels = predict(model, grey)
    change = band_attack(model, grey, labels, mask, 0.3, steps=5) - grey
    along = dct2(template) * mask
    best = torch.einsum("n,chw->nchw", 1.0 - 2 * labels, 0.3 * along / along.norm())
    torch.testing.assert_close(dct2(change), best, atol=1e-4, rtol=0)


def test_with_all_frequencies_it_is_foolbox_own(trained, colours):
    x, y = colours[0][:6], colours[1][:6]
    ours = band_attack(trained, x, y, low_mask(16, 99), 0.8, steps=7)
    own = foolbox.attacks.L2PGD(rel_stepsize=2.5 / 7, steps=7, random_start=False)
    with frozen(trained):  # other tests have it too
        _, expected, _ = own(foolbox.PyTorchModel(trained, (0, 1)), x, y, epsilons=0.8)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_perturbation_stays_in_its_band_and_ball(trained, colours):
    x, y = 0.4 * colours[0][:6] + 0.3, colours[1][:6]  # with room for every change
    mask = ~low_mask(16, 5)
    with torch.no_grad():
        after = band_attack(trained, x, y, mask, 0.7, steps=6)
    change = dct2(after - x)
    assert change[..., ~mask].abs().max() < 1e-5 < change[..., mask].abs().max()
    assert (after - x).flatten(1).norm(dim=1).max() <= 0.7 + 1e-5
    assert trained.training


def test_noise_has_the_band_and_the_norm(grey):
    mask = low_mask(8, 4) & ~low_mask(8, 2)
    change = band_noise(grey, mask, 0.5, 0) - grey
    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((4,), 0.5))
    assert dct2(change)[..., ~mask].abs().max() < 1e-5
    assert torch.equal(band_noise(grey, mask, 0.5, 0), band_noise(grey, mask, 0.5, 0))
    assert not torch.equal(band_noise(grey, mask, 0.5, 1), band_noise(grey, mask, 0.5, 0))


def test_a_network_is_fooled_in_the_band_that_it_uses(template, grey):
    low = low_mask(8, 3)
    model = Template(filter_components(template, low))
    labels = predict(model, grey)
    labels = torch.cat([1 - labels[:1], labels[1:]])  # the first is wrong already, so left out
    hit = fooled(model, grey, labels, {"low": low, "high": ~low}, 0.5, 5, 0)
    assert {key: len(found) for key, found in hit.items()} == dict.fromkeys(hit, 3)
    assert hit["attack", "low"].all() and not hit["attack", "high"].any()
    assert not hit["noise", "high"].any()
