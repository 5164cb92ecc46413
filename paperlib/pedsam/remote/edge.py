"""The edge's side: which servers there are, what each may see, and what the edge does itself.

An `EdgeCompute` takes the place of `LocalCompute`. For each image it assigns windows to servers;
`paperlib.pedsam.remote.session` takes some images from round to round.

Windows that only fill a picture up to the square stay here, in every round: in the first they are
the same for every picture and computed once, later they are not, as global attention has mixed
the picture into them. So do windows that would let a server see more of a picture than its limit.

At the next images a server that has failed is tried again, after a new check of what it is. One
whose reply cannot be honest (`paperlib.pedsam.remote.honesty`) is not used any more.
"""

import logging
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import grpc
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.connection import Connection, ServerMismatchError, reason
from paperlib.pedsam.remote.honesty import Range
from paperlib.pedsam.remote.ledger import ExposureError, Ledger
from paperlib.pedsam.remote.picture import Pictures, Sight
from paperlib.pedsam.remote.request import Call
from paperlib.pedsam.remote.session import EdgeSession
from paperlib.pedsam.split.partition import EDGE, Box, assign
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runtime import giving_back

LOG = logging.getLogger("paperlib.pedsam.remote.edge")
LEAST_SECRET = 16  # bytes
CHECK_SECONDS = 5.0  # that a server has to say what it is
Fallback = Literal["edge", "spare", "fail"]


