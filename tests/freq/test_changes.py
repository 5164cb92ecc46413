import pandas as pd
import pytest
import torch

from paperlib.data import LabelledImages
from paperlib.freq import changes
from paperlib.freq.attacks import ATTACKS
from paperlib.freq.bands import high_pass
from paperlib.freq.changes import (
    attack_all,
    attack_table,
    excess_table,
    excess_words,
    first_right,
    norms,
)
from paperlib.freq.rct import high_to_low, rct_map


@pytest.fixture
def change():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(6, 3, 8, 8, generator=generator) / 2 + 0.25
    return clean, clean + 0.05 * torch.randn(clean.shape, generator=generator)


def test_every_attack_gets_its_images_and_numbers(monkeypatch):
    given = {}

    def attack(name, model, x, y, epsilon, steps, seed):
        given[name] = (len(x), epsilon, steps, seed)
        return 1 - x

    monkeypatch.setattr(changes, "attack", attack)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False))
    with torch.no_grad():  # class 0 for dark images, class 1 for bright ones
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 12))
    images = torch.zeros(3, 3, 2, 2)
    labels = torch.tensor([0, 1, 0])
    counts = {"white-box": 3, "black-box": 2}
    after, fools = attack_all(model, images, labels, counts, {"fgsm": 0.3}, {"square": 7}, 5)
    assert list(after) == list(fools) == list(ATTACKS) == list(given)
    assert given["fgsm"] == (3, 0.3, None, 5) and given["square"] == (2, None, 7, 5)
    assert (after["fgsm"] == 1).all()


def test_the_first_images_that_are_right():
    images = torch.tensor([0, 255, 255, 0], dtype=torch.uint8)[:, None, None, None]
    data = LabelledImages(
        images.expand(4, 3, 2, 2), torch.tensor([0, 0, 1, 0]), ("a", "b"), "drawn"
    )
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with torch.no_grad():  # class 0 for dark images, class 1 for bright ones
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 12))
        model[1].bias.copy_(torch.tensor([6.0, -6.0]))
    some, share = first_right(model, data, 2)
    assert share == 0.75 and some.images[:, 0, 0, 0].tolist() == [0, 255]


def test_how_far_hopskipjump_has_come():
    path = torch.tensor([[8.0, 4, 6], [4, 4, 6], [2, 2, 6], [1.5, 1.5, 6], [1, 1.8, 6]])
    path[:, 2] = torch.nan  # nothing found
    smallest = torch.tensor([1.0, 0.5, 2.0])
    table = changes.path_table(path, smallest, [0, 2, 4])
    assert table.index.tolist() == [0, 2, 4]
    assert table.queries.tolist() == [0, 100 + 141, 100 + 141 + 173 + 200]
    assert table["median L2"].tolist() == [4, 2, 1]  # the lower of two
    assert table["times C&W's"].tolist() == pytest.approx([8, 2, 1])
    assert changes.late_fall(path) == pytest.approx(1 - 1 / 1.5)
    assert changes.late_fall(path[[0, 1, 2, 2, 2]]) == 0 < changes.CONVERGED


def test_rows_in_words():
    row = {"title": "PGD", "difference": 1.24, "from": -0.5, "to": 3.0, "images": 7}
    table = pd.DataFrame([row, row | {"title": "FGSM", "difference": -1.0}])
    assert excess_words(table) == (
        "PGD +1.2 [-0.5, 3.0], 7 images; FGSM -1.0 [-0.5, 3.0], 7 images"
    )


def test_how_far_an_attack_goes_where_it_fools(change):
    fools = torch.tensor([True] * 6 + [False] * 2)
    row = attack_table({"pgd_l2": change}, {"pgd_l2": fools}).loc["PGD L2"]
    assert (row.access, row.images, row.fooled) == ("white-box", 8, 0.75)
    apart = (change[1] - change[0]).flatten(1)
    assert row["mean L2"] == pytest.approx(float((apart**2).sum(1).sqrt().mean()), rel=1e-5)
    assert row["mean L∞"] == pytest.approx(float(apart.abs().max(1).values.mean()), rel=1e-5)


def test_an_attack_that_is_white_noise_is_not_beyond_it(change):
    clean = change[0]
    steep = change[1] + 2 * high_pass(change[1] - clean, 4)
    table = excess_table({"pgd_l2": change, "square": (clean, steep)}, 200, 0)
    noise, square = table.loc["pgd_l2"], table.loc["square"]
    assert noise["from"] < 0 < noise.to
    assert square["from"] > 0
    assert square.attack == pytest.approx(high_to_low(rct_map(clean, steep)))
    assert square.attack - square["white noise"] == pytest.approx(square.difference)
    assert noise["1/f noise"] < 0.5 * noise["white noise"]
    shifted = torch.cat([clean[..., :1], clean[..., :-1]], -1)
    assert noise["moved by a pixel"] == pytest.approx(high_to_low(rct_map(clean, shifted)))
    assert table.images.tolist() == [6, 6] and table.title.tolist() == ["PGD L2", "Square"]


def test_norms(change):
    torch.testing.assert_close(
        norms((change[0], change[0] + 0.5)), torch.full((6,), 0.5 * 192**0.5)
    )
