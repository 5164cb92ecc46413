"""Pictures: what is encoded more than once, whole, in crops or in frames, adds up in its pixels.

A server that is sent one window of a picture and another window of a crop of it has seen both. So
what each may see is kept in the coordinates of the picture, in the pixels that its windows are made
of (`paperlib.pedsam.split.pixels`). Of a picture that nobody opened, the edge knows the pixels that
the encoder gets, and counts those.

Pictures of which the same pixels were encoded, whole or in crops, share them whatever their names:
what a server sees of one of them there, it has seen of the other.
"""

import contextlib
import hmac
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.files import fingerprint
from paperlib.pedsam.split.partition import Box, WindowGrid, area, bound, content_size
from paperlib.pedsam.split.pixels import Canvas, reach, resized, seen, windows_in

if TYPE_CHECKING:
    from paperlib.pedsam.remote.edge import EdgeCompute


@dataclass(eq=False)
class Picture:
    """What servers may see of one picture.

    Attributes:
        number: from 0, in the order in which they are met.
        height, width: in pixels; of a picture that nobody opened, those of its content as encoded.
        limit: most pixels of it that a server may see.
        video: its pixels change from frame to frame.
        granted: boxes of it that each server may have been sent.
        encoded: of each crop the fingerprint of what was encoded.
        shared: with other pictures the boxes here and there that show the same.
    """

    number: int
    height: int
    width: int
    limit: int
    video: bool = False
    granted: dict[str, set[Box]] = field(default_factory=lambda: defaultdict(set))
    encoded: dict[Box, str] = field(default_factory=dict)
    shared: dict["Picture", set[tuple[Box, Box]]] = field(default_factory=lambda: defaultdict(set))

    @property
    def whole(self) -> Box:
        """All of it."""
        return 0, 0, self.height, self.width

    def share(self, here: Box, other: "Picture", there: Box) -> None:
        """From now on, what is seen in `here` is seen in `there` of another picture, too."""
        if (here, there) not in self.shared[other]:
            self.shared[other].add((here, there))
            for server, boxes in list(self.granted.items()):
                self.grant(server, boxes)

    def spread(self, boxes: Iterable[Box]) -> dict["Picture", set[Box]]:
        """These boxes of this picture, and where they lie in those that share pixels with it."""
        found, order = {self: set(boxes)}, [self]
        for number, picture in enumerate(order):  # which grows
            for other, same in picture.shared.items():
                moved = {reach(box, *each) for box in found[picture] for each in same}
                moved = {box for box in moved if area(box)}
                if moved and other not in found:
                    found[other] = set()
                    order.append(other)
                if other in order[number + 1 :]:
                    found[other] |= moved
        return found

    def grant(self, server: str, boxes: Iterable[Box]) -> None:
        """Have a server see boxes of this picture."""
        for picture, moved in self.spread(boxes).items():
            picture.granted[server] |= moved

    def keeps(self, server: str, boxes: Collection[Box]) -> bool:
        """Whether a server keeps the limit of this picture when it sees these boxes of it too."""
        most = max(self.limit, seen(self.granted[server]))  # over it, what is new is too much
        return seen(self.granted[server].union(boxes)) <= most

    def fits(self, server: str, boxes: Collection[Box]) -> bool:
        """The same, also of the limits of all pictures that share pixels with this one."""
        return all(picture.keeps(server, each) for picture, each in self.spread(boxes).items())


class View:
    """What servers see of one picture, while the windows of an image are given away."""

    def __init__(
        self,
        windows: Sequence[Collection[Box]],
        granted: Sequence[Collection[Box]],
        limit: int,
    ) -> None:
        """Of the boxes of each window, and of those that each server has been sent before.

        A server may see `limit` pixels; one that has seen more, nothing new.
        """
        canvas = Canvas([box for boxes in (*windows, *granted) for box in boxes])
        self._areas = canvas.areas
        self._windows = np.array([canvas.mask(boxes) for boxes in windows])
        self._seen = np.array([canvas.mask(boxes) for boxes in granted])
        self._limits = [max(limit, int(self._areas[mine].sum())) for mine in self._seen]

    def gains(self) -> Int[np.ndarray, "servers windows"]:
        """Pixels of each window that each server has not seen."""
        new = (~self._seen * self._areas).reshape(len(self._seen), -1)
        return new @ self._windows.reshape(len(self._windows), -1).T

    def allows(self, server: int, window: int) -> bool:
        """Whether a server that is given this window too keeps its limit."""
        together = self._seen[server] | self._windows[window]
        return bool(self._areas[together].sum() <= self._limits[server])

    def give(self, server: int, window: int) -> None:
        """Have a server see a window."""
        self._seen[server] |= self._windows[window]


class Sight:
    """What servers see of an image and of its picture, for `partition.assign`."""

    def __init__(self, found: "Found", servers: Sequence[str]) -> None:
        """Before any window of an image is given to one of these servers."""
        spread = [found.picture.spread([box]) for box in found.places]
        self._views = [
            View(
                [boxes.get(picture, ()) for boxes in spread],
                [picture.granted[server] for server in servers],
                picture.limit,
            )
            for picture in dict.fromkeys(picture for boxes in spread for picture in boxes)
        ]
        self._gains = self._views[0].gains()  # of the picture itself
        own = [[box] for box in found.places]
        self._views.append(View(own, [()] * len(servers), found.most))

    def gain(self, server: int, window: int) -> int:
        """Pixels of a window that a server had not seen before this image."""
        return int(self._gains[server, window])

    def allows(self, server: int, window: int) -> bool:
        """Whether a server that is given this window too sees no more than it may."""
        return all(view.allows(server, window) for view in self._views)

    def give(self, server: int, window: int) -> None:
        """Have a server see a window."""
        for view in self._views:
            view.give(server, window)


