"""A server over gRPC: what it answers, and everything that it refuses."""

import contextlib
import json
import math
import subprocess
import threading
import time

import grpc
import numpy as np
import psutil
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperlib.models.sam import IMAGE
from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.connection import Connection
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.listener import Server, serving
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.remote.server import main
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.encoder import PartitionedEncoder

Status = grpc.StatusCode
WINDOWS = (1, 7, 4)  # whole ones and one at the border
ROWS = 36 + 12 + 36


def valid(worker, form="float32", **changes):
    """A request that is answered, but for `changes`."""
    generator = torch.Generator().manual_seed(0)
    fields = {
        "weights": wire.worker_fingerprint(worker),
        "blocks": (0, 1),
        "windows": WINDOWS,
        "pixels": True,
        "values": wire.encode(torch.randn(ROWS, 768, generator=generator), form),
    }
    return pb.ComputeRequest(**(fields | changes))


def damaged(worker, form="float32", **changes):
    """A request whose tensor is not what it should be."""
    values = valid(worker, form).values
    for name, value in changes.items():
        setattr(values, name, value)
    return valid(worker, values=values)


def call(address, message, timeout=60):
    with contextlib.closing(Connection(address, None, 10**7).channel) as channel:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        method = channel.unary_unary(f"/{wire.SERVICE}/Compute")
        return pb.ComputeReply.FromString(method(data, timeout=timeout))


def refusal(address, message, timeout=60):
    with pytest.raises(grpc.RpcError) as caught:
        call(address, message, timeout)
    return caught.value.code(), caught.value.details()


def health(address, service=wire.SERVICE):
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return check(health_pb2.HealthCheckRequest(service=service), timeout=60).status


def assert_sound(address, worker):
    """The server is healthy and its answer is right."""
    assert health(address) == health(address, "") == health_pb2.HealthCheckResponse.SERVING
    request = valid(worker)
    reply = call(address, request)
    values = torch.tensor(wire.decode(request.values, ROWS, 768))
    with torch.inference_mode():
        expected = worker(values, WINDOWS, (0, 1), True)
    ours = wire.decode(reply.values, ROWS, worker.channels)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


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


def test_logs_are_json_without_content(servers, worker):
    address = servers[3].address
    call(address, valid(worker))
    refusal(address, b"\xff\xff")
    lines = [json.loads(line) for line in servers[3].log.read_text().splitlines()]
    mine = [line for line in lines if line["pid"] == servers[3].process.pid]
    computed = [line for line in mine if line["event"] == "compute"]
    assert [line["status"] for line in computed[-2:]] == ["OK", "INVALID_ARGUMENT"]
    assert set(computed[-2]) == {
        *("time", "pid", "event", "status", "seconds", "peer", "bytes_in", "bytes_out"),
        *("blocks", "windows"),
    }
    assert computed[-2]["windows"] == len(WINDOWS)


def test_graceful_shutdown(start_faulty, worker):
    (server,), output = start_faulty("slow")
    process = psutil.Process(server["pid"])
    with contextlib.closing(Connection(server["address"], None, 10**7).channel) as channel:
        method = channel.unary_unary(f"/{wire.SERVICE}/Compute")
        data = valid(worker).SerializeToString()
        running = method.future(data, timeout=60)
        assert output.readline() == "computing\n"
        process.terminate()
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest(service=wire.SERVICE)
        while check(request, timeout=60).status == health_pb2.HealthCheckResponse.SERVING:
            pass
        with pytest.raises(grpc.RpcError) as caught:
            method(data, timeout=60)
        assert caught.value.code() == Status.UNAVAILABLE
        reply = pb.ComputeReply.FromString(running.result())
    assert np.isfinite(wire.decode(reply.values, ROWS, worker.channels)).all()
    process.wait(60)


