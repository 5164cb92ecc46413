from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import gaussian_kde
from torch import nn

from paperlib.d4c.baselines import (
    attention_patches,
    baseline_parts,
    bns_loss,
    gaussian_images,
    kernel_density,
    pair_similarities,
    pse_loss,
    real_images,
    similarity_entropy,
)
from paperlib.d4c.optimiser import Part
from paperlib.d4c.settings import Settings
from paperlib.data import LabelledImages
from paperlib.models.clip import build_small_clip, preprocess

SHORT = Settings(images=6, synthesis_batch=4, synthesis_iterations=3)
WHOLE = [Part.whole(SHORT)]


def images(n=4, size=64):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    model = build_small_clip("resnet", 520).eval()
    for module in model.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return build_small_clip("vit", 520).eval()


def test_bns_is_the_plain_sum_over_all_layers(resnet):
    inputs = {}

    def keep(norm, arguments):
        inputs[norm] = arguments[0]

    norms = [m for m in resnet.visual.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 3 + 5 * 3 + 4
    handles = [norm.register_forward_pre_hook(keep) for norm in norms]
    with torch.no_grad():
        resnet.encode_image(images())
    for handle in handles:
        handle.remove()
    expected = 0
    for norm, x in inputs.items():
        flat = x.transpose(0, 1).flatten(1)
        expected += ((flat.mean(1) - norm.running_mean) ** 2).mean()
        expected += ((flat.var(1, unbiased=False) - norm.running_var) ** 2).mean()
    with torch.no_grad():
        torch.testing.assert_close(bns_loss(resnet, images())[0], expected)
    assert not any(norm._forward_pre_hooks for norm in norms)


def test_bns_is_zero_where_the_statistics_agree(resnet):
    """Statistics that each layer keeps of the very batch, in eval mode, layer by layer."""

    def adopt(norm, arguments):
        variance, mean = torch.var_mean(arguments[0], (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [m for m in resnet.visual.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(adopt) for norm in norms]
    with torch.no_grad():
        resnet.encode_image(images())
        for handle in handles:
            handle.remove()
        assert bns_loss(resnet, images()) < 1e-10
        assert bns_loss(resnet, images() + 1) > 1e-3


def test_patches_are_the_heads_of_every_layer(vit):
    """From each layer's own weights: attention, mean over heads, without the class token."""
    seen = []
    layers = [block.attn for block in vit.visual.transformer.resblocks]
    handles = [
        layer.register_forward_hook(
            lambda layer, arguments, output: seen.append((arguments, output))
        )
        for layer in layers
    ]
    with torch.no_grad():
        ours = attention_patches(vit, images(2))
    for handle in handles:
        handle.remove()
    assert len(ours) == 6
    for layer, (arguments, output), patches in zip(layers, seen, ours, strict=True):
        x = arguments[0]
        q, k, v = (x @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=-1)
        heads = []
        for h in range(3):
            part = slice(64 * h, 64 * (h + 1))
            weights = (q[..., part] @ k[..., part].mT / 8).softmax(-1)
            heads.append(weights @ v[..., part])
        joined = torch.cat(heads, dim=-1)  # what the layer projects: its output proves the heads
        torch.testing.assert_close(layer.out_proj(joined), output[0], atol=1e-5, rtol=1e-4)
        expected = sum(heads)[:, 1:] / 3
        assert patches.shape == (2, 64, 64)
        torch.testing.assert_close(patches, expected, atol=1e-5, rtol=1e-4)


def test_pairs_one_by_one():
    patches = torch.randn(2, 5, 7)
    ours = pair_similarities(patches)
    for image, row in zip(patches, ours, strict=True):
        expected = [
            F.cosine_similarity(image[i], image[j], dim=0)
            for i in range(5)
            for j in range(i + 1, 5)
        ]
        torch.testing.assert_close(row, torch.stack(expected))


def test_density_is_scipy_s():
    values = torch.rand(3, 40, dtype=torch.float64)
    x = torch.linspace(-0.5, 1.5, 9, dtype=torch.float64).expand(3, -1)
    ours = kernel_density(values, x, 0.05)
    for row, points, density in zip(values.numpy(), x.numpy(), ours.numpy(), strict=True):
        reference = gaussian_kde(row, bw_method=0.05 / row.std(ddof=1))
        np.testing.assert_allclose(density, reference(points), rtol=1e-8)


def test_entropy_is_the_trapezoid_sum():
    values = torch.rand(4, 30, dtype=torch.float64)
    ours = similarity_entropy(values, 0.1, 10)
    for row, entropy in zip(values.numpy(), ours.numpy(), strict=True):
        x = np.linspace(row.min(), row.max(), 10)
        p = gaussian_kde(row, bw_method=0.1 / row.std(ddof=1))(x)
        assert entropy == pytest.approx(np.trapezoid(-p * np.log(p), x))


def test_entropy_of_a_normal_distribution():
    values = 0.05 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    expected = 0.5 * np.log(2 * np.pi * np.e * (0.05**2 + 0.01**2))
    assert similarity_entropy(values, 0.01, 200).item() == pytest.approx(expected, abs=0.03)


def test_pse_is_the_sum_over_layers(vit):
    with torch.no_grad():
        ours = pse_loss(vit, images(3), 0.01, 10)
        expected = 0
        for patches in attention_patches(vit, images(3)):
            entropy = [similarity_entropy(pair_similarities(p[None]), 0.01, 10) for p in patches]
            expected -= sum(entropy).item() / 3
    assert ours.item() == pytest.approx(expected, abs=1e-4)


def test_losses_fall(resnet, vit):
    settings = replace(SHORT, synthesis_iterations=12, synthesis_rate=0.05)
    for method, model in (("bns", resnet), ("pse", vit)):
        done = baseline_parts(method, model, settings, WHOLE)
        assert (done.losses[:, -1] < done.losses[:, 0]).all()
        assert done.images.shape == (6, 3, 64, 64) and done.images.isfinite().all()
        assert not model.training and all(p.grad is None for p in model.parameters())
        start = gaussian_images(model, 6, settings.seed)
        reach = 12 * 0.0501 * 2**0.5  # two mini-batches: Adam sees a zero gradient in between
        assert 0.2 * reach < (done.images - start).abs().max() <= 1.2 * reach


def test_a_baseline_resumes(resnet, tmp_path):
    file = tmp_path / "bns.pt"
    kept, other = (baseline_parts("bns", resnet, SHORT, WHOLE, place) for place in (file, None))
    assert torch.equal(kept.images, other.images)
    assert not file.exists()


def test_gaussian_images(vit):
    noise = gaussian_images(vit, 20, seed=3)
    assert noise.shape == (20, 3, 64, 64)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert torch.equal(noise, gaussian_images(vit, 20, seed=3))
    assert not torch.equal(noise, gaussian_images(vit, 20, seed=4))


def test_real_images_are_as_the_model_takes_them(vit):
    pixels = torch.randint(256, (9, 3, 32, 32), dtype=torch.uint8)
    data = LabelledImages(pixels, torch.zeros(9, dtype=torch.long), ("a",), "noise")
    torch.testing.assert_close(real_images(vit, data), preprocess(pixels, 64))


def test_wrong_towers_are_named(resnet, vit):
    with pytest.raises(ValueError, match="BNS needs an image tower with BatchNorm layers"):
        baseline_parts("bns", vit, SHORT, WHOLE)
    with pytest.raises(ValueError, match="PSE needs an image tower with attention layers"):
        baseline_parts("pse", resnet, SHORT, WHOLE)
