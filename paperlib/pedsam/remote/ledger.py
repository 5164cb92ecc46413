"""The exposure ledger: which windows of which image each server has been sent, and when.

Every sending is entered before it happens, so whatever leaves the edge is in the ledger, also what
a failing server may never have read. A window that a server may not have never leaves: the entry
fails first. A server may have the windows of its assignment; a spare takes over those of one failed
server, if it has no part in the image yet. Neither gets more of an image than its bound
(`paperlib.pedsam.split.partition.bound`), nor more of a picture than its limit, both in the pixels
of the picture that windows are made of.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from paperlib.pedsam.remote.picture import Found, Picture
from paperlib.pedsam.split.partition import EDGE, Box, area, bound
from paperlib.pedsam.split.pixels import seen

COLUMNS = ("image", "round", "server", "window", "pixels")


class ExposureError(RuntimeError):
    """A server was about to get windows that it may not see."""


@dataclass(frozen=True)
class Entered:
    """An image in the ledger.

    Attributes:
        found: what it shows.
        allowed: windows that each server may be sent.
    """

    found: Found
    allowed: dict[str, frozenset[int]]

    @property
    def picture(self) -> Picture:
        """What it shows."""
        return self.found.picture

    def places(self, windows: Iterable[int]) -> set[Box]:
        """The pixels of the picture that these windows are made of."""
        return {self.found.places[window] for window in windows}

    def share(self, windows: Iterable[int]) -> float:
        """Of the pixels that the image shows, how much these windows are made of, 0 to 1."""
        return seen(self.places(windows)) / area(self.found.crop)


@dataclass
class Ledger:
    """Entries of one edge device."""

    _images: list[Entered] = field(default_factory=list, repr=False)
    _entries: list[tuple[int, int, str, int, bool]] = field(default_factory=list, repr=False)

    def begin(
        self,
        assignment: Sequence[int],
        servers: Sequence[str],
        found: Found,
    ) -> int:
        """Start an image.

        Args:
            assignment: for each window the place in `servers` of the one that may see it, or
                `EDGE`.
            servers: their names.
            found: what the image shows.

        Returns:
            The image's number, from 0.

        Raises:
            ValueError: another number of windows, a server that does not exist or stands twice.
            ExposureError: a server would get more than its bound or the picture's limit.
        """
        if len(assignment) != len(found.places):
            raise ValueError(f"assignment of {len(assignment)} windows: not {len(found.places)}")
        if len(set(servers)) != len(servers):
            raise ValueError(f"servers {list(servers)}: one stands twice")
        if not set(assignment) <= {EDGE, *range(len(servers))}:
            raise ValueError(f"assignment to servers that are not 0 to {len(servers) - 1}")
        allowed = {
            name: frozenset(w for w, owner in enumerate(assignment) if owner == place)
            for place, name in enumerate(servers)
        }
        entered, picture = Entered(found, allowed), found.picture
        most = bound([*map(area, found.places)], len(servers), area(found.crop))
        for name, windows in allowed.items():
            if seen(entered.places(windows)) > most:
                raise ExposureError(f"{name} would get more of an image than its bound")
            if not picture.fits(name, entered.places(windows)):
                raise ExposureError(f"{name} would get more of a picture than its limit")
        for name, windows in allowed.items():
            picture.grant(name, entered.places(windows))
        self._images.append(entered)
        return len(self._images) - 1

    def allowed(self, image: int, server: str) -> frozenset[int]:
        """Windows of an image that a server may be sent; none for one that has no part in it."""
        return self._images[image].allowed.get(server, frozenset())

    def kept(self, image: int, *, content: bool) -> frozenset[int]:
        """Windows of an image that no server may be sent: those with content, or those without."""
        entered = self._images[image]
        given = frozenset().union(*entered.allowed.values())
        return frozenset(w for w, n in enumerate(entered.found.sizes) if bool(n) == content) - given

    def may_appoint(self, images: Iterable[int], spare: str, instead_of: str) -> bool:
        """Whether a spare can have the windows of a failed server in all of these images.

        It must have no part in them, and keep the limits of their pictures.
        """
        places: dict[Picture, set[Box]] = defaultdict(set)
        for entered in (self._images[image] for image in images):
            if entered.allowed.get(spare):
                return False
            boxes = entered.places(entered.allowed[instead_of])
            for picture, each in entered.picture.spread(boxes).items():
                places[picture] |= each
        return all(picture.keeps(spare, boxes) for picture, boxes in places.items())

    def appoint(self, image: int, spare: str, instead_of: str) -> None:
        """Let a spare have the windows of a failed server.

        Raises:
            ExposureError: the spare has a part in this image, or would see too much of its picture.
        """
        if not self.may_appoint([image], spare, instead_of):
            raise ExposureError(f"{spare} can take no part in image {image}")
        entered = self._images[image]
        entered.allowed[spare] = entered.allowed[instead_of]
        entered.picture.grant(spare, entered.places(entered.allowed[spare]))

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

    def placed(self) -> pd.DataFrame:
        """The same, with the pixels of the picture that the window is made of.

        They are columns top, left, bottom and right, the last two outside.
        """
        places = [
            self._images[image].found.places[window] for image, _, _, window, _ in self._entries
        ]
        sides = pd.DataFrame(places, columns=["top", "left", "bottom", "right"], dtype=int)
        return self.table().join(sides)

    def exposure(self) -> pd.DataFrame:
        """Per image and server: windows and rounds sent, and share of its pixels (0 to 1)."""
        groups, rows = self.table().groupby(["image", "server"]), []
        for (image, server), sent in groups:
            windows = set(sent.window)
            row = {"image": image, "server": server, "windows": len(windows)}
            row |= {"rounds": sent["round"].nunique()}
            rows.append(row | {"share": self._images[image].share(windows)})
        return pd.DataFrame(rows, columns=["image", "server", "windows", "rounds", "share"])

    def stayed(self, image: int) -> float:
        """Share of an image's pixels that no server was sent anything of (0 to 1)."""
        windows = {window for number, _, _, window, _ in self._entries if number == image}
        return 1 - self._images[image].share(windows)

    def pictures(self) -> pd.DataFrame:
        """Per picture and server: images sent, and share of the picture's pixels (0 to 1).

        Among them images of other pictures that share pixels with it.
        """
        places: dict[tuple[Picture, str], set[Box]] = defaultdict(set)
        images: dict[tuple[Picture, str], set[int]] = defaultdict(set)
        for (image, server), sent in self.table().groupby(["image", "server"]):
            entered = self._images[image]
            boxes = entered.places(set(sent.window))
            for picture, each in entered.picture.spread(boxes).items():
                places[picture, server] |= each
                images[picture, server].add(image)
        rows = [
            (
                picture.number,
                server,
                len(images[picture, server]),
                seen(boxes) / area(picture.whole),
            )
            for (picture, server), boxes in places.items()
        ]
        table = pd.DataFrame(rows, columns=["picture", "server", "images", "share"])
        return table.sort_values(["picture", "server"], ignore_index=True)