@dataclass(frozen=True)
class Found:
    """An image of a picture.

    Attributes:
        number: of the image: a hash of its pixels, keyed with the secret of the edge. It stays
            there, and is the same if they come again, also in another run: a random assignment,
            which it decides, is then the same, so that a restart shows no server more.
        picture: what it shows.
        crop: of the picture, which the image is.
        sizes: pixels of content of each window, in the encoder.
        places: pixels of the picture that each window is made of.
        most: pixels of the crop that a server may see in this image.
    """

    number: int
    picture: Picture
    crop: Box
    sizes: Sequence[int]
    places: Sequence[Box]
    most: int


class Pictures:
    """All pictures that one edge device has met, and the one that is open."""

    def __init__(
        self, grid: WindowGrid, patch: int, servers: int, share: float | None, secret: bytes
    ) -> None:
        """Of an encoder's windows.

        Args:
            grid, patch: of the encoder.
            servers: how many.
            share: of a picture that a server may see; its `bound` if None.
            secret: of the edge.
        """
        self.grid, self.patch, self.servers, self.share = grid, patch, servers, share
        self._secret = secret
        self._count = itertools.count()
        self._named: dict[str, Picture] = {}
        self._known: dict[str, tuple[Picture, Box]] = {}  # by fingerprint of the pixels
        self._open: tuple[Picture, Box] | None = None  # and the crop of it

    def limit(self, crop: Box, places: Sequence[Box]) -> int:
        """Most pixels of a crop that a server may see where the windows have these places."""
        if self.share is None:
            return bound([*map(area, places)], self.servers, area(crop))
        return int(self.share * area(crop))

    @contextlib.contextmanager
    def open(
        self,
        name: str,
        height: int,
        width: int,
        video: bool,
        seen: Mapping[str, Collection[Box]],
    ) -> Iterator[None]:
        """Count all that is encoded in this context as one picture.

        That is the whole picture, or what `crop` says. Without this context, equal pixels are one
        picture, and crops are pictures of their own. Equal pixels are shared under every name.

        Args:
            name: opened again, it goes on.
            height, width: in pixels.
            video: the images are its frames; else other pixels in the same place are refused.
            seen: boxes of it (top, left, bottom, right, the last two outside) that servers were
                sent before, as by another process; they count.

        Raises:
            ValueError: another picture is open; the name has another size.
        """
        if self._open:
            raise ValueError(f"picture {name!r}: another one is open")
        if name not in self._named:
            whole = 0, 0, height, width
            limit = self.limit(whole, windows_in(self.grid, self.patch, whole))
            self._named[name] = Picture(next(self._count), height, width, limit, video)
        picture = self._named[name]
        if (picture.height, picture.width, picture.video) != (height, width, video):
            raise ValueError(f"picture {name!r}: {height} × {width}, video={video} is another one")
        for server, boxes in seen.items():
            picture.grant(server, boxes)
        self._open = picture, picture.whole
        try:
            yield
        finally:
            self._open = None

    @contextlib.contextmanager
    def crop(self, left: int, top: int, right: int, bottom: int) -> Iterator[None]:
        """What is encoded in this context is this part of the open picture, in its pixels.

        Raises:
            ValueError: no picture is open; the crop is empty or not inside it.
        """
        if not self._open:
            raise ValueError("crop: open a picture first")
        picture, outer = self._open
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise ValueError(
                f"crop {(left, top, right, bottom)}: not in {picture.width} × {picture.height}"
            )
        self._open = picture, (top, left, bottom, right)
        try:
            yield
        finally:
            self._open = picture, outer

    def find(self, image: Float[Tensor, "3 size size"]) -> Found:
        """What an image, as ``Sam.preprocess`` gives it, shows.

        Raises:
            ValueError: it is not what the open picture should show.
        """
        size = content_size(image)
        contents = self.grid.contents(*size, self.patch)
        key = fingerprint(image.float())
        known = self._known.get(key)
        if self._open:
            picture, crop = self._open
            due = resized(self.grid, self.patch, crop[2] - crop[0], crop[3] - crop[1])
            if due != size:
                raise ValueError(f"image of {size} pixels in the encoder: the picture has {due}")
            if not picture.video and picture.encoded.setdefault(crop, key) != key:
                raise ValueError("image of other pixels than the open picture's: name its crop")
            if known is not None and known[0] is not picture:
                before, place = known
                before.share(place, picture, crop)
                if before in self._named.values():  # else no image will be found in it any more
                    picture.share(crop, before, place)
        elif known is not None:
            picture, crop = known
        else:
            crop = 0, 0, *size
            picture = Picture(next(self._count), *size, self.limit(crop, contents))
        self._known[key] = picture, crop
        number = int.from_bytes(hmac.digest(self._secret, key.encode(), "sha256"))
        places = [reach(box, (0, 0, *size), crop) for box in contents]
        sizes = [area(box) for box in places]
        most = min(self.limit(crop, places), bound(sizes, self.servers, area(crop)))
        return Found(number, picture, crop, [*map(area, contents)], places, most)


class AutomaticMasks(SamAutomaticMaskGenerator):
    """``SamAutomaticMaskGenerator`` that tells the edge where the crops of a picture lie.

    To be used while the picture is open (`EdgeCompute.picture`).
    """

    def __init__(self, model: Sam, edge: "EdgeCompute", **options: Any) -> None:
        """Of a SAM whose encoder computes over `edge`; `options` are those of the base class."""
        super().__init__(model, **options)
        self.edge = edge

    def _process_crop(self, image: np.ndarray, crop_box: list[int], *rest: Any) -> Any:
        with self.edge.crop(*crop_box):
            return super()._process_crop(image, crop_box, *rest)
