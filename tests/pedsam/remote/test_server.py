"""The command that starts a server: its log, its end, and what it refuses to start with."""

import contextlib
import json
import subprocess

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.connection import Connection
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.remote.server import main
from tests.pedsam.remote.asking import ROWS, WINDOWS, call, refusal, valid

Status = grpc.StatusCode


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
    for wrong, why in ([], "--certificates --insecure is required"), (["--x"], "arguments: --x"):
        with pytest.raises(SystemExit, match="2"):
            main([*model, *wrong, *(["--insecure"] if wrong else [])])
        (line,) = capsys.readouterr().err.splitlines()  # and no usage beside it
        assert json.loads(line)["event"] == "not started" and why in json.loads(line)["detail"]
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
