import io
import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from pyarrow import parquet

from paperlib.data.cifar import CIFAR10_CLASSES
from paperlib.data.openmoji import SceneClass, draw_scenes, load_classes, load_classes10
from paperlib.models.captions import (
    TEMPLATES,
    CaptionedImages,
    Captions,
    draw_captioned,
    draw_many,
    make_tokenizer,
    with_cifar10,
    with_tiny_imagenet,
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


FULL = SimpleTokenizer()


def spelt(tokenizer, row):
    """The text of a row of tokens."""
    kept = [tokenizer.kept[token] for token in row if token]  # 0 pads
    return "".join(FULL.decoder[token] for token in kept[1:-1]).replace("</w>", " ").strip()


def test_captions_name_what_is_shown(tokenizer):
    data = draw_captioned("train", 40, size=16)
    captions = Captions(data, tokenizer)
    torch.manual_seed(0)
    texts = [spelt(tokenizer, row) for row in captions.draw(torch.arange(40)).tolist()]
    for row, text in zip(data.labels.tolist(), texts, strict=True):
        assert all(data.classes[label].name in text for label in row if label >= 0)
    counts = (data.labels >= 0).sum(1)
    assert counts.tolist() == [1] * 22 + [2] * 10 + [1] * 8
    assert captions.count.tolist() == [len(TEMPLATES) if n == 1 else 2 for n in counts]
    ten = {entry.name for entry in load_classes10()}
    assert all(data.classes[label].name in ten for label in data.labels[32:, 0])
    assert len({entry.name for entry in data.classes}) == len(data.classes)
    assert len(set(texts)) > 30


def test_half_of_the_captions_have_a_synonym(tokenizer):
    classes = (SceneClass("dog", "a", ()), SceneClass("cat", "a", ()))
    images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([[0, -1], [1, -1]])
    data = CaptionedImages(images, labels, classes, "", synonyms={"cat": ("tiger", "lion")})
    captions = Captions(data, tokenizer)
    torch.manual_seed(0)
    rows = captions.draw(torch.arange(2).repeat(1_000)).tolist()
    texts = [spelt(tokenizer, row) for row in rows]
    assert all("dog" in text for text in texts[::2])
    share = {name: sum(name in text for text in texts[1::2]) / 1_000 for name in ("cat", "lion")}
    assert abs(share["cat"] - 0.5) < 0.05 and abs(share["lion"] - 0.25) < 0.05


def test_scenes_drawn_by_several_processes_are_the_same(monkeypatch):
    monkeypatch.setattr("paperlib.models.captions.PART", 7)
    how = {"size": 16, "classes": load_classes(), "seed": 3, "objects": (1, 2), "balanced": True}
    many, one = draw_many("test", range(5, 25), **how), draw_scenes("test", range(5, 25), **how)
    for name in ("images", "labels", "masks"):
        assert torch.equal(getattr(many, name), getattr(one, name))
    assert many.captions == one.captions


def test_tiny_imagenet_comes_before_the_scenes(tmp_path, monkeypatch):
    names = '0,n1,goldfish\n1,n2,"zebra, tiger, painted horse"\n'  # tiger is a class of its own
    (tmp_path / "classes.csv").write_text("label,wnid,names\n" + names)
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 99, 199)).save(stream, "PNG")
    cells = pa.array([{"bytes": stream.getvalue(), "path": ""}] * 3)
    parquet.write_table(
        pa.table({"image": cells, "label": pa.array([1, 0, 1])}), tmp_path / "train.parquet"
    )
    monkeypatch.setenv("PAPERLIB_TINY_IMAGENET", str(tmp_path))
    scenes = draw_captioned("train", 20)
    data = with_tiny_imagenet(scenes)
    assert data.photographs == 3 and data.images.shape == (23, 3, 64, 64)
    assert [data.classes[label].name for label in data.labels[:3, 0]] == [
        "zebra",
        "goldfish",
        "zebra",
    ]
    assert torch.equal(data.labels[3:], scenes.labels) and (data.labels[:3, 1] == -1).all()
    assert data.synonyms == {"goldfish": (), "zebra": ("painted horse",)}
    assert data.classes[: len(scenes.classes)][0].name == scenes.classes[0].name
    assert [entry.name for entry in data.classes].count("zebra") == 1


def test_no_caption_is_cut(tokenizer):
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
    with pytest.raises(ValueError, match="count=19: valid are 20 and more"):
        draw_captioned("train", 19)
    assert len(draw_captioned("train", 20, size=8).images) == 20
