"""Servers that answer with something else than what they were asked to compute.

They speak the protocol and know the model; what they say is finite and of the right shape. Spot
checks (`paperlib.pedsam.remote.honesty`) are measured against them.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.worker import WindowBlocks

Lie = Callable[[Tensor], Tensor]
LIES: dict[str, Lie] = {
    "zeros": torch.zeros_like,
    "times 50": lambda rows: 50 * rows,
    "swapped rows": lambda rows: rows.roll(1, 0),
    "noise of 30 %": lambda rows: rows + 0.3 * rows.std() * torch.randn_like(rows),
    "1e30": lambda rows: torch.full_like(rows, 1e30),
    "3e38": lambda rows: torch.full_like(rows, 3e38),
}


class LyingService(WindowService):
    """Lies about some windows."""

    def __init__(
        self,
        worker: WindowBlocks,
        limits: Limits,
        lie: Lie,
        windows: Collection[int] | None = None,
        blocks: Collection[int] | None = None,
    ) -> None:
        """As a `WindowService`.

        Args:
            worker, limits: its.
            lie: what it makes of the rows that are due.
            windows: which it lies about; all if None.
            blocks: it lies only if it is asked for one of these; always if None.
        """
        super().__init__(worker, limits)
        self.lie, self.windows, self.blocks = lie, windows, blocks

    def run(
        self, values: Tensor, windows: Sequence[int], blocks: Sequence[int], pixels: bool
    ) -> Tensor:
        """What is due, but for the lies."""
        out, grid = super().run(values, windows, blocks, pixels).clone(), self.worker.grid
        if self.blocks is not None and not set(self.blocks) & set(blocks):
            return out
        lied = torch.tensor([self.windows is None or window in self.windows for window in windows])
        sizes = torch.tensor([len(grid.rows([window])) for window in windows])
        rows = lied.repeat_interleave(sizes)
        if rows.any():
            out[rows] = self.lie(out[rows])
        return out
