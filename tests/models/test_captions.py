import pickle

import numpy as np
import pytest
import torch

from paperlib.data.cifar import CIFAR10_CLASSES
from paperlib.data.openmoji import load_classes10
from paperlib.models.captions import (
    TEMPLATES,
    captions,
    draw_captioned,
    make_tokenizer,
    with_cifar10,
)


def test_captions_name_what_is_shown():
    data = draw_captioned("train", 40, size=16)
    torch.manual_seed(0)
    texts = captions(data, torch.arange(40))
    for row, text in zip(data.labels.tolist(), texts, strict=True):
        assert all(data.classes[label].name in text for label in row if label >= 0)
    counts = (data.labels >= 0).sum(1).tolist()
    assert counts == [1] * 22 + [2] * 10 + [1] * 8
    ten = {entry.name for entry in load_classes10()}
    assert all(data.classes[label].name in ten for label in data.labels[32:, 0])
    assert len({entry.name for entry in data.classes}) == len(data.classes)
    assert len(set(texts)) > 30


def test_no_caption_is_cut():
    tokenizer = make_tokenizer()
    classes = draw_captioned("train", 20, size=16).classes
    longest = max(classes, key=lambda entry: len(tokenizer.encode(entry.phrase)))
    texts = [template(longest.name) for template in TEMPLATES]
    texts.append(f"{longest.phrase} and {longest.phrase}.")
    assert max(len(tokenizer.encode(text)) for text in texts) <= tokenizer.context_length - 2


def test_cifar10_comes_before_the_scenes(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
    for k in range(1, 6):
        batch = {"data": pixels, "labels": list(range(10))}
        (folder / f"data_batch_{k}").write_bytes(pickle.dumps(batch))
    meta = {"label_names": list(CIFAR10_CLASSES)}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta))
    scenes = draw_captioned("train", 20, size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERLIB_CIFAR10", str(tmp_path))
        data = with_cifar10(scenes)
    assert data.photographs == 50 and scenes.photographs == 0
    assert data.images.shape == (70, 3, 64, 64) and data.images.dtype == torch.uint8
    names = [data.classes[label].name for label in data.labels[:10, 0]]
    assert tuple(names) == CIFAR10_CLASSES and (data.labels[:50, 1] == -1).all()
    torch.testing.assert_close(data.images[50:], scenes.images)
    before = torch.from_numpy(pixels[0]).view(3, 32, 32).float()
    after = data.images[0].float().unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-1, -3))
    assert (after - before).abs().mean() < 0.3 * before.std()


def test_too_few_scenes_are_refused():
    with pytest.raises(ValueError, match="count=3: valid are 20 and more"):
        draw_captioned("train", 3)
