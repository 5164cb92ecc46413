"""Retrieval: recall against a plain count, the worth of chance, and pairs from a file."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from paperlib.d4c.quantize import retrieval_table, transform
from paperlib.d4c.retrieval import AT, by_chance, load_pairs, recall, retrieval
from paperlib.data.openmoji import draw_scenes, load_classes
from paperlib.models.clip import load_clip

OF = [range(40), [k // 3 for k in range(60)], [0, 1, 1, 1, 2], [0]]  # each text's image


def matrix(image_of):
    return F.one_hot(torch.tensor([*image_of])).T.bool()


def counted(images, texts, own):
    """R@K by sorting, one query after the other."""
    rows = []
    for cosines, mine in ((images @ texts.T, own), (texts @ images.T, own.T)):
        order = cosines.argsort(dim=1, descending=True)
        rows.append([mine.gather(1, order[:, :k]).any(1).float().mean().item() for k in AT])
    return np.array(rows)


@pytest.mark.parametrize("image_of", OF)
def test_recall_is_what_sorting_counts(image_of):
    draw, own = torch.Generator().manual_seed(1), matrix(image_of)
    own = own | (torch.rand(own.shape, generator=draw) < 0.02)  # texts of several images
    images = F.normalize(torch.randn(len(own), 8, generator=draw), dim=1)
    noise = torch.randn(len(own.T), 8, generator=draw)
    texts = F.normalize(own.T.float() @ images + 0.4 * noise, dim=1)
    found = recall(images, texts, own)
    assert found.to_numpy() == pytest.approx(counted(images, texts, own))
    assert list(found.columns) == ["R@1", "R@5", "R@10"]


def test_features_that_are_all_alike_or_no_numbers_find_nothing_and_their_own_find_all():
    own = torch.eye(30).bool()
    same = F.normalize(torch.ones(30, 4), dim=1)
    assert (recall(same, same, own) == 0).all(axis=None)
    assert (recall(same * torch.nan, same, own) == 0).all(axis=None)
    assert (recall(torch.eye(30), torch.eye(30), own) == 1).all(axis=None)
    assert (recall(torch.eye(30), torch.eye(30), own.roll(11, 0)) == 0).all(axis=None)


@pytest.mark.parametrize("image_of", [range(50), [k // 5 for k in range(60)], [0, 0, 1]])
def test_chance_is_what_random_features_reach(image_of):
    own, draw = matrix(image_of), torch.Generator().manual_seed(0)
    tries = [
        recall(*(F.normalize(torch.randn(n, 16, generator=draw), dim=1) for n in own.shape), own)
        for _ in range(300)
    ]
    assert sum(tries).to_numpy() / 300 == pytest.approx(by_chance(own).to_numpy(), abs=0.03)


@pytest.fixture
def pairs_file(tmp_path):
    """Twelve scenes with a text, a second scene of the first one's text, a blank line, a repeat."""
    names = [entry.name for entry in load_classes()]
    scenes = draw_scenes("test", range(400), size=64, classes=load_classes(), balanced=True)
    rows, seen = [], []
    for image, (label, *_) in zip(scenes.images, scenes.labels.tolist(), strict=True):
        if len(set(seen)) < 12 and (label not in seen or [label] == seen):
            file = f"{len(seen)}.png"
            seen.append(label)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / file)
            rows.append(f'"a photo, of a {names[label]}.",{file}')
    path = tmp_path / "pairs.csv"
    lines = ["text,image", *rows, "", rows[0].replace(",0.png", f",../{tmp_path.name}/0.png")]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def test_a_clip_finds_what_chance_does_not(pairs_file):
    pairs = load_pairs(pairs_file)
    assert pairs.own.sum() == len(pairs.files) >= len(pairs.texts) == 12
    clip, tokenizer = load_clip("openmoji-clip-vit")
    found, chance = retrieval(clip, tokenizer, pairs, transform(clip), 5), by_chance(pairs.own)
    assert (found["R@1"] > chance["R@1"] + 0.4).all()
    shuffled = pairs._replace(own=pairs.own.roll(5, 0))
    assert (retrieval(clip, tokenizer, shuffled, transform(clip))["R@1"] < 0.3).all()
    table = retrieval_table(clip, clip, tokenizer, pairs)
    assert table.loc[("image to text", "float")].equals(table.loc[("image to text", "quantized")])
    for direction in ("image to text", "text to image"):
        rising = table.loc[(direction, "by chance")]
        assert all(a < b for a, b in pairwise(rising)) and 7 < rising["R@1"] < 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,caption\n1.png,a dog\n", "columns image, caption: valid are image and text"),
        ("image,text,text\n1.png,a,b\n", "columns image, text, text: valid are image and text"),
        ("image;text\n1.png;a dog\n", "columns image;text: valid"),
        ("", "columns none"),
        ("image,text\n", "has no rows"),
        ("image,text\n1.png,\n", "line 2: image or text is empty"),
        ("image,text\n1.png\n", "line 2: image or text is empty"),
        ("image,text\n9.png,a dog\n", "line 2: there is no .*9.png"),
        ("image,text\n1.png,a dog, running\n", "line 2: ' running' is one cell too many"),
        ('image,text\n1.png,"a dog\n1.png,a cat\n', "is no CSV file in UTF-8: unexpected end"),
        ("image,text\n1.png,Stra\xdfe\n".encode("latin-1"), "is no CSV file in UTF-8: 'utf-8'"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_says_where(tmp_path, content, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    path = tmp_path / "pairs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_pairs(path)
