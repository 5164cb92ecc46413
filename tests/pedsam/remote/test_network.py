"""Times of an image on a network, composed of what was measured."""

import pandas as pd
import pytest
import torch

from paperlib.models.sam import IMAGE, PATCH
from paperlib.pedsam.remote import network, wire
from paperlib.pedsam.remote.latency import ALONE
from paperlib.pedsam.remote.network import Network, modelled

TOKENS = (IMAGE // PATCH) ** 2


def test_modelled_by_hand():
    one = {"edge": 0.1, "server": 0.2, "bytes_up": 1_000_300, "bytes_down": 499_999}
    rounds = pd.DataFrame([{"image": k, "round": r, **one} for k in range(2) for r in range(3)])
    link = Network("some", up=8, down=4, round_trip=50)
    found = modelled(rounds, link, edge_factor=10)
    transfer = 3 * (0.05 + 1.0003 + 0.999998)
    assert found == pytest.approx({"edge": 3.0, "servers": 0.6, "transfer": transfer}, rel=1e-8)


@pytest.mark.parametrize("form", wire.FORMATS)
def test_plain_cloud(encoder, form):
    up, down = network.plain_cloud_bytes(encoder, form)
    assert up == IMAGE * IMAGE * 3
    message = wire.encode(torch.ones(TOKENS, 128), form)
    assert down == len(message.values) + len(message.scales)
    link = Network("some", up=1, down=1, round_trip=0)
    found = network.plain_cloud(0.5, (up, down), link)
    assert found == pytest.approx({"edge": 0, "servers": 0.5, "transfer": 8e-6 * (up + down)})


def test_the_fastest_split_changes_with_the_seconds():
    cases = [ALONE, network.CLOUD, "exact, int8", "pixels once, int8"]
    table = pd.DataFrame({"SAM": "small", "network": "5G", "edge slower by": 5, "case": cases})
    (row,) = network.fastest(table.assign(seconds=[4, 1, 3, 2])).to_dict("records")
    assert (row["case"], row["split"]) == ("pixels once, int8", 2)
    assert (row["edge alone"], row["plain cloud"]) == (4, 1)
    (row,) = network.fastest(table.assign(seconds=[4, 1, 2, 3])).to_dict("records")
    assert row["case"] == "exact, int8"
