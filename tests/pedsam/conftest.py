"""Real server processes with the weights of a random small SAM, started once for all tests."""

import contextlib
import datetime
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from onnx import helper, numpy_helper

from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.sam import build_small_sam
from paperlib.pedsam.attacks.detectors import NETWORKS, STRIDES
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


def write_detector(network, file, nodes, constants=(), side=None):
    """An ONNX file with the network's input and outputs; those no node makes are all zero."""
    side = side or network.side
    constants, made = dict(constants), {name for node in nodes for name in node.output}
    for name, shape in network.shapes().items():
        if name not in made:
            constants[f"zero {name}"] = np.zeros(shape, np.float32)
            nodes = [*nodes, helper.make_node("Identity", [f"zero {name}"], [name])]
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    number = onnx.TensorProto.FLOAT
    entry = helper.make_tensor_value_info(network.entry, number, [1, 3, side, side])
    outputs = [helper.make_tensor_value_info(n, number, s) for n, s in network.shapes().items()]
    graph = helper.make_graph(nodes, "g", [entry], outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(model.SerializeToString())


def blue(network, channels):
    """Nodes that make the cells' share of blue, 0 to 1, at the top left of each of stride 8.

    They are the score of the first kind; the others get none.
    """
    cells = (network.side // STRIDES[0]) ** 2
    constants = {
        "from": np.zeros(3, np.int64),
        "to": np.array([1, network.side, network.side]),
        "axes": np.arange(1, 4),
        "steps": np.array([1, STRIDES[0], STRIDES[0]]),
        "scale": np.float32(network.deviation[0] / 255),
        "shift": np.float32(network.mean[0] / 255),
        "shape": np.array([1, cells, 1]),
        "pads": np.array([0, 0, 0, 0, 0, channels - 1]),
    }
    nodes = [
        helper.make_node("Slice", [network.entry, "from", "to", "axes", "steps"], ["sliced"]),
        helper.make_node("Mul", ["sliced", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
        helper.make_node("Reshape", ["shifted", "shape"], ["flat"]),
        helper.make_node("Pad", ["flat", "pads"], ["blue"]),
    ]
    return nodes, constants


@pytest.fixture(scope="session")
def detectors(tmp_path_factory):
    """A folder of two files with the detectors' inputs and outputs, which find what is blue.

    Where the pixel at the top left of a cell of stride 8 is blue there is an object of category 0,
    as large as the distances of equal logits say, and a face of the cell's size.
    """
    folder = tmp_path_factory.mktemp("detectors")
    objects, faces = NETWORKS["objects"], NETWORKS["faces"]
    nodes, constants = blue(objects, 80)
    nodes.append(helper.make_node("Identity", ["blue"], ["792"]))
    write_detector(objects, folder / objects.file, nodes, constants)
    nodes, constants = blue(faces, 1)
    nodes += [helper.make_node("Identity", ["blue"], [name]) for name in ("cls_8", "obj_8")]
    write_detector(faces, folder / faces.file, nodes, constants)
    return folder
