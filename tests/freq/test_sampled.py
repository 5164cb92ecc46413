import pytest
import torch

from paperlib.freq.bands import low_mask
from paperlib.freq.dct import dct2
from paperlib.freq.occlusion import component_changes, low_share, occluded_frequency
from paperlib.freq.sampled import (
    Sample,
    beside_exact,
    drawn,
    first_order_changes,
    mean_map,
    mean_maps,
    sampled_frequency,
    sampled_networks,
    strata,
)
from paperlib.freq.variants import load_images, load_variant
from paperlib.models.training import predict
from paperlib.seeds import derive

SAMPLE = Sample(cutoff=4, share=0.2, rings=8)


class Linear(torch.nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, size=16):
        super().__init__()
        self.linear = torch.nn.Linear(3 * size * size, 4, bias=False)

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_low_components_are_all_drawn_and_each_ring_stands_for_itself():
    weights = drawn(50, (16, 16), SAMPLE, 0)
    low = low_mask(16, 4)
    assert (weights[:, low] == 1).all()
    for ring in strata((16, 16), SAMPLE):
        torch.testing.assert_close(weights[:, ring].sum(1), torch.full((50,), 1.0 * ring.sum()))
    high = weights[:, ~low] > 0
    assert high.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert len({tuple(row.tolist()) for row in high}) == 50  # another sample each image
    assert ((high.sum(0) > 0).float().mean() == 1).item()  # and none is left out of all


def test_a_sample_of_all_is_exact(trained, colours):
    images, labels = colours[0][:3], colours[1][:3]
    for score in ("logit", "probability"):
        ours = sampled_frequency(trained, images, labels, score, Sample(4, 1.0, 8))
        exact = occluded_frequency(trained, images, labels, score)
        torch.testing.assert_close(ours, exact, atol=1e-6, rtol=1e-4)


def test_the_mean_over_draws_is_the_exact_share(trained, colours):
    images, labels = colours[0][:4], colours[1][:4]
    exact = low_share(occluded_frequency(trained, images, labels), 4)
    found = torch.stack(
        [
            low_share(sampled_frequency(trained, images, labels, "logit", SAMPLE, seed), 4)
            for seed in range(40)
        ]
    )
    assert (found.mean(0) - exact).abs().max() < 0.01
    assert 0 < found.std(0).max() < 0.06


def test_first_order_is_exact_for_a_linear_model_and_so_is_its_control_variate(colours):
    torch.manual_seed(0)
    model, images, labels = Linear(), colours[0][:4], colours[1][:4]
    exact = component_changes(model, images, labels)
    torch.testing.assert_close(
        first_order_changes(model, images, labels, batch=3), exact, atol=1e-5, rtol=1e-3
    )
    shares = low_share(sampled_frequency(model, images, labels, "logit", SAMPLE), 4)
    expected = low_share(occluded_frequency(model, images, labels), 4)
    torch.testing.assert_close(shares, expected, atol=1e-4, rtol=1e-3)


def test_first_order_of_a_probability_is_its_gradient(trained, colours):
    images, labels = colours[0][:2], colours[1][:2]
    trained.eval()
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(trained(x).softmax(-1)[range(2), labels].sum(), x)
    expected = (dct2(images) * dct2(gradient)).sum(1)
    trained.train()
    ours = first_order_changes(trained, images, labels, "probability")
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)
    assert trained.training


def test_few_passes_are_made(trained, colours):
    trained.batches.clear()
    sampled_frequency(trained, colours[0][:5], colours[1][:5], "logit", SAMPLE)
    assert sum(trained.batches) < 5 * 256 / 3


def test_where_nothing_changes_the_map_is_zero():
    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 4) + 0 * x.sum((1, 2, 3))[:, None]

    maps = sampled_frequency(Constant(), torch.rand(2, 3, 16, 16), torch.tensor([0, 1]))
    assert torch.equal(maps, torch.zeros(2, 16, 16))