class EdgeCompute:
    """Windowed blocks on servers. A context manager; leaving it closes the connections.

    In it, memory of tensors goes back to the system at once (`paperlib.runtime.giving_back`), which
    at 1024 pixels is 0.2 GB less at the peak.

    Attributes:
        ledger: what was sent to whom.
        calls: every request so far, in the order of its end.
        distrusted: servers and spares that have lied.
    """

    def __init__(
        self,
        worker: WindowBlocks,
        servers: Sequence[str],
        *,
        assignment: str = "interleaved",
        secret: bytes = b"",
        exposure_limit: float | None = None,
        checks: int | Literal["strict"] = 0,
        form: str = "float32",
        deadline: float = 30.0,
        fallback: str = "edge",
        spares: Sequence[str] = (),
        certificates: Path | None = None,
    ) -> None:
        """Connect and check what the servers are; one that is not there is tried again later.

        Args:
            worker: the same blocks as the servers', for what the edge computes itself.
            servers: HOST:PORT of each.
            assignment: contiguous, interleaved or random (see `partition.assign`).
            secret: decides a random assignment and which windows are checked, 16 bytes or more;
                without one the latter come from the system. With the same one, the same picture
                is assigned alike in every run.
            exposure_limit: share of a picture's pixels that a server may see, above 0, in all its
                encodings together; `partition.bound` of the whole picture if None.
            checks: windows of an image that are computed again here in each round, to compare with
                the replies; strict: all of them.
            form: of numbers on the wire: float32, float16 or int8.
            deadline: seconds that a server has for one call.
            fallback: what is done with the windows of a server that fails: edge computes them;
                spare has a spare do it, and the edge once no spare is left; fail raises, and so
                it does at the exposure limit, where with the others the edge computes the rest.
            spares: HOST:PORT of servers that stand by.
            certificates: the client's folder (see `paperlib.pedsam.remote.certificates`).

        Raises:
            ValueError: an argument out of its range, or without use beside the others.
            ServerMismatchError: a server of another version, model or weights; one that stands
                there twice, under two names.
        """
        if fallback not in get_args(Fallback):
            raise ValueError(f"fallback={fallback!r}: valid are edge, spare, fail")
        if bool(spares) != (fallback == "spare"):
            raise ValueError(f"fallback={fallback!r} with spares {list(spares)}: they go together")
        if form not in wire.FORMATS:
            raise ValueError(f"form={form!r}: valid are {', '.join(wire.FORMATS)}")
        if exposure_limit is not None and not 0 < exposure_limit <= 1:
            raise ValueError(f"exposure_limit={exposure_limit}: above 0, up to 1 is valid")
        if checks != "strict" and checks < 0:
            raise ValueError(f"checks={checks}: a number from 0, or strict, is valid")
        if 0 < len(secret) < LEAST_SECRET:
            raise ValueError(f"secret of {len(secret)} bytes: {LEAST_SECRET} or more are valid")
        if deadline <= 0:
            raise ValueError(f"deadline={deadline}: seconds above 0 are valid")
        names = [*servers, *spares]
        if len(set(names)) != len(names):
            raise ValueError(f"servers {names}: one stands twice")
        self.worker, self.form, self.deadline = worker, form, deadline
        self.servers, self.spares = tuple(servers), tuple(spares)
        self._how = (assignment, worker.grid.count, len(servers), worker.grid, secret)
        assign(*self._how)
        self.fallback, self.checks = fallback, checks
        self.draw = random.Random(secret) if secret else random.SystemRandom()  # of what is checked
        self.range, self.distrusted = Range(worker), set[str]()
        self.ledger = Ledger()
        self.calls: list[Call] = []
        self.pictures = Pictures(worker.grid, worker.patch, len(servers), exposure_limit, secret)
        self._filling: dict[tuple[int, tuple[int, ...]], Tensor] = {}  # by window and blocks
        self.weights = wire.worker_fingerprint(worker)
        limit = wire.request_bytes(worker, wire.request_rows(worker))
        self.connections = {name: Connection(name, certificates, limit) for name in names}
        self.unchecked, self._memory = set(names), ExitStack()
        self.instances: dict[bytes, str] = {}  # name of each server by what it calls itself
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "EdgeCompute":
        self._memory.enter_context(giving_back())
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()
        self.close()

    def __deepcopy__(self, memo: object) -> "EdgeCompute":
        """Itself: a copy of an encoder goes on over the same connections."""
        return self

    def close(self) -> None:
        """Close the connections."""
        for connection in self.connections.values():
            connection.channel.close()

    @property
    def batch(self) -> int:
        """Images that go together: a server takes its windows of them in one request."""
        checked = self.connections.keys() - self.unchecked
        limits = [self.connections[name].limit_rows for name in checked]
        return max(
            1, min([self.worker.grid.batch, *(n // self.worker.grid.tokens**2 for n in limits)])
        )

    def picture(
        self,
        name: str,
        height: int,
        width: int,
        *,
        video: bool = False,
        seen: Mapping[str, Collection[Box]] = MappingProxyType({}),
    ) -> AbstractContextManager[None]:
        """Count all that is encoded in this context as one picture (see `Pictures.open`)."""
        return self.pictures.open(name, height, width, video, seen)

    def crop(self, left: int, top: int, right: int, bottom: int) -> AbstractContextManager[None]:
        """Within `picture`: what is encoded is this part of it (see `Pictures.crop`)."""
        return self.pictures.crop(left, top, right, bottom)

    def begin(self, images: Float[Tensor, "n 3 size size"]) -> EdgeSession:
        """Start some images: assign their windows, and try again the servers that failed before.

        Raises:
            ExposureError: at the exposure limit, with `fallback` fail.
            ValueError: an image that is not what the open picture should show.
        """
        numbers = [self._enter(image) for image in images]
        try:
            self._check()
        except ServerMismatchError as error:  # it was another one when this run began
            LOG.warning("%s; it is not used", error)
        return EdgeSession(self, numbers, set(self.unchecked))

    def filling(
        self, windows: Sequence[int], blocks: tuple[int, ...]
    ) -> Float[Tensor, "rows channels"]:
        """What the first round makes of windows without content; computed once."""
        grid, features = self.worker.grid, wire.pixel_features(self.worker)
        for window in windows:
            if (window, blocks) not in self._filling:
                zeros = torch.zeros(len(grid.rows([window])), features)
                with torch.no_grad():
                    self._filling[window, blocks] = self.worker.anywhere(
                        zeros, [window], blocks, True
                    )
        return torch.cat([self._filling[window, blocks] for window in windows])

    def table(self) -> pd.DataFrame:
        """`calls`, a row each, with the fields of `Call` as columns."""
        names = [field.name for field in fields(Call)]
        return pd.DataFrame([asdict(call) for call in self.calls], columns=names)

    def forget(self, server: str) -> None:
        """Have a server checked again before it is used for another image."""
        self.unchecked.add(server)

    def _enter(self, image: Float[Tensor, "3 size size"]) -> int:
        """Assign the windows of an image; its number in the ledger."""
        found = self.pictures.find(image)
        assignment = assign(
            *self._how,
            found.number,
            sizes=found.sizes,
            sight=Sight(found, self.servers),
        )
        kept = [size for owner, size in zip(assignment, found.sizes, strict=True) if owner == EDGE]
        if self.fallback == "fail" and any(kept):
            raise ExposureError("servers have seen as much of the picture as they may")
        return self.ledger.begin(assignment, self.servers, found)

    def _check(self) -> None:
        """Check the servers that are new or have failed; those in order leave `unchecked`."""
        ask, seconds = pb.DescribeRequest().SerializeToString(), min(self.deadline, CHECK_SECONDS)
        asked = {
            name: self.connections[name].describe.future(ask, timeout=seconds)
            for name in sorted(self.unchecked - self.distrusted)
        }
        mismatches = []
        for name, answer in asked.items():
            try:
                instance = self.connections[name].check(answer.result(), self.worker, self.weights)
                other = self.instances.setdefault(instance, name)
                if other != name:
                    raise ServerMismatchError(f"servers {other} and {name} are one")
            except grpc.RpcError as error:
                LOG.warning("%s cannot be reached: %s", name, reason(error))
                continue
            except ServerMismatchError as error:
                mismatches.append(error)
                continue
            self.unchecked.discard(name)
        if mismatches:
            raise mismatches[0]
