"""Messages: what is written is read back, and what cannot have been written is refused."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from paperlib.models.sam import build_small_sam
from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote.wire import (
    WireError,
    decode,
    encode,
    request_bytes,
    request_rows,
    tensor,
    worker_fingerprint,
)
from paperlib.pedsam.split.worker import WindowBlocks

ROOT = Path(__file__).parents[3]
matrices = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(matrices)
def test_float32_is_exact(values):
    message = pb.Tensor.FromString(encode(torch.from_numpy(values)).SerializeToString())
    np.testing.assert_array_equal(decode(message, *values.shape), values)


@given(matrices)
def test_float16_is_rounded_to_nearest(values):
    ours = decode(encode(torch.from_numpy(values), "float16"), *values.shape)
    np.testing.assert_array_equal(ours, values.astype(np.float16).astype(np.float32))


@given(matrices)
def test_int8_is_off_by_half_a_step_at_most(values):
    ours = decode(encode(torch.from_numpy(values), "int8"), *values.shape)
    step = np.abs(values).max(1, keepdims=True) / 127
    assert (np.abs(ours - values) <= step * 0.5001 + 1e-38).all()


def test_int8_by_hand():
    values = torch.tensor([[12.7, -6.4, 0.04], [0, 0, 0], [-254, 127, 2]])
    message = encode(values, "int8")
    assert np.frombuffer(message.values, np.int8).tolist() == [127, -64, 0, 0, 0, 0, -127, 64, 1]
    np.testing.assert_allclose(np.frombuffer(message.scales, "<f4"), [0.1, 0, 2], rtol=1e-6)


@pytest.mark.parametrize(("form", "size"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_bytes_of_a_message(form, size):
    values = torch.randn(100, 64)
    scales = 400 if form == "int8" else 0
    length = len(encode(values, form).SerializeToString())
    assert 6400 * size + scales <= length <= 6400 * size + scales + 32


def test_float32_is_a_view_and_no_warning_comes_from_torch():
    message = encode(torch.randn(5, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = decode(message, 5, 3)
        assert not array.flags.owndata and not array.flags.writeable
        ours = tensor(array)
    ours.add_(1)
    np.testing.assert_array_equal(decode(message, 5, 3), array)
    half = decode(encode(torch.randn(5, 3), "float16"), 5, 3)
    assert tensor(half).data_ptr() == half.ctypes.data


@pytest.mark.parametrize(
    ("values", "form"),
    [(float("nan"), "float32"), (float("inf"), "int8"), (-7e4, "float16"), (float("nan"), "int8")],
)
def test_what_a_format_cannot_carry(values, form):
    with pytest.raises(WireError, match=f"not finite as {form}"):
        encode(torch.tensor([[0, values]]), form)


def test_unknown_format_is_named():
    with pytest.raises(ValueError, match="form='float64': valid are float32, float16, int8"):
        encode(torch.zeros(1, 1), "float64")


def damaged(form="float32", **changes):
    message = encode(torch.ones(2, 3), form)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (damaged(format=0), "format 0: valid are float32"),
        (damaged(format=77), "format 77"),
        (damaged(rows=3), r"shape \(3, 3\): expected \(2, 3\)"),
        (damaged(features=2**32 - 1), "expected"),
        (damaged(values=b"1234"), "values of 4 bytes: 24 are due"),
        (damaged(scales=b"12345678"), "scales of 8 bytes: 0 are due"),
        (damaged("int8", scales=b"1234"), "scales of 4 bytes: 8 are due"),
        (damaged("int8", scales=np.float32([1, np.nan]).tobytes()), "scales: not finite"),
        (damaged("int8", scales=np.float32([1, -1]).tobytes()), "below 0"),
        (damaged("int8", scales=np.float32([1, 3e38]).tobytes()), "values: not finite"),
        (damaged("int8", values=b"\x80" + bytes(5)), "-128"),
        (damaged(values=np.float32([0, 0, np.inf, 0, 0, 0]).tobytes()), "values: not finite"),
        (damaged("float16", values=np.float16([np.nan] * 6).tobytes()), "values: not finite"),
    ],
)
def test_damaged_messages_are_refused(message, words):
    with pytest.raises(WireError, match=words):
        decode(message, 2, 3)


def test_fingerprint_is_of_weights_and_geometry():
    torch.manual_seed(0)
    encoder = build_small_sam().image_encoder
    first = worker_fingerprint(WindowBlocks(encoder))
    assert first == worker_fingerprint(WindowBlocks(encoder)) and len(first) == 16
    with torch.no_grad():
        encoder.blocks[2].mlp.lin1.bias[0] += 1  # of a global block, which no server has
    assert worker_fingerprint(WindowBlocks(encoder)) == first
    heads = encoder.blocks[0].attn.num_heads
    encoder.blocks[0].attn.num_heads = heads + 1
    assert worker_fingerprint(WindowBlocks(encoder)) != first
    encoder.blocks[0].attn.num_heads = heads
    with torch.no_grad():
        encoder.blocks[4].attn.rel_pos_h[0, 0] += 1e-6
    assert worker_fingerprint(WindowBlocks(encoder)) != first


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_the_largest_request_fits(form):
    worker = WindowBlocks(build_small_sam().image_encoder)
    rows = request_rows(worker)
    values = encode(torch.randn(rows, 3 * worker.patch**2), form)
    request = pb.ComputeRequest(
        weights="0" * 16, blocks=range(6), windows=[*range(16)] * 10, pixels=True, values=values
    )
    assert rows == 4000
    assert request.ByteSize() <= request_bytes(worker, rows)


def test_generated_code_is_that_of_the_schema(tmp_path):
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, "paperlib/pedsam/remote/pedsam.proto"], cwd=ROOT, check=True)
    for name in ("pedsam_pb2.py", "pedsam_pb2.pyi"):
        made = tmp_path / "paperlib/pedsam/remote" / name
        assert made.read_text() == (ROOT / "paperlib/pedsam/remote" / name).read_text()
