import open_clip
import pytest
import torch

from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.zero_shot import load_draws, load_images, task_features, top1
from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip, preprocess


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return build_small_clip("vit", tokenizer.vocab_size).eval()


def test_features_equal_open_clip_s(model, tokenizer):
    task = zero_shot_task("cifar10")
    theirs = open_clip.build_zero_shot_classifier(
        model, tokenizer, task.names, task.templates, None
    )
    torch.testing.assert_close(task_features(model, tokenizer, "cifar10"), theirs.T)


def test_top1_is_counted_image_by_image(model, tokenizer):
    data = load_images("openmoji", "test", 24, seed=0)
    texts = task_features(model, tokenizer, "openmoji")
    right = 0
    with torch.no_grad():
        for image, label in zip(data.images, data.labels, strict=True):
            features = model.encode_image(preprocess(image[None], 64))
            right += (features @ texts.T).argmax().item() == label.item()
    assert top1(model, texts, data, batch=7) == right / 24


def test_a_sample_is_of_all_classes_and_without_replacement():
    data = load_images("openmoji", "test", 40, seed=3)
    again = load_images("openmoji", "test", 20, seed=3)
    assert torch.equal(data.images[:20], again.images) and data.images.shape[1:] == (3, 64, 64)
    assert data.labels.max() > 300 and len(data.labels.unique()) > 30
    assert not torch.equal(data.labels, load_images("openmoji", "test", 40, seed=4).labels)
    assert data.classes == zero_shot_task("openmoji").names
    with pytest.raises(ValueError, match="1 draws of 4431 test: the pool has 4430"):
        load_images("openmoji", "test", 4431, seed=0)
    with pytest.raises(ValueError, match="dataset='coco': valid are 'openmoji', 'cifar10'"):
        load_images("coco", "test", 1, seed=0)


def test_draws_share_no_image():
    drawn = load_draws("openmoji", "train", 30, 3, seed=1)
    pixels = torch.cat([data.images for data in drawn]).flatten(1)
    assert len(pixels.unique(dim=0)) == 90
    again = load_draws("openmoji", "train", 30, 3, seed=2)
    assert not torch.equal(again[0].images, drawn[0].images)


def test_wrong_values_are_named(model):
    data = load_images("openmoji", "test", 3, seed=0)
    with pytest.raises(ValueError, match="texts: 3 classes, but OpenMoji .drawn. has 443"):
        top1(model, torch.randn(3, 128), data)
