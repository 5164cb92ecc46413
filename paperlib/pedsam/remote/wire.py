r"""Matrices as messages: float32, float16, or int8 with a scale for each row.

A row $x$ in int8 is $q = \operatorname{round}(x / s)$ with $s = \max |x| / 127$, read back as
$s q$, so that no value is off by more than $s/2$. Reading believes nothing: the number format, the
shape, the number of bytes and every value are checked, and nothing is ever unpickled.
"""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from paperlib.files import fingerprint
from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.split.worker import WindowBlocks

VERSION = 3  # of the protocol
SERVICE = "paperlib.pedsam.v1.WindowServer"
HEADER_BYTES = 16_384  # room in a message for all but its matrix

WireFormat = Literal["float32", "float16", "int8"]
FORMATS = {"float32": pb.FORMAT_FLOAT32, "float16": pb.FORMAT_FLOAT16, "int8": pb.FORMAT_INT8}
NAMES = {number: name for name, number in FORMATS.items()}
LARGEST = {"float32": 3e38, "float16": 65504.0, "int8": 3e38}  # value that a format carries
TYPES = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int8": np.dtype("i1")}


class WireError(ValueError):
    """A message that is not what it should be, or values that a format cannot carry."""


def encode(values: Float[Tensor, "rows features"], form: str = "float32") -> pb.Tensor:
    """A matrix as a message.

    Args:
        values: finite.
        form: float32, float16 or int8.

    Raises:
        WireError: a value is not finite, or larger than `form` can hold.
        ValueError: unknown `form`.
    """
    if form not in FORMATS:
        raise ValueError(f"form={form!r}: valid are {', '.join(get_args(WireFormat))}")
    array = values.detach().float().cpu().numpy()
    scale = np.empty(0, "<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        if form == "int8":
            scale = np.abs(array).max(1, initial=0).astype("<f4") / np.float32(127)
            array = np.rint(array / np.where(scale > 0, scale, 1)[:, None])
            array = np.clip(array, -127, 127)  # a subnormal scale is rounded coarsely
        else:
            array = array.astype(TYPES[form], copy=False)
    if not (np.isfinite(array).all() and np.isfinite(scale).all()):
        raise WireError(f"values are not finite as {form}: send them as float32, or look for NaN")
    rows, features = values.shape
    return pb.Tensor(
        format=FORMATS[form],
        rows=rows,
        features=features,
        values=array.astype(TYPES[form], copy=False).tobytes(),
        scales=scale.tobytes(),
    )


def decode(message: pb.Tensor, rows: int, features: int) -> Float32[np.ndarray, "rows features"]:
    """The matrix in a message; of float32, a view of the message's own bytes, not to be written.

    Args:
        message: from anyone.
        rows, features: what the matrix must have.

    Raises:
        WireError: unknown format, another shape, too few or too many bytes, values or scales that
            are not finite or cannot come from `encode`.
    """
    form = NAMES.get(message.format)
    if form is None:
        raise WireError(f"tensor of format {message.format}: valid are {', '.join(FORMATS)}")
    if (message.rows, message.features) != (rows, features):
        raise WireError(
            f"tensor of shape ({message.rows}, {message.features}): expected ({rows}, {features})"
        )
    for name, content, due in [
        ("values", message.values, rows * features * TYPES[form].itemsize),
        ("scales", message.scales, 4 * rows if form == "int8" else 0),
    ]:
        if len(content) != due:
            raise WireError(f"{name} of {len(content)} bytes: {due} are due for {form}")
    array = np.frombuffer(message.values, TYPES[form]).reshape(rows, features)
    if form == "int8":
        scales = np.frombuffer(message.scales, "<f4")
        if not (np.isfinite(scales).all() and (scales >= 0).all()):
            raise WireError("scales: not finite, or below 0")
        if (array == -128).any():
            raise WireError("values: -128 stands for nothing in int8")
        with np.errstate(over="ignore"):
            array = array * scales[:, None]
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise WireError("values: not finite")
    return array


def as_read(values: Float[Tensor, "rows features"], form: str) -> Float[Tensor, "rows features"]:
    """What the other side reads of values that are sent."""
    return tensor(decode(encode(values, form), *values.shape))


def tensor(array: Float32[np.ndarray, "rows features"]) -> Float32[Tensor, "rows features"]:
    """The array as a tensor that may be written, copied only where the array may not be."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def worker_fingerprint(worker: WindowBlocks) -> str:
    """Fingerprint of everything that decides what a server computes: weights and geometry."""
    heads = [block.attn.num_heads for block in worker.blocks.values()]
    return fingerprint(worker.grid, worker.patch, worker.windowed, heads, worker)


def request_rows(worker: WindowBlocks) -> int:
    """Rows of the largest request: all windows of an image, or of `WindowGrid.batch` images."""
    return worker.grid.batch * worker.grid.tokens**2


def request_bytes(worker: WindowBlocks, rows: int) -> int:
    """Length of the largest message with so many rows, whatever the format."""
    return HEADER_BYTES + rows * (4 * max(worker.channels, pixel_features(worker)) + 4)


def pixel_features(worker: WindowBlocks) -> int:
    """Features of a row of pixels."""
    return 3 * worker.patch**2