def test_beside_the_exact_share_the_sample_is_cheaper_and_hardly_biased(trained, colours):
    images, labels = colours[0][:12], colours[1][:12]
    found = beside_exact(trained, images, labels, repeats=6, sample=SAMPLE)
    exact = low_share(occluded_frequency(trained, images, labels), 4)
    assert found["exact"] == pytest.approx(exact.mean().item())
    assert found["deviation, images"] == pytest.approx(exact.std().item())
    assert abs(found["bias"]) < 0.01
    assert found["passes"] == pytest.approx((16 + 0.2 * 240) / 256, abs=0.02)
    assert found["passes"] ** 0.5 < found["standard error"] < 0.6


def test_further_draws_beside_the_exact_share_are_those_that_would_be_run(trained, colours):
    images, labels = colours[0][:6], colours[1][:6]
    found = beside_exact(trained, images, labels, repeats=3, sample=SAMPLE, seed=5)
    seeds = [derive(5, "beside", repeat) for repeat in range(3)]
    draws = [sampled_frequency(trained, images, labels, "logit", SAMPLE, seed) for seed in seeds]
    shares = torch.stack([low_share(maps, 4) for maps in draws])
    expected = shares.std(0).square().mean().sqrt().item()
    assert found["deviation, draws"] == pytest.approx(expected, rel=1e-3)
    exact = low_share(occluded_frequency(trained, images, labels), 4)
    assert found["bias"] == pytest.approx((shares - exact).mean().item(), abs=1e-6)


def test_a_mean_map_does_not_show_how_often_a_component_was_drawn():
    seed, size = 3, (16, 16)
    weights = drawn(8, size, SAMPLE, seed)
    assert weights.mean(0).std() > 0.3
    found = mean_map(0.5 * weights, SAMPLE, seed)  # of maps that are 0.5 everywhere
    torch.testing.assert_close(found, 0.5 * (weights.mean(0) > 0))
    assert (found == 0).any()  # drawn for none of so few images


def test_networks_of_one_data_set_are_measured_alike():
    data = load_images("openmoji", "test").sample(2, 0)
    images, labels = data.floats(), data.labels
    key = "resnet20", "natural"
    occluded, right = sampled_networks("openmoji", [key], images, labels, seed=4)
    net = load_variant("openmoji", *key)
    torch.testing.assert_close(occluded[key], sampled_frequency(net, images, labels, seed=4))
    assert right[key].tolist() == (predict(net, images) == labels).tolist()
    means = mean_maps("openmoji", [key], images, labels)
    torch.testing.assert_close(means[key], occluded_frequency(net, images, labels).mean(0))


@pytest.mark.parametrize("measure", [sampled_frequency, first_order_changes])
def test_labels_out_of_range_are_named(measure, trained, colours):
    with pytest.raises(ValueError, match="labels are from 0 to 9, but the model has 4 logits"):
        measure(trained, colours[0][:2], torch.tensor([0, 9]))


@pytest.mark.parametrize("measure", [sampled_frequency, first_order_changes])
def test_in_inference_mode_the_values_are_the_same(measure, trained, colours):
    images, labels = colours[0][:2], colours[1][:2]
    with torch.inference_mode():
        found = measure(trained, images.clone(), labels.clone())
    torch.testing.assert_close(found.clone(), measure(trained, images, labels))


def test_a_network_in_double_precision_is_measured_in_it(colours):
    images, labels = colours[0][:2], colours[1][:2]
    torch.manual_seed(0)
    single = Linear()
    expected = sampled_frequency(single, images, labels, "logit", SAMPLE)
    found = sampled_frequency(single.double(), images, labels, "logit", SAMPLE)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-2)


def test_a_network_without_a_gradient_is_named(colours):
    class Detached(Linear):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ValueError, match="Detached gives no gradient of its logits"):
        first_order_changes(Detached(), colours[0][:2], colours[1][:2])
