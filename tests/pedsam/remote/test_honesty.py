"""Lies are noticed, as often as the numbers say; honest servers are never accused."""

import copy
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from paperlib.models.sam import IMAGE
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.honesty import Range, agrees
from paperlib.pedsam.remote.lying import LIES, LyingService
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.remote.session import ServerFailedError
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import patches
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks


class CoarseService(WindowService):
    """Honest, but computes in another number format."""

    def __init__(self, worker, limits, kind):
        super().__init__(worker, limits)
        self.coarse, self.kind = copy.deepcopy(worker).to(kind), kind

    def run(self, values, windows, blocks, pixels):
        with torch.inference_mode():
            return self.coarse(values.to(self.kind), windows, blocks, pixels).float()


@pytest.fixture(scope="module")
def liars(start_faulty):
    said, _ = start_faulty(*LIES)
    return {server["fault"]: server["address"] for server in said}


@pytest.fixture
def image():
    return torch.randn(1, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def difference(encoder, compute, image):
    return (PartitionedEncoder(encoder, compute)(image) - encoder(image)).abs().max().item()


@pytest.mark.parametrize(("lie", "number"), [("1e30", 0), ("3e38", 1)])
def test_what_no_honest_server_can_say_is_noticed_without_checks(
    encoder, worker, servers, liars, image, lie, number
):
    """Blamed, replaced, and not used again."""
    addresses = [servers[0].address, liars[lie], servers[1].address]
    with EdgeCompute(worker, addresses) as compute:
        assert difference(encoder, compute, image) < 1e-4
        assert difference(encoder, compute, image + 1) < 1e-4
        assert compute.distrusted == {liars[lie]}
    failed = compute.table().query("status != 'OK'")
    assert failed[["image", "round", "server", "status"]].to_numpy().tolist() == [
        [0, number, liars[lie], "FALSE_REPLY"]
    ]


@pytest.mark.parametrize("form", wire.FORMATS)
@pytest.mark.parametrize("lie", LIES)
def test_strict_notices_every_lie(encoder, worker, servers, liars, image, lie, form):
    addresses = [servers[0].address, liars[lie]]
    with EdgeCompute(worker, addresses, form=form, checks="strict") as compute:
        off = {"float32": 1e-4, "float16": 0.01, "int8": 0.3}[form]
        assert difference(encoder, compute, image) < off
    if form == "float16" and lie in ("1e30", "3e38"):  # which it cannot say
        assert compute.table().query("server == @addresses[1]").status.iloc[-1] != "OK"
    else:
        assert compute.distrusted == {liars[lie]}


def test_what_breaks_a_global_block_is_traced_to_who_said_it(
    encoder, worker, servers, liars, image, monkeypatch
):
    """Even if the range let it pass: all replies of the round are computed again."""
    monkeypatch.setattr(Range, "holds", lambda *_: True)
    addresses = [servers[0].address, liars["3e38"], servers[1].address]
    with EdgeCompute(worker, addresses) as compute:
        assert difference(encoder, compute, image) < 1e-4
        assert compute.distrusted == {liars["3e38"]}
        assert difference(encoder, compute, image) < 1e-4
    calls = compute.table()
    assert calls.query("server == 'edge' and image == 0")["round"].tolist() == [1, 1, 1]
    assert liars["3e38"] not in set(calls.query("image == 1").server)


@pytest.mark.parametrize("lie", ["zeros", "swapped rows", "noise of 30 %"])
def test_without_checks_a_lie_within_the_range_passes(encoder, worker, servers, liars, image, lie):
    with EdgeCompute(worker, [servers[0].address, liars[lie]]) as compute:
        assert difference(encoder, compute, image) > 0.01
    assert not compute.distrusted


def test_a_spare_takes_the_place_of_a_liar(encoder, worker, servers, liars, image):
    chosen = {"fallback": "spare", "spares": [servers[1].address], "checks": "strict"}
    with EdgeCompute(worker, [servers[0].address, liars["zeros"]], **chosen) as compute:
        assert difference(encoder, compute, image) < 1e-4
    assert "edge" not in set(compute.table().server)
    with (
        EdgeCompute(worker, [liars["zeros"]], fallback="fail", checks="strict") as compute,
        pytest.raises(ServerFailedError),
    ):
        difference(encoder, compute, image)


@pytest.mark.parametrize("form", wire.FORMATS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_honest_servers_are_never_accused(encoder, worker, in_process, form, kind):
    images = torch.randn(3, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(3))
    images[0] *= 0.01
    images[1] *= 100
    images[2, :, 100:] = 0
    address = in_process(CoarseService(worker, Limits(), kind))
    with EdgeCompute(worker, [address], form=form, checks="strict") as compute:
        difference(encoder, compute, images)
    assert not compute.distrusted and set(compute.table().query("server != 'edge'").status) == {
        "OK"
    }
    assert compute.table().query("server != 'edge'").checked.tolist() == [40, 40]


@settings(deadline=None, max_examples=20)
@given(
    scale=st.floats(1e-3, 1e4),
    seed=st.integers(0, 1000),
    gain=st.floats(0.1, 10),
    pixels=st.booleans(),
)
def test_no_honest_reply_is_out_of_range(encoder, scale, seed, gain, pixels):
    changed = copy.deepcopy(encoder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in changed.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(gain).add_(noise, alpha=0.1 * parameter.abs().mean().item())
    worker, turn = WindowBlocks(changed), rounds(changed, "exact")[0 if pixels else 1]
    features = 768 if pixels else worker.channels
    sent = scale * torch.randn(400, features, generator=generator)
    with torch.no_grad():
        reply = worker(sent, [*range(16)], turn.server_blocks, pixels)
    assert Range(worker).holds(reply, sent, turn)
    assert agrees(reply, reply, "float32")
    assert not Range(worker).holds(torch.full_like(reply, 1e30), sent, turn)


def test_a_range_lets_its_weights_go_at_once(worker, encoder):
    """Without waiting for a collection of cycles: the weights of a large SAM are much memory."""
    due, turn = Range(worker), rounds(encoder, "exact")[1]
    assert due.holds(torch.zeros(2, worker.channels), torch.zeros(2, worker.channels), turn)
    held = weakref.ref(due)
    del due
    assert held() is None


def test_lies_are_noticed_as_often_as_the_numbers_say(encoder, worker, in_process, image):
    """m false ones among the 16 windows, r of which are computed again in a round."""
    (turn, _), values, trials = rounds(encoder, "exact"), patches(image, 16), 200
    for m, r in ((1, 1), (4, 2), (2, 8)):
        liar = in_process(LyingService(worker, Limits(), LIES["zeros"], windows=range(m)))
        caught = 0
        with EdgeCompute(worker, [liar], checks=r) as compute:
            for _ in range(trials):
                session = compute.begin(image)
                session.run(0, turn, values)
                caught += bool(compute.distrusted)
                compute.distrusted.clear()
        due = hypergeom.sf(0, 16, m, r)
        assert abs(caught / trials - due) < 4 * (due * (1 - due) / trials) ** 0.5
