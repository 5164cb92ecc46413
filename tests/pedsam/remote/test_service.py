"""What a server computes: what it answers, and every request that it refuses."""

import contextlib
import math
import threading

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.connection import Connection
from paperlib.pedsam.remote.service import Limits, WindowService
from tests.pedsam.remote.asking import (
    ROWS,
    WINDOWS,
    assert_sound,
    call,
    damaged,
    health,
    refusal,
    valid,
)

Status = grpc.StatusCode


@pytest.fixture(scope="module")
def address(servers):
    return servers[0].address


class BlockedService(WindowService):
    """Computes nothing until it is let."""

    def __init__(self, worker, limits):
        super().__init__(worker, limits)
        self.begun, self.go_on, self.runs = threading.Event(), threading.Event(), 0

    def run(self, values, windows, blocks, pixels):
        self.runs += 1
        self.begun.set()
        assert self.go_on.wait(60)
        return super().run(values, windows, blocks, pixels)


def test_a_request_in_order_is_answered(address, worker):
    assert_sound(address, worker)


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_replies_are_in_the_format_of_the_request(address, worker, form):
    reply = call(address, valid(worker, form))
    assert reply.values.format == wire.FORMATS[form]
    assert reply.cpu_seconds > 0 and reply.seconds > 0


def test_pixels_may_only_be_embedded(address, worker):
    request = valid(worker, blocks=())
    values = torch.tensor(wire.decode(request.values, ROWS, 768))
    with torch.inference_mode():
        expected = worker(values, WINDOWS, (), True).numpy()
    ours = wire.decode(call(address, request).values, ROWS, worker.channels)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": (0, 2)}, "blocks: the windowed ones are 0, 1, 3, 4"),
        ({"blocks": (0, 99)}, "blocks: the windowed"),
        ({"blocks": (1, 0)}, "they must ascend"),
        ({"blocks": (0, 0)}, "they must ascend"),
        ({"blocks": (0,) * 9}, "blocks: the windowed"),
        ({"blocks": (), "pixels": False}, "no pixels to embed"),
        ({"windows": ()}, "windows: valid are 1 to 4000 of them, from 0 to 15"),
        ({"windows": (1, 16)}, "windows: valid are"),
        ({"windows": (2**32 - 1,)}, "windows: valid are"),
        ({"windows": (1,) * 4001}, "windows: valid are"),
        ({"windows": (1,) * 200}, "windows with 7200 rows: at most 4000 are taken"),
        ({"windows": (1, 7)}, f"shape ({ROWS}, 768): expected (48, 768)"),
        ({"pixels": False}, f"shape ({ROWS}, 768): expected ({ROWS}, 160)"),
        ({"values": pb.Tensor()}, "format 0"),
    ],
)
def test_malformed_requests(address, worker, changes, words):
    status, detail = refusal(address, valid(worker, **changes))
    assert status == Status.INVALID_ARGUMENT and words in detail


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("float32", {"format": 17}),
        ("float32", {"format": pb.FORMAT_FLOAT16}),
        ("float32", {"rows": 2**32 - 1}),
        ("float32", {"features": 1}),
        ("float32", {"values": b""}),
        ("float32", {"values": np.full((ROWS, 768), np.nan, "<f4").tobytes()}),
        ("float16", {"values": np.full((ROWS, 768), -np.inf, "<f2").tobytes()}),
        ("int8", {"scales": np.full(ROWS, np.nan, "<f4").tobytes()}),
        ("int8", {"scales": b""}),
    ],
)
def test_malformed_tensors(address, worker, form, changes):
    status, _ = refusal(address, damaged(worker, form, **changes))
    assert status == Status.INVALID_ARGUMENT


def test_unknown_weights(address, worker):
    for weights in ("", "0" * 16):
        status, detail = refusal(address, valid(worker, weights=weights))
        assert status == Status.FAILED_PRECONDITION and wire.worker_fingerprint(worker) in detail


def test_messages_that_are_too_long(address, worker):
    values = wire.encode(torch.zeros(4100, 768))
    status, _ = refusal(address, valid(worker, values=values))
    assert status == Status.RESOURCE_EXHAUSTED
    assert_sound(address, worker)


def test_requests_with_too_many_rows(in_process, worker):
    address = in_process(WindowService(worker, Limits(rows=ROWS - 1)))
    status, detail = refusal(address, valid(worker))
    assert (status, detail) == (
        Status.INVALID_ARGUMENT,
        f"windows with {ROWS} rows: at most {ROWS - 1} are taken",
    )


words = st.text(max_size=80)
numbers = st.lists(st.integers(0, 2**32 - 1), max_size=20)