@pytest.fixture(scope="module")
def tls(model, tmp_path_factory):
    """A server with certificates: its address, and the folder of the authority."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ["127.0.0.1"], ["edge"])
    line = [*COMMAND, *model, "--certificates", str(folder / "servers/127.0.0.1")]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield json.loads(server.stdout.readline())["address"], folder
    finally:
        server.terminate()
        assert server.wait(30) == 0
        server.stdout.close()


@torch.inference_mode()
def test_mutual_tls(tls, encoder, worker):
    address, folder = tls
    image = torch.randn(1, 3, IMAGE, IMAGE)
    with EdgeCompute(worker, [address], certificates=folder / "clients/edge") as compute:
        ours = PartitionedEncoder(encoder, compute)(image)
    assert compute.table()["status"].tolist() == ["OK", "OK"]
    torch.testing.assert_close(ours, PartitionedEncoder(encoder)(image), atol=1e-5, rtol=0)


def plain(folder, other):
    return grpc.insecure_channel


def nameless(folder, other):
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
    return lambda address: grpc.secure_channel(address, credentials)


def stranger(folder, other):
    make_certificates(other, [], ["edge"])
    own = [(other / f"clients/edge/client.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *own)
    return lambda address: grpc.secure_channel(address, credentials)


def server_as_client(folder, other):
    own = [(folder / f"servers/127.0.0.1/server.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *own)
    return lambda address: grpc.secure_channel(address, credentials)


@pytest.mark.parametrize("client", [plain, nameless, stranger, server_as_client])
def test_only_clients_of_the_authority_are_let_in(tls, worker, tmp_path, client):
    address, folder = tls
    with client(folder, tmp_path)(address) as channel:
        for name in ("Describe", "Compute"):
            method = channel.unary_unary(f"/{wire.SERVICE}/{name}")
            with pytest.raises(grpc.RpcError) as caught:
                method(valid(worker).SerializeToString(), timeout=60)
            assert caught.value.code() == Status.UNAVAILABLE


def test_the_edge_refuses_a_server_of_another_authority(tls, worker, tmp_path, caplog):
    make_certificates(tmp_path, [], ["edge"])
    chosen = {"certificates": tmp_path / "clients/edge"}
    with EdgeCompute(worker, [tls[0]], **chosen) as compute:
        session = compute.begin(torch.ones(1, 3, IMAGE, IMAGE))
        assert session.parts == {} and len(session.own[0].order) == 16
    assert "its certificate is not of the edge's authority" in caplog.text


def started(worker, folder):
    """A server in this process with the certificates of a folder."""
    server = Server(WindowService(worker, Limits(grace=0)), "127.0.0.1:0", folder)
    server.start()
    return server


def why(worker, address, certificates, caplog):
    caplog.clear()
    with EdgeCompute(worker, [address], certificates=certificates):
        return caplog.text


def test_the_edge_says_why_it_cannot_connect(worker, redated, tmp_path, caplog):
    places = make_certificates(tmp_path, ["127.0.0.1", "gpu.example"], ["edge", "old"])
    edge, old = places[2:]
    expect = why(worker, "127.0.0.1:9", edge, caplog)
    assert "127.0.0.1:9 cannot be reached: UNAVAILABLE: nothing listens there" in expect
    server = started(worker, places[1])
    assert "is for another name" in why(worker, server.address, edge, caplog)
    server.stop()
    server = started(worker, places[0])
    assert why(worker, server.address, edge, caplog) == ""
    redated(old, "client", -9, -1)
    with pytest.raises(ValueError, match=r"client.pem has expired on .*: make a new one"):
        EdgeCompute(worker, [server.address], certificates=old)
    server.stop()


def test_a_taken_address_is_named(worker):
    service = WindowService(worker, Limits())
    with serving([service]) as (address,), pytest.raises(OSError, match="cannot be bound") as said:
        Server(service, address, None)
    assert str(said.value) == f"address {address} cannot be bound: taken, or not of here"


def test_renewed_certificates_are_taken_up(worker, tmp_path, caplog):
    """Without a restart; as long as the files do not belong together, the old ones serve."""
    place, edge = make_certificates(tmp_path, ["127.0.0.1"], ["edge"])
    server = started(worker, place)
    other = make_certificates(tmp_path / "other", ["127.0.0.1"])[0]
    (place / "server.pem").write_bytes((other / "server.pem").read_bytes())
    said = why(worker, server.address, edge, caplog)
    assert "certificate not renewed" in said and "cannot be reached" not in said
    for name in ("ca.pem", "server.pem", "server.key"):
        (place / name).write_bytes((other / name).read_bytes())
    make_certificates(tmp_path / "other", [], ["edge"])
    assert "is not of the edge's authority" in why(worker, server.address, edge, caplog)
    renewed = why(worker, server.address, tmp_path / "other/clients/edge", caplog)
    assert "cannot be reached" not in renewed
    server.stop()


def test_nothing_but_json_is_on_standard_error(model, tmp_path):
    """Not even what gRPC says of a client that it does not let in."""
    place, _ = make_certificates(tmp_path, ["127.0.0.1"], ["edge"])
    foreign = make_certificates(tmp_path / "other", [], ["edge"])[0]
    own = [(foreign / f"client.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials((place / "ca.pem").read_bytes(), *own)
    log = tmp_path / "log"
    with log.open("wb") as errors:
        line = [*COMMAND, *model, "--certificates", str(place)]
        server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors)
    address = json.loads(server.stdout.readline())["address"]
    with grpc.secure_channel(address, credentials) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{wire.SERVICE}/Describe")(b"", timeout=20)
    server.terminate()
    assert server.wait(30) == 0
    server.stdout.close()
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["certificate read", "serving", "stopped"]


def test_a_server_does_not_start_with_what_has_expired(model, redated, tmp_path, capsys):
    place = make_certificates(tmp_path, ["127.0.0.1"])[0]
    redated(place, "server", -9, -1)
    assert "server.pem has expired" in run([*model, "--certificates", str(place)], capsys)


def run(arguments, capsys):
    """Why a server does not start: a line of JSON."""
    assert main(arguments) == 2
    return json.loads(capsys.readouterr().err.splitlines()[-1])["detail"]


def test_wrong_commands_are_named(model, tmp_path, capsys):
    everywhere = [*model, "--address", "0.0.0.0:0"]
    assert "is not loopback: certificates are needed" in run([*everywhere, "--insecure"], capsys)
    folder = ["--certificates", str(tmp_path)]
    assert "lacks ca.pem, server.pem, server.key" in run([*everywhere, *folder], capsys)
    with pytest.raises(SystemExit):
        main(model)
    assert "--certificates --insecure is required" in capsys.readouterr().err
    assert "queue=-1: valid are numbers from 0" in run(
        [*model, "--insecure", "--queue", "-1"], capsys
    )
    assert "copies need port 0" in run(
        [*model, "--insecure", "--copies", "2", "--address", "127.0.0.1:5"], capsys
    )
    assert "whole numbers from 1" in run([*model, "--insecure", "--threads", "0"], capsys)
    named = run([*model, "--insecure", "--device", "nowhere"], capsys)
    assert named.startswith("device nowhere: ")
    missing = ["--sam", "sam-small", "--weights", str(tmp_path / "no"), "--insecure"]
    assert f"no card {tmp_path}/no/sam-small.json" in run(missing, capsys)


def bodiless(channel, name, count, timeout=20):
    """Calls that are open and whose message does not come; and what ends them."""
    done = threading.Event()

    def nothing():
        done.wait()
        yield from ()

    method = channel.stream_unary(f"/{name}")
    begun = [method.future(nothing(), timeout=timeout) for _ in range(count)]
    return begun, done


def ended(calls, count):
    """Those that are over, once `count` of them are."""
    while sum(call.done() for call in calls) < count:
        time.sleep(0.01)
    return [call for call in calls if call.done()]


def was_refused(call):
    """By the gate, or before it by gRPC's own limit of streams, where a busy machine is behind."""
    if call.code() is Status.UNAVAILABLE:
        return "RST_STREAM" in call.details()
    full = "calls of this client are open already"
    return call.code() is Status.RESOURCE_EXHAUSTED and full in call.details()


