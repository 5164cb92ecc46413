"""Times and bytes of an image, measured over real servers and composed for a network."""

import pandas as pd
import pytest
import torch

from paperlib.models.sam import IMAGE, PATCH, build_small_sam, prepared
from paperlib.pedsam.remote import latency
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.latency import cpu_of_all, measure_rounds

TOKENS = (IMAGE // PATCH) ** 2
IMAGES = torch.randn(2, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sam():
    return build_small_sam().eval()


@pytest.mark.parametrize(("schedule", "rounds"), [("exact", 2), ("pixels_once", 1)])
def test_rounds(encoder, worker, servers, schedule, rounds):
    addresses = [server.address for server in servers]
    with EdgeCompute(worker, addresses) as edge:
        found = measure_rounds(encoder, edge, schedule, IMAGES)
    busiest = edge.table().groupby(["image", "round"]).server_cpu.max()
    assert found.server.tolist() == busiest.tolist()
    assert found[["image", "round"]].to_numpy().tolist() == [
        [image, number] for image in range(2) for number in range(rounds)
    ]
    assert (found[["edge", "server", "wall"]] > 0).all(axis=None)
    assert (found.groupby("image")[["edge", "server"]].sum().max(axis=1) < found.wall.max()).all()
    # tokens × features × bytes, and some headers
    up = [TOKENS * 768 * 4, TOKENS * 160 * 4][:rounds]
    sent = found[found.image == 0].bytes_up.to_numpy() - up
    assert (sent > 0).all() and (sent < 1000).all()
    down = found.bytes_down - TOKENS * 160 * 4
    assert (down > 0).all() and (down < 1000).all()


def test_global_blocks_count_to_the_round_before_them(encoder, worker, servers, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(latency.time, "thread_time", lambda: next(seconds))
    with EdgeCompute(worker, [servers[0].address]) as edge:
        found = measure_rounds(encoder, edge, "exact", IMAGES[:1])
    # a tick before, in and after each run, two in the look at a reply; what is between two runs
    # is of the first
    assert found.edge.tolist() == [5, 4]


def test_a_failing_server_is_no_measurement(encoder, worker, start_faulty):
    (bad,), _ = start_faulty("nan")
    with (
        EdgeCompute(worker, [bad["address"]]) as edge,
        pytest.raises(RuntimeError, match=f"{bad['address']} failed: INVALID_REPLY"),
    ):
        measure_rounds(encoder, edge, "exact", IMAGES)
    with (
        EdgeCompute(worker, [bad["address"]]) as edge,
        pytest.raises(RuntimeError, match=f"{bad['address']} failed: INVALID_REPLY"),
    ):
        cpu_of_all(encoder, edge, [], IMAGES, turns=1)


def test_cpu_of_all_is_that_of_each_image(encoder, worker, servers, monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr(latency.time, "process_time", lambda: next(seconds))
    with EdgeCompute(worker, [server.address for server in servers]) as edge:
        spent = cpu_of_all(encoder, edge, servers, IMAGES, turns=5)
        assert edge.table()["images"].tolist() == [2] * (4 * 2 * 6)
    assert (spent["own"], spent["edge"]) == (0.5, 0.5)
    assert 0 < spent["servers"] < 5


def test_the_whole_encoder(encoder):
    taken = latency.encoder_seconds({"one": encoder, "two": encoder}, IMAGES)
    assert taken.shape == (2, 2) and list(taken) == ["one", "two"] and (taken > 0).all(axis=None)


def test_servers_that_are_threads_are_measured_as_processes_are(sam):
    name, images = "sam-small", IMAGES[:1]
    given = {name: sam}, {name: images}, {name: (1, 4)}
    (inside, memory), (outside, more) = (latency.measure_cases(*given, t) for t in ((name,), ()))
    assert memory["a server"].isna().all() and (more > 0).all(axis=None)
    assert (memory["the edge"] > 0).all()
    keys = [*latency.KEYS, "image", "round", "bytes_up", "bytes_down"]
    pd.testing.assert_frame_equal(inside[keys], outside[keys])
    assert (inside[["edge", "server"]] > 0).all(axis=None)


def test_the_whole_encoder_of_each_sam(sam):
    found = latency.whole_seconds({"a": sam, "b": sam}, {"a": IMAGES, "b": IMAGES}, ("b",))
    assert list(found.index) == ["a", "b"] and (found.ours > 0).all()
    assert found["segment_anything"].isna().tolist() == [True, False]


def test_images_are_prepared_as_sam_does_it(sam):
    images = torch.randint(0, 256, (1, 3, IMAGE, IMAGE), dtype=torch.uint8)
    torch.testing.assert_close(prepared(sam, images), sam.preprocess(images.float()))
