"""Local servers never outlive whoever started them."""

import signal
import subprocess
import sys

import psutil
import pytest
import torch

from paperlib.models.sam import build_small_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.processes import ServerError, local_servers, servers_of
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.schedule import Round
from paperlib.pedsam.split.worker import WindowBlocks

# Python runs no handler of a signal that comes just before a sleep begins: sleep in pieces.
SCRIPT = """
import signal, sys, time
def wait():
    while True:
        time.sleep(0.1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background may ignore it
from paperlib.pedsam.remote.processes import local_servers
with local_servers(2, sys.argv[2:]) as servers:
    print(*(server.process.pid for server in servers), servers[0].process.ppid(), flush=True)
    {"fail": lambda: 1 / 0, "wait": wait, "pass": int}[sys.argv[1]]()
"""


@pytest.mark.parametrize(
    ("end", "number"),
    [("pass", None), ("fail", None), ("wait", signal.SIGINT), ("wait", signal.SIGKILL)],
)
def test_no_process_is_left(model, end, number):
    pipe = subprocess.PIPE
    starter = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, end, *model], stdout=pipe, stderr=subprocess.DEVNULL
    )
    with starter.stdout:
        ids = [int(word) for word in starter.stdout.readline().split()]
        assert len(set(ids)) == 3
        family = [psutil.Process(pid) for pid in ids if psutil.pid_exists(pid)]
        if number:
            assert len(family) == 3
            starter.send_signal(number)
        status = starter.wait(60)
    assert (status == 0) == (end == "pass")
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_servers_without_their_supervisor_end(model):
    with local_servers(2, model) as servers:
        servers[0].process.parent().kill()
        assert psutil.wait_procs([server.process for server in servers], timeout=60)[1] == []


def test_a_server_that_does_not_start_is_explained(tmp_path):
    missing = ["--sam", "sam-small", "--weights", str(tmp_path / "missing")]
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ServerError, match="missing/sam-small.json"), local_servers(2, missing):
        pass
    assert psutil.Process().children(recursive=True) == before


def test_servers_of_any_weights():
    sam = build_small_sam()
    with servers_of(sam, "sam-small", 2) as servers:
        before = servers[0].cpu_seconds()
        addresses = [server.address for server in servers]
        with EdgeCompute(WindowBlocks(sam.image_encoder), addresses) as edge:  # checks the weights
            for _ in range(20):
                edge.begin(torch.ones(1, 3, 320, 320)).run(
                    0, Round((0, 1), (), True), torch.zeros(1, 400, 768)
                )
        assert set(edge.table()["status"]) == {"OK"}
        assert servers[0].cpu_seconds() > before
        assert 50e6 < servers[0].peak_memory() < 5e9


@torch.no_grad()
def test_a_server_keeps_no_memory_of_what_it_computed(model, encoder):
    """Of its own, beside what all servers share: or it would keep 120 MB here."""
    images = torch.rand(10, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    with local_servers(2, model) as servers:
        with EdgeCompute(WindowBlocks(encoder), [servers[0].address]) as edge:
            PartitionedEncoder(encoder, edge)(images)
        assert servers[0].process.memory_full_info().uss < 60e6
