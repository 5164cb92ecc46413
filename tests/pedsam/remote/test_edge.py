"""The encoder over real servers equals the local one; all bytes and windows are accounted for."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from paperlib.models.sam import IMAGE, PATCH, build_small_sam
from paperlib.pedsam.remote.connection import Connection, ServerMismatchError
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.ledger import ExposureError
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.remote.request import Request
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.remote.wire import WireError
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.schedule import Round
from paperlib.pedsam.split.worker import WindowBlocks

TOKENS = (IMAGE // PATCH) ** 2
SECRET = b"sixteen random b"


def bound_of(servers):
    """Largest share of a square image that one of the servers may get: a window has 36 tokens."""
    return 1 / servers + (1 - 1 / servers) * 36 / TOKENS


@pytest.fixture
def addresses(servers):
    return [server.address for server in servers]


@pytest.fixture
def image():
    return torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def encode(encoder, compute, images, schedule="exact"):
    return PartitionedEncoder(encoder, compute, schedule)(images)


@pytest.mark.parametrize("schedule", ["exact", "pixels_once"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_equal_to_the_local_encoder(encoder, worker, addresses, image, count, schedule):
    with EdgeCompute(worker, addresses[:count]) as compute:
        ours = encode(encoder, compute, image, schedule)
    expected = encode(encoder, None, image, schedule)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (compute.table()["status"] == "OK").all()
    shares = compute.ledger.exposure()
    assert len(shares) == count and shares["windows"].sum() == 16
    assert (shares["rounds"] == (2 if schedule == "exact" else 1)).all()


@pytest.mark.parametrize(("form", "off"), [("float16", 0.01), ("int8", 0.3)])
def test_coarser_numbers(encoder, worker, addresses, image, form, off):
    expected = encode(encoder, None, image)
    with EdgeCompute(worker, addresses, form=form) as compute:
        difference = (encode(encoder, compute, image) - expected).abs()
    assert 0 < difference.max() < off


@pytest.mark.parametrize(("form", "size", "scale"), [("float32", 4, 0), ("int8", 1, 4)])
def test_bytes_are_those_of_the_messages(encoder, worker, addresses, image, form, size, scale):
    with EdgeCompute(worker, addresses, form=form) as compute:
        encode(encoder, compute, image)
    sums = compute.table().groupby("round")[["bytes_up", "bytes_down"]].sum()
    tokens = TOKENS * (size * worker.channels + scale)
    pixels = TOKENS * (size * 768 + scale)
    for ours, content in [
        (sums.loc[0, "bytes_up"], pixels),
        (sums.loc[0, "bytes_down"], tokens),
        (sums.loc[1, "bytes_up"], tokens),
        (sums.loc[1, "bytes_down"], tokens),
    ]:
        assert content < ours < content + 4 * 150


def test_every_stage_is_timed(encoder, worker, addresses, image):
    with EdgeCompute(worker, addresses) as compute:
        encode(encoder, compute, image)
    calls = compute.table()
    stages = ["serialise", "wait", "deserialise", "server_seconds", "server_cpu"]
    assert (calls[stages] > 0).all(axis=None)
    assert (calls["wait"] >= calls["server_seconds"]).all()


@pytest.mark.parametrize("assignment", ["interleaved", "random"])
def test_images_travel_together(encoder, worker, addresses, assignment):
    images = torch.randn(12, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(6))
    with EdgeCompute(worker, addresses, assignment=assignment, secret=SECRET) as compute:
        ours = encode(encoder, compute, images)
    torch.testing.assert_close(ours, encode(encoder, None, images), atol=1e-5, rtol=0)
    calls = compute.table()
    assert (calls["status"] == "OK").all() and len(calls) == 4 * 2 * 2
    assert set(zip(calls["image"], calls["images"], strict=True)) == {(0, 10), (10, 2)}
    assert calls["windows"].sum() == 2 * 12 * 16
    shares = compute.ledger.exposure()
    assert shares["image"].value_counts().eq(4).all() and shares["image"].nunique() == 12
    assert (shares["share"] <= bound_of(4)).all()


def test_a_server_that_takes_few_rows_gets_fewer_images(encoder, worker, in_process, image):
    small = in_process(WindowService(worker, Limits(rows=900)))
    images = torch.cat([image] * 3)
    with EdgeCompute(worker, [small]) as compute:
        assert compute.batch == 2
        encode(encoder, compute, images)
    calls = compute.table()
    assert calls["status"].tolist() == ["OK"] * 4 and calls["images"].tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize("video", [False, True])
def test_frames_of_a_video_keep_their_assignment(encoder, worker, addresses, image, video):
    """Without it, each has another secret one."""
    frames = torch.cat([image, image + 1, image + 2])
    with EdgeCompute(worker, addresses, assignment="random", secret=SECRET) as compute:
        if video:
            with compute.picture("street", IMAGE, IMAGE, video=True):
                encode(encoder, compute, frames)
        else:
            encode(encoder, compute, frames)
    seen = compute.ledger.table().groupby("server")["window"].nunique()
    assert (seen.sum() == 16) == video
    assert (compute.ledger.exposure()["share"] <= bound_of(4)).all()
    assert len(compute.ledger.pictures()) == (4 if video else 12)


def test_the_predictor_works_over_servers(encoder, worker, addresses):
    torch.manual_seed(0)  # of the decoder's weights
    sam = build_small_sam()
    sam.image_encoder.load_state_dict(encoder.state_dict())
    picture = np.random.default_rng(0).integers(0, 256, (200, 256, 3), dtype=np.uint8)
    box = np.array([30, 40, 150, 160])
    masks = []
    with EdgeCompute(worker, addresses) as compute:
        for image_encoder in (sam.image_encoder, PartitionedEncoder(encoder, compute)):
            sam.image_encoder = image_encoder
            predictor = SamPredictor(sam)
            predictor.set_image(picture)
            masks.append(predictor.predict(box=box, return_logits=True)[0])
    own, ours = masks
    np.testing.assert_allclose(ours, own, rtol=0, atol=1e-5 * np.abs(own).max())
    clear = np.abs(own) > 1e-5 * np.abs(own).max()  # of a mask's edge, where rounding decides
    assert clear.mean() > 0.999 and 0.01 < (own > 0).mean() < 0.99
    np.testing.assert_array_equal((ours > 0)[clear], (own > 0)[clear])


def test_the_ledger_stops_what_must_not_be_sent(encoder, worker, addresses, image):
    with EdgeCompute(worker, addresses) as compute:
        session = compute.begin(torch.ones(1, 3, IMAGE, IMAGE))
        (other, *_) = session.parts[addresses[1]].windows[0]
        session.parts[addresses[0]].windows[0] = (other,)
        with pytest.raises(ExposureError, match=f"windows .{other}. are not assigned"):
            session.run(0, Round((0, 1), (), True), torch.zeros(1, TOKENS, 768))
    assert addresses[0] not in set(compute.ledger.table()["server"])
    assert addresses[0] not in set(compute.table()["server"])


def test_the_ledger_is_asked_before_anything_leaves(worker, addresses, monkeypatch):
    """Else a server would have what the ledger then refuses."""
    entered = []
    send = Request.send

    def watched(request, connection, deadline, finished):
        entries = compute.ledger.table().query("server == @connection.address")
        entered.append(entries.window.tolist() == request.part.order)
        send(request, connection, deadline, finished)

    monkeypatch.setattr(Request, "send", watched)
    with EdgeCompute(worker, addresses) as compute:
        session = compute.begin(torch.ones(1, 3, IMAGE, IMAGE))
        session.parts[addresses[3]].windows[0] = session.parts[addresses[0]].windows[0]
        with pytest.raises(ExposureError, match="are not assigned"):
            session.run(0, Round((0, 1), (), True), torch.zeros(1, TOKENS, 768))
    assert entered == [True] * 3  # the fourth request was never sent


def test_other_weights_are_noticed_at_connection(encoder, addresses):
    other = build_small_sam().image_encoder
    with pytest.raises(ServerMismatchError, match="its weights is .*, the edge's"):
        EdgeCompute(WindowBlocks(other), addresses)


def test_one_server_under_two_names_is_noticed(worker, addresses):
    again = addresses[0].replace("127.0.0.1", "localhost")
    with pytest.raises(ServerMismatchError, match=f"servers {addresses[0]} and {again} are one"):
        EdgeCompute(worker, [addresses[0], again])


def test_values_that_cannot_travel(worker, addresses):
    with EdgeCompute(worker, addresses, form="float16") as compute:
        session = compute.begin(torch.ones(1, 3, IMAGE, IMAGE))
        with pytest.raises(WireError, match="float16"):
            session.run(1, Round((3,), (), False), torch.full((1, TOKENS, worker.channels), 1e5))
    assert compute.ledger.table().empty


def off(encoder, ours, image):
    due = encode(encoder, None, image)
    return ((ours - due).norm() / due.norm()).item()


@pytest.mark.parametrize(("precision", "most"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_an_edge_in_half_precision_over_servers_in_full(encoder, addresses, image, precision, most):
    """No server is blamed for what the edge rounds; what the edge computes is in its precision."""
    mine = deepcopy(encoder)
    with EdgeCompute(WindowBlocks(mine), [*addresses[:2], "127.0.0.1:9"], checks="strict") as edge:
        ours = encode(mine.to(precision), edge, image)
    assert edge.distrusted == set() and set(edge.table().status) == {"OK"}
    assert edge.table().checked.sum() > 0 and "edge" in set(edge.table().server)
    assert ours.dtype == torch.float32 and 0 < off(encoder, ours, image) < most


@pytest.mark.parametrize(("precision", "most"), [("float16", 0.01), ("bfloat16", 0.05)])
def test_servers_in_half_precision(encoder, worker, model, image, precision, most):
    with local_servers(2, [*model, "--precision", precision]) as started:
        names = [server.address for server in started]
        with EdgeCompute(worker, names, checks="strict") as edge:
            ours = encode(encoder, edge, image)
    assert edge.distrusted == set() and set(edge.table().status) == {"OK"}
    assert 0 < off(encoder, ours, image) < most


def test_a_copy_goes_on_over_the_same_connections(encoder, worker, addresses, image):
    with EdgeCompute(worker, addresses[:1]) as edge:
        copy = deepcopy(PartitionedEncoder(encoder, edge))
        with torch.no_grad():
            torch.testing.assert_close(copy(image), encode(encoder, None, image))
    assert len(edge.table()) == 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"fallback": "cloud"}, "fallback='cloud': valid are edge, spare, fail"),
        ({"fallback": "spare"}, r"fallback='spare' with spares \[\]: they"),
        ({"spares": ["127.0.0.1:9"]}, r"fallback='edge' with spares \['127.0.0.1:9'\]"),
        ({"form": "float8"}, "form='float8': valid are float32, float16, int8"),
        ({"checks": -1}, "checks=-1: a number from 0, or strict"),
        ({"exposure_limit": 0}, "exposure_limit=0: above 0, up to 1"),
        ({"deadline": 0}, "deadline=0: seconds above 0"),
        ({"assignment": "diagonal"}, "kind='diagonal': valid are"),
        ({"secret": b"fifteen bytes .."[:15]}, "secret of 15 bytes: 16 or more are valid"),
        ({"assignment": "random"}, "a random assignment needs one"),
        ({"servers": ["127.0.0.1:9"] * 2}, "one stands twice"),
        ({"servers": ["192.0.2.7:9"]}, "192.0.2.7:9 is not loopback: certificates are needed"),
        ({"servers": []}, "0 servers for 16 windows"),
    ],
)
def test_wrong_arguments_are_named(worker, chosen, words):
    with pytest.raises(ValueError, match=words):
        EdgeCompute(worker, **({"servers": ["127.0.0.1:9"]} | chosen))


def test_missing_certificates_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks ca.pem"):
        Connection("192.0.2.7:9", tmp_path, 1000)
