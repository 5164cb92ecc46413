"""Real server processes with the weights of a random small SAM, started once for all tests."""

import contextlib
import datetime
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.sam import build_small_sam
from paperlib.pedsam.remote.listener import serving
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.split.worker import WindowBlocks

FAULTY = Path(__file__).with_name("faulty_server.py")


@pytest.fixture(scope="session")
def encoder():
    """SAM's encoder with positions that matter."""
    torch.manual_seed(0)
    encoder = build_small_sam().image_encoder
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(std=0.3)
    return halve(encoder)  # as a checkpoint keeps it


@pytest.fixture(scope="session")
def worker(encoder):
    return WindowBlocks(encoder)


@pytest.fixture(scope="session")
def model(encoder, tmp_path_factory):
    """The server's options for the same weights."""
    sam, folder = build_small_sam(), tmp_path_factory.mktemp("weights")
    sam.image_encoder = encoder
    save_checkpoint(sam, "sam-small", {"architecture": "sam-small", "command": "none"}, folder)
    return ["--sam", "sam-small", "--weights", str(folder)]


@pytest.fixture(scope="session")
def servers(model):
    with local_servers(4, [*model, "--queue", "2"]) as servers:
        yield servers


@pytest.fixture
def in_process(worker):
    """Start a server in this process, to look inside it."""
    with contextlib.ExitStack() as stack:

        def start(service):
            (address,) = stack.enter_context(serving([service]))
            return address

        yield start


@pytest.fixture(scope="session")
def start_faulty(model):
    """Start servers with a fault each; gives what each says, and what they will say."""
    with contextlib.ExitStack() as stack:

        def start(*faults):
            line = [sys.executable, str(FAULTY), ",".join(faults), *model]
            line += ["--insecure", "--until-stdin-closes"]
            pipe = subprocess.PIPE
            starter = subprocess.Popen(
                line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
            )
            stack.callback(end, starter)
            said = {}
            for _ in range(2 * len(faults)):  # its fault, then that it serves
                words = json.loads(starter.stdout.readline())
                said[words["pid"]] = said.get(words["pid"], {}) | words
            return list(said.values()), starter.stdout

        def end(starter):
            for child in psutil.Process(starter.pid).children():
                child.kill()
            starter.wait(60)
            starter.stdin.close()
            starter.stdout.close()

        yield start


@pytest.fixture(autouse=True)
def restored():
    """Where the logs of a server's command went in this process, they go no more."""
    before = logging.root.handlers[:], logging.root.level, sys.excepthook, threading.excepthook
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:], level, sys.excepthook, threading.excepthook = before
    logging.root.setLevel(level)


@pytest.fixture
def redated():
    """Have the certificate of a folder below its authority's last from one day to another."""

    def change(folder, kind, begins, ends):
        path, key = folder / f"{kind}.pem", (folder.parent.parent / "ca.key").read_bytes()
        old = x509.load_pem_x509_certificate(path.read_bytes())
        now = datetime.datetime.now(datetime.UTC)
        new = x509.CertificateBuilder(
            *(old.issuer, old.subject, old.public_key(), old.serial_number),
            *(now + datetime.timedelta(days=days) for days in (begins, ends)),
            list(old.extensions),
        ).sign(serialization.load_pem_private_key(key, None), hashes.SHA256())
        path.write_bytes(new.public_bytes(serialization.Encoding.PEM))

    return change
