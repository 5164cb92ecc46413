"""What tests ask a server over gRPC: requests that are answered, and others."""

import contextlib

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.connection import Connection

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
