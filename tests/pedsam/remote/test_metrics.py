"""Figures for Prometheus, of a server process that was called."""

import json
import socket
import subprocess
import time
import urllib.request

import grpc
import pytest
import torch

from paperlib.models.sam import IMAGE
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.metrics import Metrics
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.remote.server import main
from paperlib.pedsam.split.encoder import PartitionedEncoder


def read(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


@torch.inference_mode()
def test_calls_are_counted_and_nothing_is_said_of_them(model, encoder, worker, tmp_path):
    place, edge = make_certificates(tmp_path, ["127.0.0.1"], ["edge"], days=7)
    line = [*COMMAND, *model, "--certificates", str(place), "--metrics", "0"]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        ready = json.loads(server.stdout.readline())
        image = torch.ones(1, 3, IMAGE, IMAGE)
        with EdgeCompute(worker, [ready["address"]], certificates=edge) as compute:
            PartitionedEncoder(encoder, compute)(image)
            with pytest.raises(grpc.RpcError):
                compute.connections[ready["address"]].compute(b"\xff", timeout=60)
        found = read(ready["metrics"])
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()
    calls = compute.table()
    assert float(found['pedsam_calls_total{status="OK"}']) == len(calls) == 2
    assert float(found['pedsam_calls_total{status="INVALID_ARGUMENT"}']) == 1
    assert float(found["pedsam_windows_total"]) == calls.windows.sum()
    assert float(found['pedsam_bytes_total{way="in"}']) == calls.bytes_up.sum() + 1
    assert float(found['pedsam_bytes_total{way="out"}']) == calls.bytes_down.sum()
    assert float(found["pedsam_call_seconds_count"]) == 3
    left = float(found["pedsam_certificate_expires_timestamp"]) - time.time()
    assert 6 * 86400 < left <= 7 * 86400
    assert ready["metrics"].startswith("127.0.0.1:")


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"^metrics on port {port} of 127.0.0.1: Address already"):
            Metrics().serve(port)
    with pytest.raises(OSError, match="metrics on port 99999 of"):
        Metrics().serve(99999)


def test_a_port_is_for_one_server(model, capsys):
    words = [*model, "--insecure", "--copies", "2", "--metrics", "0"]
    assert main(words) == 2
    assert "copies: metrics are of one server" in capsys.readouterr().err
