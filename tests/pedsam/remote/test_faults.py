"""Servers die, hang or answer garbage: the result is exact, the ledger says who saw what."""

import pytest
import torch

from paperlib.models.sam import IMAGE
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.listener import Server
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.encoder import PartitionedEncoder

STATUS = {
    "kill": "UNAVAILABLE",
    "kill_later": "UNAVAILABLE",
    "hang": "DEADLINE_EXCEEDED",
    "nan": "INVALID_REPLY",
    "shape": "INVALID_REPLY",
    "format": "INVALID_REPLY",
    "bytes": "INVALID_REPLY",
}
GARBAGE = ("nan", "shape", "format", "bytes")


@pytest.fixture(scope="module")
def faulty(start_faulty):
    """Takes a faulty server of a kind; one that dies is given only once."""
    deadly = ["kill"] * 4 + ["kill_later"] * 2
    servers, _ = start_faulty(*deadly, "hang", *GARBAGE)

    def take(fault):
        found = next(server for server in servers if server["fault"] == fault)
        if fault in deadly:
            servers.remove(found)
        return found["address"]

    return take


@pytest.fixture
def image():
    return torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(3))


def encode(encoder, compute, image):
    with torch.inference_mode():
        return PartitionedEncoder(encoder, compute)(image)


def assert_bound(compute):
    """No server and no spare has more of the image than a server may have."""
    servers = len(compute.servers)
    share = compute.ledger.exposure()["share"].max()
    assert share <= 1 / servers + (1 - 1 / servers) * 36 / 400


def assert_exact(encoder, ours, image):
    expected = encode(encoder, None, image)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def options(servers, fallback, count, deadline):
    spares = [server.address for server in servers[-count:]]
    chosen = {"fallback": fallback, "deadline": deadline}
    return chosen | ({"spares": spares} if fallback == "spare" else {})


@pytest.mark.parametrize("fallback", ["edge", "spare"])
@pytest.mark.parametrize("fault", STATUS)
def test_one_of_four_fails(encoder, worker, servers, faulty, image, fault, fallback):
    good, bad = [server.address for server in servers[:3]], faulty(fault)
    addresses = [good[0], bad, *good[1:]]
    chosen = options(servers, fallback, 1, 3 if fault == "hang" else 60)
    with EdgeCompute(worker, addresses, **chosen) as compute:
        assert_exact(encoder, encode(encoder, compute, image), image)
    calls = compute.table()
    fatal = 1 if fault == "kill_later" else 0
    assert calls[calls["status"] != "OK"][["server", "round", "status"]].to_numpy().tolist() == [
        [bad, fatal, STATUS[fault]]
    ]
    instead = "edge" if fallback == "edge" else chosen["spares"][0]
    assert calls.query("server == @instead")["round"].tolist() == list(range(fatal, 2))
    sent = compute.ledger.table()
    assert sorted(sent.query("server == @bad")["round"].unique()) == list(range(fatal + 1))
    if fallback == "spare":
        seen = [set(sent[sent["server"] == name]["window"]) for name in (bad, instead)]
        assert seen[0] == seen[1]
    assert_bound(compute)


@pytest.mark.parametrize("fallback", ["edge", "spare"])
@pytest.mark.parametrize("fault", ["hang", "nan"])
def test_one_of_four_fails_with_several_images(encoder, worker, servers, faulty, fault, fallback):
    images = torch.randn(3, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(4))
    addresses = [faulty(fault), *(server.address for server in servers[:3])]
    chosen = options(servers, fallback, 1, 3 if fault == "hang" else 60)
    chosen |= {"assignment": "random", "secret": b"sixteen random b"}
    with EdgeCompute(worker, addresses, **chosen) as compute:
        assert_exact(encoder, encode(encoder, compute, images), images)
    calls = compute.table()
    assert calls[calls["status"] != "OK"]["server"].tolist() == [addresses[0]]
    assert (calls["images"] == 3).all()
    if fallback == "spare":
        sent = compute.ledger.table().groupby(["server", "image"])["window"].agg(set)
        assert (sent[chosen["spares"][0]] == sent[addresses[0]]).all()
    assert_bound(compute)


@pytest.mark.parametrize("fallback", ["edge", "spare"])
def test_all_four_fail_at_once(encoder, worker, servers, faulty, image, fallback):
    addresses = [faulty(fault) for fault in ("kill", "hang", "nan", "shape")]
    chosen = options(servers, fallback, 4, 3)
    with EdgeCompute(worker, addresses, **chosen) as compute:
        assert_exact(encoder, encode(encoder, compute, image), image)
    calls = compute.table().set_index("server")
    for address, fault in zip(addresses, ("kill", "hang", "nan", "shape"), strict=True):
        assert calls.loc[address, "status"] == STATUS[fault]  # once: not asked in round 1
    assert_bound(compute)
    own = calls.loc[["edge"], "windows"].tolist() if "edge" in calls.index else []
    assert sum(own) == (2 * 16 if fallback == "edge" else 0)


def test_without_a_spare_left_the_edge_computes(encoder, worker, servers, faulty, image):
    spares = [faulty("shape"), servers[0].address]
    addresses = [faulty("nan"), faulty("bytes"), servers[1].address]
    with EdgeCompute(worker, addresses, fallback="spare", spares=spares) as compute:
        assert_exact(encoder, encode(encoder, compute, image), image)
    calls = compute.table().set_index("server")
    assert calls.loc[spares[0], "status"] == "INVALID_REPLY"
    assert calls.loc[[spares[1]], "status"].tolist() == ["OK", "OK"]
    assert "edge" in calls.index
    assert len(compute.ledger.exposure()) == 5
    assert_bound(compute)


def test_a_failed_server_is_tried_again_at_the_next_image(encoder, worker, servers, faulty, image):
    bad = faulty("nan")
    with EdgeCompute(worker, [servers[0].address, bad]) as compute:
        for _ in range(2):
            assert_exact(encoder, encode(encoder, compute, image), image)
    assert compute.table().query("server == @bad")[["image", "round"]].to_numpy().tolist() == [
        [0, 0],
        [1, 0],
    ]


def test_a_server_that_comes_back_is_used_again(encoder, worker, servers, image):
    first = Server(WindowService(worker, Limits()), "127.0.0.1:0", None)
    first.start()
    address = first.address
    with EdgeCompute(worker, [servers[0].address, address]) as compute:
        assert_exact(encoder, encode(encoder, compute, image), image)
        first.stop()
        assert_exact(encoder, encode(encoder, compute, image), image)
        assert_exact(encoder, encode(encoder, compute, image), image)
        second = Server(WindowService(worker, Limits()), address, None)
        second.start()
        while address in compute.unchecked:  # the channel waits a little between its attempts
            assert_exact(encoder, encode(encoder, compute, image), image)
        assert_exact(encoder, encode(encoder, compute, image), image)
        second.stop()
    images = compute.ledger.table().query("server == @address")["image"].unique().tolist()
    assert images[0] == 0 and 2 not in images and len(images) >= 2
    last = compute.table().query("image == image.max() and server == @address")
    assert last["status"].tolist() == ["OK", "OK"]


def test_no_server_at_all(encoder, worker, image, caplog):
    with EdgeCompute(worker, ["127.0.0.1:1", "127.0.0.1:2"]) as compute:
        assert_exact(encoder, encode(encoder, compute, image), image)
    assert compute.ledger.table().empty
    assert set(compute.table()["server"]) == {"edge"}
    assert "127.0.0.1:1 cannot be reached: UNAVAILABLE" in caplog.text
