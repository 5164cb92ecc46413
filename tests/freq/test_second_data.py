"""What is measured of the second data set, on small networks and images of the tests."""

import pandas as pd
import pytest
import torch

from paperlib.data import LabelledImages
from paperlib.freq import second_data
from paperlib.freq.comparison import Measuring, measure
from paperlib.models.classifier import Classifier
from paperlib.notebook.claims import load_claims, load_measurements
from paperlib.paths import FIGURES


class Mean(torch.nn.Module):
    """Two classes of images by the mean of their left part; some noise of its own."""

    def __init__(self, columns, fine):
        super().__init__()
        weight = torch.zeros(3, 16, 16)
        weight[:, :, :columns] = 1 / columns
        weight += fine * torch.tensor([1.0, -1]).repeat(8)
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x):
        z = ((x - 0.5) * self.weight).sum((1, 2, 3))
        return torch.stack([-z, z], 1)


@pytest.fixture(scope="module")
def data():
    images = torch.randint(256, (60, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    labels = Mean(8, 0.0)(images.float() / 255).argmax(1)
    return LabelledImages(images.to(torch.uint8), labels, ("dark", "bright"), "drawn")


@pytest.fixture(scope="module")
def networks():
    fine = {"natural": 0.3, "trained on": 0.32, "FGSM-RS": 0.05}
    return {name: Classifier(Mean(8, value)) for name, value in fine.items()}


@pytest.fixture(scope="module")
def table(data, networks):
    some = second_data.right_by_all(networks, data, 12, seed=3)
    settings = Measuring(len(some), components=True, share=0.5, epsilon=0.1, steps=5, seed=3)
    measured = {
        name: measure(network, some.images, some.labels, settings)
        for name, network in networks.items()
    }
    return second_data.table(measured, dict.fromkeys(networks, 0.5), some, 3)


def test_images_are_those_that_all_get_right_in_another_order_each_seed(data, networks):
    some, other = (second_data.right_by_all(networks, data, 8, seed) for seed in (3, 4))
    assert len(some) == 8 and not torch.equal(some.images, other.images)
    for network in networks.values():
        assert (network(some.images).argmax(1) == some.labels).all()
    wrong = Classifier(Mean(8, 3.0))
    assert len(second_data.right_by_all(networks | {"wrong": wrong}, data, 60, 3)) < len(
        second_data.right_by_all(networks, data, 60, 3)
    )


def test_the_order_of_networks_that_are_known_comes_out(table):
    rows = table.set_index(second_data.COLUMNS[:3])
    found = second_data.checked(rows)
    value, (low, high), scale, note = found["freq-4-second-data"]
    assert 0 < low <= value <= high and scale == "12 images, one training of each network"
    null = rows.loc[("trained on", "natural", "low share"), "value"]
    assert null < 0 < value and f"{null:.3f}" in note
    value, (low, high), *_ = found["freq-2-second-data"]
    assert low <= value <= high
    assert value == -rows.loc[("FGSM-RS", "trained on", "RCT"), "value"]
    own = rows.xs("low share", level="quantity").xs("", level="minus")["value"]
    apart = rows.loc[("FGSM-RS", "natural", "low share"), "value"]
    assert apart == pytest.approx(own["FGSM-RS"] - own["natural"], abs=1e-6)


def test_the_table_that_is_kept_is_of_these_networks_and_claims():
    kept = second_data.read()
    assert list(kept.columns) == second_data.COLUMNS
    assert set(kept.network) == set(second_data.NETWORKS)
    pairs = kept[kept.minus != ""][["minus", "network"]].itertuples(index=False, name=None)
    assert set(pairs) == set(second_data.PAIRS)
    shares = kept[kept.quantity == "low share"]
    assert (shares.images >= 100).all() and shares[["from", "to"]].notna().all(axis=None)
    checked = second_data.checked(kept.set_index(second_data.COLUMNS[:3]))
    claims = load_claims()
    published = load_measurements([FIGURES / "default" / "04_robustness"], claims)
    for claim in checked:
        assert published[claim, "default"].dataset == second_data.DATASET != claims[claim].dataset


def test_reading_leaves_the_minus_of_one_network_empty(tmp_path, monkeypatch):
    place = tmp_path / "table.csv"
    pd.DataFrame([["a", None, "low share", 3, 0.1, 0.0, 0.2]], columns=second_data.COLUMNS).to_csv(
        place, index=False
    )
    monkeypatch.setattr(second_data, "PLACE", place)
    assert second_data.read().minus.tolist() == [""]
