"""Retrieval: recall against a plain count, the worth of chance, and pairs from a file."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from paperlib.d4c.quantize import retrieval_table, transform
from paperlib.d4c.retrieval import AT, Pairs, by_chance, load_pairs, recall, retrieval
from paperlib.data.openmoji import draw_scenes, load_classes
from paperlib.models.clip import load_clip


def counted(images, texts, image_of):
    """R@K by sorting, one query after the other."""
    cosines = images @ texts.T
    rows = [[], []]
    for k in AT:
        best = cosines.topk(min(k, cosines.shape[1]), dim=1).indices
        hits = [any(image_of[t] == i for t in row) for i, row in enumerate(best.tolist())]
        rows[0].append(sum(hits) / len(hits))
        best = cosines.topk(min(k, len(cosines)), dim=0).indices.T
        hits = [image_of[t] in row for t, row in enumerate(best.tolist())]
        rows[1].append(sum(hits) / len(hits))
    return rows


@pytest.mark.parametrize(
    "image_of", [list(range(40)), [k // 3 for k in range(60)], [0, 1, 1, 1, 2], [0]]
)
def test_recall_is_what_sorting_counts(image_of):
    draw = torch.Generator().manual_seed(1)
    places = torch.tensor(image_of)
    images = F.normalize(torch.randn(max(image_of) + 1, 8, generator=draw), dim=1)
    noise = torch.randn(len(places), 8, generator=draw)
    texts = F.normalize(images[places] + 0.4 * noise, dim=1)
    found = recall(images, texts, places)
    assert found.to_numpy() == pytest.approx(np.array(counted(images, texts, image_of)))
    assert list(found.columns) == ["R@1", "R@5", "R@10"]


def test_features_that_are_all_alike_find_nothing_and_their_own_find_all():
    places = torch.arange(30)
    same = F.normalize(torch.ones(30, 4), dim=1)
    assert (recall(same, same, places) == 0).all(axis=None)
    own = torch.eye(30)
    assert (recall(own, own, places) == 1).all(axis=None)
    assert (recall(own, own, places.roll(11)) == 0).all(axis=None)  # other images' texts


@pytest.mark.parametrize("image_of", [range(50), [k // 5 for k in range(60)], [0, 0, 1]])
def test_chance_is_what_random_features_reach(image_of):
    pairs = Pairs((), (), tuple(image_of))
    pairs = pairs._replace(files=tuple(range(max(image_of) + 1)), texts=tuple(image_of))
    draw = torch.Generator().manual_seed(0)
    tries = [
        recall(
            F.normalize(torch.randn(len(pairs.files), 16, generator=draw), dim=1),
            F.normalize(torch.randn(len(pairs.texts), 16, generator=draw), dim=1),
            torch.tensor(pairs.image_of),
        )
        for _ in range(300)
    ]
    assert sum(tries).to_numpy() / 300 == pytest.approx(by_chance(pairs).to_numpy(), abs=0.03)


@pytest.fixture
def pairs_file(tmp_path):
    """Twelve scenes with a text and a second one for the first, and a blank line."""
    names = [entry.name for entry in load_classes()]
    scenes = draw_scenes("test", range(400), size=64, classes=load_classes(), balanced=True)
    rows, seen = ["text,image"], set()
    for image, (label, *_) in zip(scenes.images, scenes.labels.tolist(), strict=True):
        if label not in seen and len(seen) < 12:
            seen.add(label)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{label}.png")
            rows.append(f'"a photo of a {names[label]}.",{label}.png')
    rows += ["", rows[1]]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    return path


def test_a_clip_finds_what_chance_does_not(pairs_file):
    pairs = load_pairs(pairs_file)
    assert (len(pairs.files), len(pairs.texts)) == (12, 13) and pairs.image_of[-1] == 0
    clip, tokenizer = load_clip("openmoji-clip-vit")
    found = retrieval(clip, tokenizer, pairs, transform(clip), batch=5)
    chance = by_chance(pairs)
    assert (found["R@1"] > chance["R@1"] + 0.4).all()
    shuffled = pairs._replace(image_of=tuple((k + 5) % 12 for k in pairs.image_of))
    assert (retrieval(clip, tokenizer, shuffled, transform(clip))["R@1"] < 0.3).all()
    table = retrieval_table(clip, clip, tokenizer, pairs)
    assert table.loc[("image to text", "float")].equals(table.loc[("image to text", "quantized")])
    assert table.loc[("text to image", "by chance"), "R@1"] == pytest.approx(100 / 12, abs=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,caption\n1.png,a dog\n", "columns image, caption: valid are image and text"),
        ("", "columns none"),
        ("image,text\n", "has no rows"),
        ("image,text\n1.png,\n", "line 2: image or text is empty"),
        ("image,text\n1.png\n", "line 2: image or text is empty"),
        ("image,text\n9.png,a dog\n", "line 2: there is no .*9.png"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_says_where(tmp_path, content, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_pairs(path)
