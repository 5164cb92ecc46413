"""What servers see of a picture adds up over sizes, repeats, crops, frames, spares and limits."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT
from segment_anything.utils.amg import generate_crop_boxes
from segment_anything.utils.transforms import ResizeLongestSide

from paperlib.models.sam import IMAGE, PATCH, build_small_sam
from paperlib.pedsam.remote import edge as edge_module
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.ledger import ExposureError
from paperlib.pedsam.remote.picture import AutomaticMasks
from paperlib.pedsam.remote.session import ServerFailedError
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import KINDS
from paperlib.pedsam.split.pixels import seen
from paperlib.pedsam.split.worker import WindowBlocks

SECRET = b"sixteen random b"
OPTIONS = {"points_per_side": 2, "pred_iou_thresh": -1e9, "stability_score_thresh": -1.0}


@pytest.fixture(scope="module")
def addresses(servers):
    return [server.address for server in servers]


@pytest.fixture
def split(encoder):
    """A SAM whose encoder computes over an edge."""

    def over(compute):
        sam = build_small_sam()
        sam.load_state_dict(
            {"image_encoder." + k: v for k, v in encoder.state_dict().items()}, False
        )
        sam.image_encoder = PartitionedEncoder(encoder, compute)
        return sam

    return over


def photograph(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def views_of(compute, height, width, image=0):
    """Pixels of an image that each server was sent, by the windows in the ledger, as masks."""
    grid, sent = compute.worker.grid, compute.ledger.table().query("image == @image")
    views = {}
    for server, part in sent.groupby("server"):
        views[server] = np.zeros((height, width), bool)
        for window in part.window.unique().tolist():
            top, left, bottom, right = (PATCH * side for side in grid.box(window))
            views[server][top:bottom, left:right] = True
    return views


def test_no_server_gets_a_wide_picture(worker, addresses, split):
    """A contiguous assignment that counted filling gave all of it to the first of two servers."""
    with EdgeCompute(worker, addresses[:2], assignment="contiguous") as compute:
        SamPredictor(split(compute)).set_image(photograph(180, 320))
    views = views_of(compute, 180, 320)
    shares = compute.ledger.exposure().set_index("server").share
    for server in addresses[:2]:
        assert shares[server] == pytest.approx(views[server].mean())
    assert max(shares) <= 1 / 2 + 1 / 2 * 96**2 / (180 * 320)
    assert set(compute.ledger.table().window) == set(range(8))  # the others only fill up


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "size", [(320, 320), (240, 320), (180, 320), (320, 140), (320, 16), (1, 9)]
)
def test_exact_at_every_shape(encoder, worker, addresses, size, kind):
    x = torch.zeros(1, 3, IMAGE, IMAGE)
    x[..., : size[0], : size[1]] = torch.randn(1, 3, *size, generator=torch.Generator())
    with (
        torch.inference_mode(),
        EdgeCompute(worker, addresses, assignment=kind, secret=SECRET) as compute,
    ):
        for _ in range(2):  # the second takes the first round's filling from the first
            ours = PartitionedEncoder(encoder, compute)(x)
            torch.testing.assert_close(ours, encoder(x), atol=1e-4, rtol=0)
    kept = set(compute.table().query("server == 'edge'")["round"])
    if size == (1, 9):  # which one window shows: no server is sent any of it
        assert kept == {0, 1} and compute.ledger.exposure().empty
    else:
        assert kept == ({1} if size[0] < 320 or size[1] < IMAGE - 32 else set())


def test_filling_is_computed_once_in_the_first_round(encoder, worker, addresses, monkeypatch):
    x = torch.zeros(1, 3, IMAGE, IMAGE)
    x[..., :90, :] = 1
    with torch.inference_mode(), EdgeCompute(worker, addresses) as compute:
        split, computed = PartitionedEncoder(encoder, compute), []
        run = type(worker).forward

        def watched(self, values, windows, blocks, pixels):
            computed.append((len(windows), pixels))
            return run(self, values, windows, blocks, pixels)

        monkeypatch.setattr(type(worker), "forward", watched)
        split(x), split(x + x)
    assert computed.count((1, True)) == 12 and computed.count((12, False)) == 2
    assert len(computed) == 14


def test_an_image_of_nothing_is_sent_to_nobody(encoder, worker, addresses):
    x = torch.zeros(1, 3, IMAGE, IMAGE)
    with torch.inference_mode(), EdgeCompute(worker, addresses) as compute:
        ours = PartitionedEncoder(encoder, compute)(x)
        torch.testing.assert_close(ours, encoder(x), atol=1e-4, rtol=0)
    assert compute.ledger.table().empty


@pytest.fixture(scope="module")
def large_worker():
    """Of an encoder with the size and the windows of the published ones."""
    small = {"embed_dim": 8, "depth": 2, "num_heads": 1, "out_chans": 4}
    return WindowBlocks(
        ImageEncoderViT(1024, **small, window_size=14, global_attn_indexes=(1,), use_rel_pos=True)
    )


@pytest.fixture
def unconnected(monkeypatch, worker, large_worker):
    """An edge that enters images in its ledger without servers to send them to."""
    monkeypatch.setattr(EdgeCompute, "_check", lambda self: self.unchecked.clear())
    monkeypatch.setattr(edge_module.wire, "worker_fingerprint", lambda worker: "0" * 16)

    def start(servers, side=IMAGE, secret=SECRET, **chosen):
        names = [f"127.0.0.1:{port}" for port in range(1, servers + 1)]
        spares = (
            [f"127.0.0.1:{port}" for port in range(101, 104)]
            if chosen.get("fallback") == "spare"
            else []
        )
        blocks = worker if side == IMAGE else large_worker
        return EdgeCompute(blocks, names, spares=spares, secret=secret, **chosen)

    return start


@lru_cache
def weighs(n, m):
    """Which of n pixels in a row weigh in each of m: unit impulses, resized as SAM does it."""
    rows = torch.nn.functional.interpolate(
        torch.eye(n, dtype=torch.float64)[None, None], (m, n), mode="bilinear", antialias=True
    )
    return (rows[0, 0] > 1e-9).numpy()


def read(compute, height, width, crop):
    """The pixels of a picture that weigh in each window when a crop of it is encoded, as masks."""
    top, left, bottom, right = crop
    side = compute.worker.grid.tokens * PATCH
    h, w = ResizeLongestSide.get_preprocess_shape(bottom - top, right - left, side)
    masks = []
    for a, b, c, d in compute.worker.grid.contents(h, w, PATCH):
        mask = np.zeros((height, width), bool)
        rows, columns = weighs(bottom - top, h)[a:c].any(0), weighs(right - left, w)[b:d].any(0)
        mask[top:bottom, left:right] = rows[:, None] & columns
        masks.append(mask)
    return masks


def check_promise(compute, height, width, crops, limit=None):
    """No server reads more of a picture than it may, nor of one of its images; crops by image."""
    whole, views = (0, 0, height, width), {}
    k = len(compute.servers)

    def due(crop):
        sizes = [mask.sum() for mask in read(compute, height, width, crop)]
        return 1 / k + (1 - 1 / k) * max(sizes) / ((crop[2] - crop[0]) * (crop[3] - crop[1]))

    shares = compute.ledger.exposure().set_index(["image", "server"]).share
    for (image, server), part in compute.ledger.table().groupby(["image", "server"]):
        top, left, bottom, right = crop = crops[image]
        windows = read(compute, height, width, crop)
        view = np.any([windows[window] for window in part.window.unique()], axis=0)
        views[server] = views.get(server, False) | view
        share = view[top:bottom, left:right].mean()
        assert share <= due(crop) + 1e-9
        assert share < 1 or k == 1
        assert shares[image, server] == pytest.approx(share)
    pictures = compute.ledger.pictures().set_index("server").share
    for server, view in views.items():
        assert view.mean() <= (limit or due(whole)) + 1e-9
        assert pictures[server] == pytest.approx(view.mean())


def send(compute, images):
    """Enter what a round sends, while every server fails, and the first spares too."""
    session = compute.begin(images)
    for name in list(session.parts):
        while name is not None:
            for image, windows in session.parts[name].windows.items():
                compute.ledger.record(image, 0, name, windows, True)
            name = session._fail(session._call(0, name, session.parts[name]))


def boxed(box, side=IMAGE):
    """What the encoder gets of a crop (top, left, bottom, right) of a picture."""
    top, left, bottom, right = box
    height, width = ResizeLongestSide.get_preprocess_shape(bottom - top, right - left, side)
    x = torch.zeros(1, 3, side, side)
    x[..., :height, :width] = 1 + hash(box) % 97
    return x


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_crops_repeats_retries_and_spares_keep_the_limit(unconnected, data):
    """In pixels that weigh in what is sent, over sizes from 1:20 to 20:1, small and large."""
    ratio = 20 ** data.draw(st.floats(-1, 1))
    long = data.draw(st.integers(4, 60) | st.integers(60, 800))
    height, width = (max(2, round(long * min(1, each))) for each in (1 / ratio, ratio))
    servers, kind = data.draw(st.integers(1, 8)), data.draw(st.sampled_from(KINDS))
    limit = data.draw(st.none() | st.floats(0.05, 1))
    fallback = data.draw(st.sampled_from(["edge", "spare"]))
    side = data.draw(st.sampled_from([IMAGE, 1024]))
    how = {"assignment": kind, "fallback": fallback, "exposure_limit": limit, "side": side}
    crops = []
    with unconnected(servers, **how) as compute, compute.picture("it", height, width):
        for _ in range(data.draw(st.integers(0, 3))):
            rows, columns = (
                sorted(
                    data.draw(st.lists(st.integers(0, end), min_size=2, max_size=2, unique=True))
                )
                for end in (height, width)
            )
            crops.append((rows[0], columns[0], rows[1], columns[1]))
        crops.insert(data.draw(st.integers(0, len(crops))), (0, 0, height, width))
        for box in crops:
            with compute.crop(box[1], box[0], box[3], box[2]):
                send(compute, boxed(box, side))
    check_promise(compute, height, width, crops, limit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "side", "servers", "layers"),
    [
        ((8, 8), IMAGE, 2, 0),
        ((32, 32), IMAGE, 2, 0),
        ((64, 64), 1024, 2, 0),
        ((100, 150), IMAGE, 2, 1),
        ((480, 640), IMAGE, 4, 2),
    ],
)
def test_what_resizing_mixes_into_a_window_counts(unconnected, size, side, servers, layers, kind):
    """Of 8 × 8 pixels, the parts of the windows are half, and what they read was .969."""
    boxes, _ = generate_crop_boxes(size, layers, 512 / 1500)
    with unconnected(servers, side=side, assignment=kind) as compute:
        with compute.picture("it", *size):
            for left, top, right, bottom in boxes:
                with compute.crop(left, top, right, bottom):
                    send(compute, boxed((top, left, bottom, right), side))
        check_promise(compute, *size, [(box[1], box[0], box[3], box[2]) for box in boxes])
    assert compute.ledger.pictures().share.max() > 0.8 / servers


def test_equal_pixels_are_one_picture(unconnected):
    x = torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator())
    with unconnected(4, assignment="random") as compute:
        for image in (x, x, x + 1):
            send(compute, image)
    assert compute.ledger.pictures().groupby("picture").images.max().tolist() == [2, 1]
    first, again, other = (compute.ledger._images[image].allowed for image in range(3))
    assert first == again != other


def test_a_restart_shows_no_server_more(unconnected):
    """Whatever the order in which pictures come; with another secret they are assigned anew."""
    boxes = [(0, 0, 240, 320), (0, 0, 200, 320), (0, 0, 320, 200)]
    runs = []
    for order, secret in ((boxes, SECRET), (boxes[::-1], SECRET), (boxes, SECRET[::-1])):
        with unconnected(2, assignment="random", secret=secret) as compute:
            for box in order:
                send(compute, boxed(box))
        found = [compute.ledger._images[order.index(box)].allowed for box in boxes]
        runs.append([tuple(map(sorted, each.values())) for each in found])
    assert runs[0] == runs[1] != runs[2]


def test_a_picture_counts_what_was_sent_of_it_without_a_name(unconnected):
    """And the other way round; each server gets of it what it has got before."""
    whole = 200 * boxed((0, 0, 480, 640))
    with unconnected(2, assignment="random") as compute:
        send(compute, whole)
        with compute.picture("it", 480, 640):
            with compute.crop(0, 0, 320, 240):
                send(compute, boxed((0, 0, 240, 320)))
            send(compute, whole)
        send(compute, whole)
    first, _, named, again = (compute.ledger._images[image].allowed for image in range(4))
    assert first == named == again
    assert compute.ledger.pictures().picture.nunique() == 2


@pytest.mark.parametrize("other", ["b", None])
def test_equal_pixels_under_two_names_are_shared(unconnected, other):
    """Encoded whole under both and then crops in turn, one server had .627 where .561 is due."""
    size, servers = (480, 640), 2
    boxes, _ = generate_crop_boxes(size, 2, 512 / 1500)
    crops = [(box[1], box[0], box[3], box[2]) for box in [boxes[0], *boxes]]
    with unconnected(servers, assignment="random") as compute:
        for number, (top, left, bottom, right) in enumerate(crops):
            x = boxed((top, left, bottom, right))
            if other is None and number == 0:
                send(compute, x)
                continue
            name = "a" if number % 2 else other or "a"
            with compute.picture(name, *size), compute.crop(left, top, right, bottom):
                send(compute, x)
    views = {}
    for image, crop in enumerate(crops):
        windows = read(compute, *size, crop)
        for server in compute.servers:
            mine = [windows[window] for window in compute.ledger.allowed(image, server)]
            views[server] = np.any([views.get(server, np.zeros(size, bool)), *mine], axis=0)
    largest = max(mask.mean() for mask in read(compute, *size, crops[0]))
    pictures = compute.ledger.pictures()
    for server, view in views.items():
        assert view.mean() <= (1 + largest) / 2
        shares = pictures[pictures.server == server].share  # of both names
        assert len(shares) == 2 and shares.max() >= view.mean() - 1e-9


def test_a_picture_that_was_a_crop_of_another_is_a_part_of_it(unconnected):
    """What is seen of either is seen of both, and both keep their limits."""
    whole, part = (0, 0, 480, 640), (0, 0, 240, 320)
    with unconnected(2, assignment="random") as compute:
        with compute.picture("part", 240, 320):
            send(compute, boxed(part))
        with compute.picture("whole", 480, 640):
            with compute.crop(0, 0, 320, 240):
                send(compute, boxed(part))
            send(compute, boxed(whole))
        with compute.picture("part", 240, 320), compute.crop(0, 0, 100, 100):
            send(compute, boxed((0, 0, 100, 100)))
    small, large = (compute.pictures._named[name] for name in ("part", "whole"))
    for server in compute.servers:
        inside = {
            (top, left, min(bottom, 240), min(right, 320))
            for top, left, bottom, right in large.granted[server]
            if top < 240 and left < 320
        }
        assert seen(inside) == seen(small.granted[server]) <= small.limit
        assert seen(large.granted[server]) <= large.limit


def test_a_crop_goes_where_its_pixels_were_seen(unconnected):
    with unconnected(4, assignment="random") as compute, compute.picture("it", 640, 640):
        send(compute, boxed((0, 0, 640, 640)))
        before = compute.ledger.pictures().set_index("server").share
        with compute.crop(0, 0, 192, 192):  # one window of the whole
            send(compute, boxed((0, 0, 192, 192)))
    after = compute.ledger.pictures().set_index("server").share
    owner = next(s for s in compute.servers if 0 in compute.ledger.allowed(0, s))
    assert compute.ledger.exposure().query("image == 1").set_index("server").share[owner] > 0.3
    most = 0.25 + 0.75 * (194 / 640) ** 2  # a window of 96 pixels reads 194
    assert (after >= before).all() and (after <= most + 1e-9).all()


@pytest.mark.parametrize("limit", [0.1, 0.3])
def test_at_the_exposure_limit_the_edge_computes_the_rest(encoder, worker, addresses, limit):
    x = torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator())
    with (
        torch.inference_mode(),
        EdgeCompute(worker, addresses[:2], exposure_limit=limit) as compute,
    ):
        torch.testing.assert_close(
            PartitionedEncoder(encoder, compute)(x), encoder(x), atol=1e-4, rtol=0
        )
    shares = compute.ledger.exposure().share
    assert len(shares) == 2 and shares.max() <= limit and shares.min() > limit / 2
    assert set(compute.table().query("server == 'edge'")["round"]) == {0, 1}


def test_at_the_exposure_limit_it_can_fail(encoder, worker, addresses):
    chosen = {"exposure_limit": 0.3, "fallback": "fail"}
    with (
        EdgeCompute(worker, addresses[:2], **chosen) as compute,
        pytest.raises(ExposureError, match="as much of the picture as they may"),
    ):
        compute.begin(torch.ones(1, 3, IMAGE, IMAGE))
    assert compute.ledger.table().empty


def test_a_failing_server_can_fail_the_image(encoder, worker, addresses):
    with (
        torch.inference_mode(),
        EdgeCompute(worker, [*addresses[:2], "127.0.0.1:1"], fallback="fail") as compute,
        pytest.raises(ServerFailedError, match="127.0.0.1:1 failed"),
    ):
        PartitionedEncoder(encoder, compute)(torch.ones(1, 3, IMAGE, IMAGE))


@pytest.mark.parametrize("layers", [0, 1])
def test_automatic_masks_with_crops_keep_the_limit(worker, addresses, split, layers):
    picture = photograph(240, 320)
    with EdgeCompute(worker, addresses, assignment="random", secret=SECRET) as compute:
        sam = split(compute)
        with compute.picture("it", 240, 320):
            AutomaticMasks(sam, compute, crop_n_layers=layers, **OPTIONS).generate(picture)
    assert compute.ledger.exposure().image.nunique() == 1 + 4 * layers
    shares = compute.ledger.pictures().share
    assert len(shares) == 4 and shares.max() <= 0.25 + 0.75 * 96**2 / (240 * 320)


def test_crops_that_are_not_named_are_refused(worker, addresses, split):
    with EdgeCompute(worker, addresses) as compute, compute.picture("it", 240, 320):
        predictor = SamPredictor(split(compute))
        predictor.set_image(photograph(240, 320))
        with pytest.raises(ValueError, match="other pixels than the open picture's: name its crop"):
            predictor.set_image(photograph(240, 320)[:120, :160])
        with pytest.raises(ValueError, match="the picture has"):
            predictor.set_image(photograph(240, 320)[:100, :160])
        with compute.crop(0, 0, 160, 100):
            predictor.set_image(photograph(240, 320)[:100, :160])


def test_wrong_pictures_are_named(unconnected):
    with unconnected(2) as compute:
        with pytest.raises(ValueError, match="open a picture first"), compute.crop(0, 0, 1, 1):
            pass
        with compute.picture("it", 10, 20):
            with pytest.raises(ValueError, match="another one is open"), compute.picture("a", 1, 1):
                pass
            for box in ((0, 0, 21, 10), (5, 0, 5, 10), (-1, 0, 5, 5), (0, 0, 5, 11)):
                with pytest.raises(ValueError, match="not in 20 × 10"), compute.crop(*box):
                    pass
        with pytest.raises(ValueError, match="is another one"), compute.picture("it", 20, 10):
            pass
