"""Some images, round after round: send each server its windows, gather the results, trust nothing.

Each round is sent to all servers at once, and results are taken as they come. Several images travel
together, a request to each server: of a small model, a request costs more than a window. Every
sending is entered in the ledger first.

A server that has failed (`paperlib.pedsam.remote.request`), or whose reply cannot be honest
(`paperlib.pedsam.remote.honesty`), is not asked again for these images: its windows are computed
here, or by a spare that has no part in them.
"""

import logging
import queue
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from paperlib.pedsam.remote import wire
from paperlib.pedsam.remote.honesty import agrees
from paperlib.pedsam.remote.request import Call, Part, Request
from paperlib.pedsam.split.schedule import Round

if TYPE_CHECKING:
    from paperlib.pedsam.remote.edge import EdgeCompute

LOG = logging.getLogger("paperlib.pedsam.remote.edge")


class ServerFailedError(RuntimeError):
    """A server failed, and nothing is to be computed in its place."""


class EdgeSession:
    """Some images, round after round.

    Attributes:
        largest: size of tokens that the wire's number format carries.
    """

    def __init__(self, edge: "EdgeCompute", images: Sequence[int], failed: set[str]) -> None:
        """Give the windows of `failed` servers to others.

        Args:
            edge: whose servers are used.
            images: numbers in the ledger.
            failed: servers and spares that are not to be asked.
        """
        self.edge, self.images, self.failed = edge, images, failed
        self.largest = wire.LARGEST[edge.form]
        self.parts: dict[str, Part] = {}  # of each server that takes part
        self.own: list[Part] = []  # computed here
        self.filling = self._part(
            {image: edge.ledger.kept(image, content=False) for image in images}
        )
        kept = self._part({image: edge.ledger.kept(image, content=True) for image in images})
        if kept.order:
            self.own.append(kept)
        for name in edge.servers:
            part = self._part({image: edge.ledger.allowed(image, name) for image in images})
            if not part.order:
                continue
            if name in failed:
                self._replace(name, part)
            else:
                self.parts[name] = part

    def run(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """Send a round to all servers, gather what comes back, make up for what does not.

        Args:
            number: of the round, for the ledger.
            turn: what the servers compute.
            values: all tokens of the images, row by row; patches of pixels if `turn` says so.

        Raises:
            WireError: `values` are not finite in the format of the wire.
            ExposureError: a server would get a window that it may not see.
        """
        edge, (n, tokens, _), given = self.edge, values.shape, values
        values = values.flatten(0, 1).float().cpu()  # as they travel
        out = torch.empty(n * tokens, edge.worker.channels)
        self._sample = {image: self._draw(image) for image in self.images}
        finished: queue.SimpleQueue[Request] = queue.SimpleQueue()
        sent: list[Request] = []

        def send(name: str) -> None:
            part = self.parts[name]
            call = self._call(number, name, part)
            request = Request(call, part, turn, values, edge.weights, edge.form)
            for image, windows in part.windows.items():
                edge.ledger.record(image, number, name, windows, turn.pixels)
            request.send(edge.connections[name], edge.deadline, finished)
            sent.append(request)

        def compute(part: Part) -> None:
            self._compute_here(number, part, turn, values, out)

        def believe(request: Request, reply: Tensor) -> bool:
            return self._believe(request, turn, values, reply)

        try:
            for name in self.parts:
                send(name)
            for part in self.own:
                compute(part)
            if self.filling.order and turn.pixels:
                rows = edge.filling(self.filling.order, turn.server_blocks)
                out[self.filling.rows] = rows
            elif self.filling.order:
                compute(self.filling)
            taken = 0
            while taken < len(sent):
                request = finished.get()
                taken += 1
                edge.calls.append(request.call)
                if not request.take(out, believe):
                    spare = self._fail(request.call)
                    if spare is None:
                        compute(request.part)
                    else:
                        send(spare)
        finally:
            for request in sent:
                request.cancel()
        self._out = out
        return out.unflatten(0, (n, tokens)).to(given)

    def again(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """Compute all windows of the last round here; servers whose replies differ have lied.

        Args:
            number, turn, values: as of the last `run`.
        """
        (n, tokens, _), replies, given = values.shape, self._out, values
        values, out = values.flatten(0, 1).float().cpu(), replies.clone()
        for name, part in list(self.parts.items()):
            self._compute_here(number, part, turn, values, out)
            if not agrees(replies[part.rows], out[part.rows], self.edge.form):
                LOG.warning("image %d: %s has lied", self.images[0], name)
                self._fail(self._call(number, name, part, status="FALSE_REPLY"))
        return out.unflatten(0, (n, tokens)).to(given)

    def _draw(self, image: int) -> set[int]:
        """Windows of an image that are computed again in a round."""
        given = [w for name in self.parts for w in self.parts[name].windows[image]]
        if self.edge.checks == "strict":
            return set(given)
        return set(self.edge.draw.sample(given, min(self.edge.checks, len(given))))

    def _believe(self, request: Request, turn: Round, values: Tensor, reply: Tensor) -> bool:
        """Whether a reply is within the range, and what was drawn of it as computed here."""
        edge, part, begun = self.edge, request.part, time.thread_time()
        windows = [(image, window) for image, each in part.windows.items() for window in each]
        drawn = [window in self._sample[image] for image, window in windows]
        sizes = torch.tensor([len(edge.worker.grid.rows([window])) for _, window in windows])
        rows = torch.tensor(drawn).repeat_interleave(sizes)
        honest = edge.range.holds(reply, values[part.rows], turn)
        if honest and any(drawn):
            order = [window for (_, window), mine in zip(windows, drawn, strict=True) if mine]
            read = wire.as_read(values[part.rows[rows]], edge.form)
            with torch.no_grad():
                due = edge.worker.anywhere(read, order, turn.server_blocks, turn.pixels)
            honest, request.call.checked = agrees(reply[rows], due, edge.form), len(order)
        request.call.check = time.thread_time() - begun
        return honest

    def _part(self, windows: Mapping[int, Collection[int]]) -> Part:
        """Some windows of each image."""
        grid = self.edge.worker.grid
        order = {image: tuple(sorted(windows[image])) for image in windows}
        rows = [k * grid.tokens**2 + grid.rows(each) for k, each in enumerate(order.values())]
        return Part(order, torch.cat(rows))

    def _fail(self, call: Call) -> str | None:
        """Leave a server out from now on; the spare that has its windows, None for the edge."""
        name = call.server
        if call.status == "FALSE_REPLY":
            self.edge.distrusted.add(name)
        self.failed.add(name)
        self.edge.forget(name)
        return self._replace(name, self.parts.pop(name))

    def _replace(self, name: str, part: Part) -> str | None:
        ledger = self.edge.ledger
        for spare in self.edge.spares:
            if spare in self.failed or not ledger.may_appoint(self.images, spare, name):
                continue
            for image in self.images:
                ledger.appoint(image, spare, instead_of=name)
            self.parts[spare] = part
            return spare
        if self.edge.fallback == "fail":
            raise ServerFailedError(f"{name} failed")
        self.own.append(part)
        return None

    def _call(self, number: int, server: str, part: Part, status: str = "OK") -> Call:
        return Call(self.images[0], len(self.images), number, server, len(part.order), status)

    def _compute_here(
        self, number: int, part: Part, turn: Round, values: Tensor, out: Tensor
    ) -> None:
        rows, blocks = part.rows, turn.server_blocks
        wall, cpu = time.perf_counter(), time.thread_time()
        with torch.no_grad():
            out[rows] = self.edge.worker.anywhere(values[rows], part.order, blocks, turn.pixels)
        call = self._call(number, "edge", part)
        call.server_seconds, call.server_cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self.edge.calls.append(call)
