import pytest
from open_clip import IMAGENET_CLASSNAMES
from open_clip.tokenizer import SimpleTokenizer

from paperlib.d4c.prompts import (
    CIFAR_TEMPLATES,
    GENERIC_NAMES,
    TASKS,
    calibration_texts,
    photo,
    zero_shot_task,
)
from paperlib.models.captions import make_tokenizer


def test_names_and_templates_are_words_of_the_small_clips():
    """No token of theirs has to be spelt in bytes, and none is cut off."""
    tokenizer = make_tokenizer()
    texts = [photo(name) for name in GENERIC_NAMES]
    for dataset in ("openmoji", "cifar10", "cifar100"):
        task = zero_shot_task(dataset)
        texts += [template(name) for name in task.names for template in task.templates]
    full = SimpleTokenizer()
    for text in texts:
        tokens = tokenizer.encode(text)
        assert [tokenizer.kept[token] for token in tokens] == full.encode(text)
        assert len(tokens) <= tokenizer.context_length - 2, text


@pytest.mark.parametrize(
    ("dataset", "classes", "templates"),
    [("openmoji", 443, 7), ("cifar10", 10, 18), ("cifar100", 100, 18), ("imagenet", 1000, 80)],
)
def test_tasks(dataset, classes, templates):
    task = zero_shot_task(dataset)
    assert (len(task.names), len(task.templates)) == (classes, templates)
    texts = {template(task.names[3]) for template in task.templates}
    assert len(texts) == templates and all(task.names[3] in text for text in texts)
    assert not any("_" in name for name in task.names)


def test_templates_are_clip_s():
    texts = [template("cat") for template in CIFAR_TEMPLATES]
    assert texts[0] == photo("cat") == "a photo of a cat."
    assert {"a blurry photo of the cat.", "a photo of a big cat."} <= set(texts)
    assert zero_shot_task("imagenet").names == tuple(IMAGENET_CLASSNAMES)
    assert zero_shot_task("cifar100").names[1] == "aquarium fish"


def test_calibration_texts_are_drawn_without_replacement():
    texts = calibration_texts(CIFAR_TEMPLATES, 512, seed=0)
    assert len(set(texts)) == 512
    assert texts == calibration_texts(CIFAR_TEMPLATES, 512, seed=0)
    assert texts != calibration_texts(CIFAR_TEMPLATES, 512, seed=1)
    every = calibration_texts([photo], 2, seed=0, names=["cat", "dog"])
    assert sorted(every) == ["a photo of a cat.", "a photo of a dog."]


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="count=3: 1 templates × 2 names give 1 to 2 texts"):
        calibration_texts([photo], 3, seed=0, names=["cat", "dog"])
    with pytest.raises(ValueError, match="dataset='mnist': valid are 'openmoji'.*'imagenet'"):
        zero_shot_task("mnist")
    assert set(TASKS) == {"openmoji", "cifar10", "cifar100", "imagenet", "tiny_imagenet"}
