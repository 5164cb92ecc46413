"""The exposure ledger: which windows of which image each server has been sent, and when.

Every sending is entered before it happens, so whatever leaves the edge is in the ledger, also what
a failing server may never have read. A window that a server may not have never leaves: the entry
fails first. A server may have the windows of its assignment; a spare takes over those of one failed
server, and only if it has seen nothing of the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

COLUMNS = ("image", "round", "server", "window", "pixels")


class ExposureError(RuntimeError):
    """A server was about to get windows that it may not see."""


@dataclass
class Ledger:
    """Entries of one edge device.

    Attributes:
        windows: of an image.
    """

    windows: int
    _allowed: dict[int, dict[str, frozenset[int]]] = field(default_factory=dict, repr=False)
    _entries: list[tuple[int, int, str, int, bool]] = field(default_factory=list, repr=False)

    def begin(self, assignment: Sequence[int], servers: Sequence[str]) -> int:
        """Start an image.

        Args:
            assignment: for each window the place in `servers` of the one that may see it.
            servers: their names.

        Returns:
            The image's number, from 0.

        Raises:
            ValueError: another number of windows, a server that does not exist or stands twice.
        """
        if len(assignment) != self.windows:
            raise ValueError(f"assignment of {len(assignment)} windows: expected {self.windows}")
        if len(set(servers)) != len(servers):
            raise ValueError(f"servers {list(servers)}: one stands twice")
        if not set(assignment) <= set(range(len(servers))):
            raise ValueError(f"assignment to servers that are not 0 to {len(servers) - 1}")
        image = len(self._allowed)
        self._allowed[image] = {
            name: frozenset(w for w, owner in enumerate(assignment) if owner == place)
            for place, name in enumerate(servers)
        }
        return image

    def allowed(self, image: int, server: str) -> frozenset[int]:
        """Windows of an image that a server may be sent; none for one that has no part in it."""
        return self._allowed[image].get(server, frozenset())

    def appoint(self, image: int, spare: str, instead_of: str) -> None:
        """Let a spare have the windows of a failed server.

        Raises:
            ExposureError: the spare has, or may have, windows of this image.
        """
        if self.allowed(image, spare):
            raise ExposureError(f"{spare} has a part in image {image} and can take no other")
        self._allowed[image][spare] = self.allowed(image, instead_of)

    def record(
        self, image: int, number: int, server: str, windows: Iterable[int], pixels: bool
    ) -> None:
        """Enter what is about to be sent in round `number`; call it before sending.

        Raises:
            ExposureError: the server may not see one of the windows; nothing is entered.
        """
        windows = list(windows)
        beyond = sorted(set(windows) - self.allowed(image, server))
        if beyond:
            raise ExposureError(
                f"image {image}, round {number}: windows {beyond} are not assigned to {server}"
            )
        self._entries += [(image, number, server, window, pixels) for window in windows]

    def table(self) -> pd.DataFrame:
        """All entries, a row for each window sent: image, round, server, window, pixels."""
        return pd.DataFrame(self._entries, columns=list(COLUMNS))

    def exposure(self) -> pd.DataFrame:
        """Per image and server: share of the windows that it was sent (0 to 1), and rounds."""
        groups = self.table().groupby(["image", "server"])
        table = groups.agg(windows=("window", "nunique"), rounds=("round", "nunique"))
        return table.assign(share=table["windows"] / self.windows).reset_index()