def fits(grid, windows):
    """Whether these windows exist and have as many rows as those of `valid`."""
    exist = all(window < grid.count for window in windows)
    return exist and sum(math.prod(grid.shape(window)) for window in windows) == ROWS


@st.composite
def malformed(draw, worker):
    """Bytes of all kinds that no honest edge sends."""
    kind = draw(st.sampled_from(["noise", "cut", "weights", "blocks", "windows", "tensor", "tail"]))
    whole = valid(worker)
    if kind == "noise":
        return draw(st.binary(max_size=300))
    if kind == "cut":
        data = whole.SerializeToString()
        return data[: draw(st.integers(0, len(data) - 1))]
    if kind == "tail":
        return whole.SerializeToString() + b"\xff" + draw(st.binary(max_size=20))
    if kind == "weights":
        return valid(worker, weights=draw(words)).SerializeToString()
    if kind == "blocks":
        blocks = draw(numbers.filter(lambda b: b != sorted(set(b) & {0, 1, 3, 4})))
        return valid(worker, blocks=blocks).SerializeToString()
    if kind == "windows":
        grid = worker.grid
        windows = draw(numbers.filter(lambda w: not fits(grid, w)))
        return valid(worker, windows=windows).SerializeToString()
    tensor = pb.Tensor(
        format=draw(st.integers(0, 5)),
        rows=draw(st.sampled_from([0, 1, ROWS, 2**32 - 1])),
        features=draw(st.sampled_from([0, 1, 768, 2**32 - 1])),
        values=draw(st.binary(max_size=300)),
        scales=draw(st.binary(max_size=300)),
    )
    return valid(worker, values=tensor).SerializeToString()


REFUSALS = {Status.INVALID_ARGUMENT, Status.FAILED_PRECONDITION, Status.RESOURCE_EXHAUSTED}


def test_hundreds_of_malformed_messages(address, worker):
    refused = []
    with contextlib.closing(Connection(address, None, 10**7).channel) as channel:
        method = channel.unary_unary(f"/{wire.SERVICE}/Compute")

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(malformed(worker))
        def send(data):
            with pytest.raises(grpc.RpcError) as caught:
                method(data, timeout=60)
            assert caught.value.code() in REFUSALS and caught.value.details()
            refused.append(data)

        send()
    assert len(set(refused)) >= 200
    assert_sound(address, worker)


def test_a_full_queue_refuses(in_process, worker):
    service = BlockedService(worker, Limits(calls=1, queue=1))
    address = in_process(service)
    with contextlib.closing(Connection(address, None, 10**7).channel) as channel:
        method = channel.unary_unary(f"/{wire.SERVICE}/Compute")
        data = valid(worker).SerializeToString()
        waiting = [method.future(data, timeout=60) for _ in range(6)]
        refused = 0
        while refused < 4:
            done = [future for future in waiting if future.done()]
            refused = len(done)
        assert {future.code() for future in done} == {Status.RESOURCE_EXHAUSTED}
        assert health(address) == health_pb2.HealthCheckResponse.SERVING
        service.go_on.set()
        assert sum(future.code() == Status.OK for future in waiting) == 2
        assert method(data, timeout=60)
    assert service.runs == 3


def test_work_whose_deadline_has_passed_is_not_begun(in_process, worker):
    service = BlockedService(worker, Limits())
    address = in_process(service)
    with contextlib.closing(Connection(address, None, 10**7).channel) as channel:
        method = channel.unary_unary(f"/{wire.SERVICE}/Compute")
        data = valid(worker).SerializeToString()
        first = method.future(data, timeout=60)
        assert service.begun.wait(60)
        with pytest.raises(grpc.RpcError) as caught:
            method(data, timeout=0.3)
        assert caught.value.code() == Status.DEADLINE_EXCEEDED
        service.go_on.set()
        assert first.result() and method(data, timeout=60)
    assert service.runs == 2


def test_failures_say_nothing_of_the_content(in_process, worker, caplog):
    class FailingService(WindowService):
        def run(self, values, windows, blocks, pixels):
            raise RuntimeError(f"secret {values[0, 0].item()}")

    address = in_process(FailingService(worker, Limits()))
    with caplog.at_level("INFO"):
        status, detail = refusal(address, valid(worker))
    assert status == Status.INTERNAL and "secret" not in detail
    assert "secret" not in caplog.text


def test_a_call_needs_a_deadline(address, worker):
    status, detail = refusal(address, valid(worker), timeout=None)
    assert (status, detail) == (Status.INVALID_ARGUMENT, "a deadline is needed")
