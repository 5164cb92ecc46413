import numpy as np
import pytest
import torch
import torch.nn.functional as F

from paperlib.d4c.semantics import (
    embed,
    patch_similarities,
    prompt_similarities,
    share_out_of_range,
)
from paperlib.models.clip import build_small_clip, normalise


@pytest.fixture(scope="module", params=["resnet", "vit"])
def model(request):
    torch.manual_seed(0)
    return build_small_clip(request.param, 520).eval()


def images(n=3):
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_similarities_to_prompts_one_by_one(model):
    texts = F.normalize(torch.randn(4, 128), dim=-1)
    ours = prompt_similarities(model, texts, images())
    with torch.no_grad():
        features = model.encode_image(images())
    for feature, row in zip(features, ours, strict=True):
        expected = [F.cosine_similarity(feature, text, dim=0) for text in texts]
        torch.testing.assert_close(row, torch.stack(expected))


def deepest(model, x):
    """The last block's tokens without the class token; the last stage of at least 4 × 4."""
    visual, kept = model.visual, []
    block = visual.transformer.resblocks[-1] if hasattr(visual, "transformer") else visual.layer3
    handle = block.register_forward_hook(lambda block, inputs, output: kept.append(output))
    with torch.no_grad():
        model.encode_image(x)
    handle.remove()
    tokens = kept[0][:, 1:] if kept[0].ndim == 3 else kept[0].flatten(2).mT
    return tokens


def test_similarities_between_patches(model):
    tokens = deepest(model, images())
    count = tokens.shape[1]
    assert count in (16, 64)
    ours = patch_similarities(model, images(), batch=2)
    assert ours.shape == (3, count * (count - 1) // 2)
    for image, row in zip(tokens, ours, strict=True):
        expected = [F.cosine_similarity(image[i], image[i + 1 :], dim=-1) for i in range(count - 1)]
        torch.testing.assert_close(row, torch.cat(expected), atol=1e-5, rtol=0)


def test_flat_images_have_less_diverse_patches_than_noise(model):
    flat = torch.ones(2, 3, 64, 64)
    assert patch_similarities(model, flat).mean() > patch_similarities(model, images()).mean()


def test_values_beyond_black_and_white_are_counted():
    pixels = torch.tensor([-0.1, 0.1, 0.9, 1.1, 1.2]).expand(2, 3, 5, 5)
    assert share_out_of_range(normalise(pixels)) == pytest.approx(0.6)


def test_embedding_is_the_reference_s_principal_plane():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(30, 6, generator=generator) * torch.tensor([5.0, 3, 1, 1, 1, 1])
    other = torch.randn(8, 6, generator=generator)
    places, shares = embed({"real": real, "noise": other}, "real")
    values, vectors = np.linalg.eigh(np.cov(real.numpy().T))
    np.testing.assert_allclose(shares, values[::-1][:2] / values.sum(), rtol=1e-4)
    expected = (other - real.mean(0)).numpy() @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places["noise"]), np.abs(expected), atol=1e-4)
    assert places["real"].shape == (30, 2)
    with pytest.raises(ValueError, match="reference='bns': valid are 'real', 'noise'"):
        embed({"real": real, "noise": other}, "bns")
