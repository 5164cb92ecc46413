"""PED-SAM over several hosts: an edge and two servers, each in a network namespace of its own.

As README says for servers on several hosts: certificates by address, mutual TLS, real processes;
the only way between them is a cable each from the edge. The images are more than the system takes
while a cable is cut.
"""

import contextlib
import json
import subprocess
import sys
import uuid

import pytest
import torch

from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.sam import build_small_sam
from paperlib.pedsam.remote.certificates import make_certificates

ADDRESSES = ("192.0.2.6", "192.0.2.10")  # of the servers; the edge has the ones before
EDGE = """
import json
import sys
from pathlib import Path

import torch

from paperlib.models.sam import load_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks

weights, certificates, *servers = sys.argv[1:]
encoder = load_sam("sam-small", Path(weights)).image_encoder
image = torch.randn(4, 3, encoder.img_size, encoder.img_size, generator=torch.Generator())
how = {"certificates": Path(certificates), "deadline": 5.0}
with torch.no_grad(), EdgeCompute(WindowBlocks(encoder), servers, **how) as edge:
    def difference():
        return (PartitionedEncoder(encoder, edge)(image) - encoder(image)).abs().max().item()

    both = difference()
    statuses = edge.table().groupby("server").status.unique().map(list).to_dict()
    print("ready", flush=True)
    sys.stdin.readline()
    one = difference()
    print(json.dumps({
        "differences": [both, one],
        "statuses": statuses,
        "last": edge.table().groupby("server").status.last().to_dict(),
        "shares": edge.ledger.exposure().share.max(),
    }))
"""


def ip(*words: str) -> None:
    """Run ``ip``; what it complains of is shown."""
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def hosts():
    """Names of three namespaces: the edge, and two servers with a cable to it each."""
    mark = uuid.uuid4().hex[:6]
    edge, *servers = names = [f"pedsam-{mark}-{host}" for host in ("edge", "server0", "server1")]
    with contextlib.ExitStack() as stack:
        for name in names:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "delete", name)
            ip("-n", name, "link", "set", "lo", "up")
        for number, (server, address) in enumerate(zip(servers, ADDRESSES, strict=True)):
            cable, (head, tail) = f"cable{number}", address.rsplit(".", 1)
            ip("-n", edge, "link", "add", cable, "type", "veth", "peer", "eth0", "netns", server)
            for name, link, place in (
                (edge, cable, f"{head}.{int(tail) - 1}/30"),
                (server, "eth0", f"{address}/30"),
            ):
                ip("-n", name, "address", "add", place, "dev", link)
                ip("-n", name, "link", "set", link, "up")
        yield names


@pytest.fixture
def weights(tmp_path):
    """Folder with the weights of a random small SAM."""
    torch.manual_seed(0)
    sam = halve(build_small_sam())  # as a checkpoint keeps it
    save_checkpoint(sam, "sam-small", {"architecture": "sam-small", "command": "none"}, tmp_path)
    return tmp_path


def within(host: str, *words: str) -> list[str]:
    """A command of this Python that runs in a namespace."""
    return ["ip", "netns", "exec", host, sys.executable, *words]


def test_the_encoder_over_two_hosts_and_over_one_when_a_cable_is_cut(hosts, weights, tmp_path):
    edge, *servers = hosts
    certificates = tmp_path / "certificates"
    make_certificates(certificates, servers=ADDRESSES, clients=["edge"])
    with contextlib.ExitStack() as stack:
        for host, address in zip(servers, ADDRESSES, strict=True):
            words = ["--sam", "sam-small", "--weights", str(weights)]
            words += ["--address", f"{address}:7443"]
            words += ["--certificates", str(certificates / "servers" / address)]
            process = stack.enter_context(
                subprocess.Popen(
                    within(host, "-m", "paperlib.pedsam.remote.server", *words),
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.terminate)
            assert json.loads(process.stdout.readline())["address"] == f"{address}:7443"
        words = [str(weights), str(certificates / "clients" / "edge")]
        words += [f"{address}:7443" for address in ADDRESSES]
        pipe = subprocess.PIPE
        process = subprocess.Popen(within(edge, "-c", EDGE, *words), stdin=pipe, stdout=pipe)
        stack.enter_context(process)
        assert process.stdout.readline() == b"ready\n"
        ip("-n", edge, "link", "set", "cable1", "down")
        said = json.loads(process.communicate(b"\n")[0])
    assert max(said["differences"]) < 1e-4
    first, second = (f"{address}:7443" for address in ADDRESSES)
    assert said["statuses"] == {first: ["OK"], second: ["OK"]}
    assert said["last"][first] == "OK"
    assert said["last"][second] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert said["shares"] < 1