@pytest.mark.parametrize("name", [f"{wire.SERVICE}/Compute", f"{wire.SERVICE}/Describe"])
def test_calls_without_a_message_block_nobody_else(in_process, worker, name):
    """Neither another client nor health; beyond its limit, the client itself is refused."""
    address = in_process(WindowService(worker, Limits(calls=1, queue=1, client=3)))
    alone = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    with grpc.insecure_channel(address, alone) as channel:
        calls, done = bodiless(channel, name, 25)
        refused = ended(calls, 22)
        assert all(map(was_refused, refused))
        assert any(call.code() is Status.RESOURCE_EXHAUSTED for call in refused)
        assert_sound(address, worker)
        with EdgeCompute(worker, [address]) as compute:
            assert compute.unchecked == set()
        done.set()
        late = {call.code() for call in calls if call not in refused}
        assert late == {Status.INVALID_ARGUMENT}
        assert call_on(channel, worker)  # its places are free again


def call_on(channel, worker):
    data = valid(worker).SerializeToString()
    return channel.unary_unary(f"/{wire.SERVICE}/Compute")(data, timeout=60)


def test_health_is_answered_beside_checks_without_a_message(in_process, worker):
    address = in_process(WindowService(worker, Limits(client=2)))
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, alone) as channel:
        calls, done = bodiless(channel, "grpc.health.v1.Health/Check", 12)
        assert all(map(was_refused, ended(calls, 10)))
        assert_sound(address, worker)
        done.set()


def test_a_call_needs_a_deadline(address, worker):
    status, detail = refusal(address, valid(worker), timeout=None)
    assert (status, detail) == (Status.INVALID_ARGUMENT, "a deadline is needed")
