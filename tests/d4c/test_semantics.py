import numpy as np
import pytest
import torch
import torch.nn.functional as F

from paperlib.d4c.encoders import other_towers
from paperlib.d4c.prompts import GENERIC_NAMES, photo
from paperlib.d4c.semantics import (
    check_sight,
    embed,
    patch_similarities,
    prompt_information,
    prompt_similarities,
    share_out_of_range,
    told_apart,
)
from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip, class_features, image_size, normalise


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


class Judge(torch.nn.Module):
    """Image features are the first values of an image."""

    def __init__(self, scale):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(float(scale)))

    def encode_image(self, images, normalize=False):
        return F.normalize(images[:, 0, 0, :4], dim=-1)


def test_each_set_is_judged_by_the_judge_of_its_encoder(model):
    def tokenizer(texts):  # of as few words as the model has
        return make_tokenizer()(texts) % 520

    texts = class_features(model, tokenizer, GENERIC_NAMES, [photo])
    keys = [("vit", 0, "real"), ("vit", 1, "real")]
    sets = {key: images(n) for key, n in zip(keys, (2, 3), strict=True)}
    found = told_apart({"vit": (model, tokenizer)}, sets)
    assert found == {key: prompt_information(model, texts, x) for key, x in sets.items()}


def test_a_judge_sees_images_at_the_size_that_it_takes(model):
    seen = []

    class Sees(Judge):
        visual = model.visual

        def encode_text(self, tokens, normalize=False):
            return F.normalize(torch.randn(len(tokens), 4), dim=-1)

        def encode_image(self, images, normalize=False):
            seen.append(images.shape[-1])
            return super().encode_image(images)

    size = image_size(model)
    sets = {("vit", k, "real"): torch.randn(2, 3, side, side) for k, side in enumerate((size, 224))}
    assert len(told_apart({"vit": (Sees(1), make_tokenizer())}, sets)) == 2
    assert seen == [size, size]


def test_the_other_tower_judges():
    tokenizer = make_tokenizer()
    clips = {"vit": (torch.nn.Identity(), tokenizer)}
    judges = other_towers("openmoji", clips)
    assert list(judges) == ["vit"]
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in judges["vit"][0].visual.modules())
    both = clips | {"resnet": (torch.nn.Identity(), tokenizer)}
    assert other_towers("openmoji", both) == {"vit": both["resnet"], "resnet": both["vit"]}


def test_prompts_told_apart_from_none_to_all():
    texts, one_hot = torch.eye(4), torch.zeros(4, 3, 4, 4)
    one_hot[:, 0, 0] = torch.eye(4)
    assert prompt_information(Judge(6), texts, one_hot) == pytest.approx(4, rel=1e-6)
    assert prompt_information(Judge(6), texts, one_hot[:2]) == pytest.approx(2, rel=1e-6)
    assert prompt_information(Judge(6), texts, one_hot[[1, 1, 1]]) == pytest.approx(1, rel=1e-6)
    assert prompt_information(Judge(6), texts, torch.ones(4, 3, 4, 4)) == pytest.approx(1, rel=1e-6)
    between = prompt_information(Judge(0.0), texts, one_hot)  # a judge that is not sure
    p = torch.tensor([torch.e, 1.0, 1.0, 1.0]) / (torch.e + 3)
    assert between == pytest.approx(4 / torch.exp(-(p * p.log()).sum()).item(), rel=1e-5)
    assert 1 < between < 4


def test_prompts_that_images_are_shuffled_away_from_are_told_apart_as_well():
    """It asks whether images show prompts, not which: shuffling images changes nothing."""
    texts, drawn = F.normalize(torch.randn(9, 4), dim=1), images(6)
    found = prompt_information(Judge(3), texts, drawn)
    assert prompt_information(Judge(3), texts, drawn.flip(0)) == pytest.approx(found)


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


def test_a_blind_judge_is_refused():
    seen = {("vit", k, m): v + k for k in (0, 1) for m, v in {"gaussian": 1.0, "real": 9.0}.items()}
    check_sight(seen)  # 1.5 and 9.5 in the mean
    for wrong in ({"gaussian": 1.6}, {"real": 0.9}):
        told = seen | {("vit", k, m): v + k for k in (0, 1) for m, v in wrong.items()}
        with pytest.raises(ValueError, match="the judge of vit's images is blind"):
            check_sight(told)


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
