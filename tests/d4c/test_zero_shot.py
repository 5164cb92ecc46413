import open_clip
import pytest
import torch

from paperlib.d4c.prompts import zero_shot_task
from paperlib.d4c.zero_shot import load_images, openmoji_scenes, task_features, top1
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
    data = openmoji_scenes("openmoji10", "test", 24)
    texts = task_features(model, tokenizer, "openmoji10")
    right = 0
    with torch.no_grad():
        for image, label in zip(data.images, data.labels, strict=True):
            features = model.encode_image(preprocess(image[None], 64))
            right += (features @ texts.T).argmax().item() == label.item()
    assert top1(model, texts, data, batch=7) == right / 24


def test_scenes_come_class_by_class():
    data = openmoji_scenes("openmoji", "test", 450, size=16)
    assert data.labels.tolist() == [*range(443), *range(7)]
    assert data.classes == zero_shot_task("openmoji").names
    train = openmoji_scenes("openmoji", "train", 5, size=16)
    assert not torch.equal(train.images, data.images[:5])


def test_a_sample_is_of_all_classes_and_without_replacement():
    data = load_images("openmoji", "test", 40, seed=3)
    again = load_images("openmoji", "test", 20, seed=3)
    assert torch.equal(data.images[:20], again.images) and data.images.shape[1:] == (3, 64, 64)
    assert data.labels.max() > 300 and len(data.labels.unique()) > 30
    assert not torch.equal(data.labels, load_images("openmoji", "test", 40, seed=4).labels)
    assert data.classes == zero_shot_task("openmoji").names
    with pytest.raises(ValueError, match="count=4431: a split of OpenMoji has 4430 scenes"):
        load_images("openmoji", "test", 4431, seed=0)
    with pytest.raises(ValueError, match="dataset='coco': valid are 'openmoji', 'cifar10'"):
        load_images("coco", "test", 1, seed=0)


def test_wrong_values_are_named(model, tokenizer):
    data = openmoji_scenes("openmoji10", "test", 10)
    with pytest.raises(ValueError, match="texts: 3 classes, but 10 OpenMoji scenes has 10"):
        top1(model, torch.randn(3, 128), data)
    with pytest.raises(ValueError, match="dataset='x': valid are 'openmoji', 'openmoji10'"):
        openmoji_scenes("x", "test", 10)
