"""Who is let in, with which certificates, and how many calls at a time."""

import json
import subprocess
import threading
import time

import grpc
import pytest
import torch

from paperlib.models.sam import IMAGE
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.listener import Server, serving
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.encoder import PartitionedEncoder
from tests.pedsam.remote.asking import assert_sound, valid

Status = grpc.StatusCode


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


def test_a_taken_address_is_named(worker):
    service = WindowService(worker, Limits())
    with serving([service]) as (address,), pytest.raises(OSError, match="cannot be bound") as said:
        Server(service, address, None)
    assert str(said.value) == f"address {address} cannot be bound: taken, or not of here"
