"""Pictures: what is encoded more than once, whole, in crops or in frames, adds up in its pixels.

A server that is sent one window of a picture and another window of a crop of it has seen both. So
what each may see is kept in the coordinates of the picture. A window's place there is that of its
content, rounded to pixels; that resampling mixes half a pixel more at its border is not counted.
"""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from paperlib.files import fingerprint
from paperlib.pedsam.split.partition import Box, WindowGrid, area, bound, content_size

if TYPE_CHECKING:
    from paperlib.pedsam.remote.edge import EdgeCompute


@dataclass
class Picture:
    """What servers may see of one picture.

    Attributes:
        number: from 0, in the order in which they are met.
        height, width: in pixels; of a picture that nobody opened, those of its content as encoded.
        limit: most pixels of it that a server may see.
        video: its pixels change from frame to frame.
        granted: boxes of it that each server may have been sent.
        encoded: of each crop the fingerprint of what was encoded.
    """

    number: int
    height: int
    width: int
    limit: int
    video: bool = False
    granted: dict[str, set[Box]] = field(default_factory=lambda: defaultdict(set))
    encoded: dict[Box, str] = field(default_factory=dict)

    @property
    def whole(self) -> Box:
        """All of it."""
        return 0, 0, self.height, self.width

    def absorb(self, other: "Picture", source: Box, target: Box) -> None:
        """Have servers seen here what they have seen in `source` of the other, at `target`."""
        for server, boxes in other.granted.items():
            self.granted[server] |= {move(box, source, target) for box in boxes}

    def mask(self, boxes: Iterable[Box]) -> Bool[np.ndarray, "height width"]:
        """The pixels in some boxes."""
        mask = np.zeros((self.height, self.width), bool)
        for top, left, bottom, right in boxes:
            mask[top:bottom, left:right] = True
        return mask

    def seen(self, boxes: Collection[Box]) -> int:
        """Pixels in some boxes."""
        return int(self.mask(boxes).sum()) if boxes else 0

    def gains(self, server: str, boxes: Collection[Box]) -> list[int]:
        """Pixels that a server would see for the first time, box by box."""
        if not self.granted[server]:
            return [area(box) for box in boxes]
        new = ~self.mask(self.granted[server])
        return [int(new[top:bottom, left:right].sum()) for top, left, bottom, right in boxes]

    def room(self, server: str) -> int:
        """Pixels that a server may yet see for the first time."""
        return max(0, self.limit - self.seen(self.granted[server]))

    def fits(self, server: str, boxes: Collection[Box]) -> bool:
        """Whether a server keeps the limit when it is sent these boxes too."""
        together = self.granted[server].union(boxes)
        most = max(self.limit, self.seen(self.granted[server]))  # over it, what is new is too much
        return sum(map(area, together)) <= self.limit or self.seen(together) <= most


def move(box: Box, source: Box, target: Box) -> Box:
    """The place of a box of `source` in `target`, which shows the same in another size."""
    sides = []
    for k, side in enumerate(box):
        low, high = source[k % 2], source[k % 2 + 2]
        share = (min(max(side, low), high) - low) / max(1, high - low)
        sides.append(round(target[k % 2] + share * (target[k % 2 + 2] - target[k % 2])))
    return tuple(sides)


@dataclass(frozen=True)
class Found:
    """An image of a picture.

    Attributes:
        number: of the image, the same if its pixels come again.
        picture: what it shows.
        sizes: pixels of content of each window.
        places: of each window in the picture.
    """

    number: int
    picture: Picture
    sizes: Sequence[int]
    places: Sequence[Box]


class Pictures:
    """All pictures that one edge device has met, and the one that is open."""

    def __init__(self, grid: WindowGrid, patch: int, servers: int, share: float | None) -> None:
        """Of an encoder's windows.

        Args:
            grid, patch: of the encoder.
            servers: how many.
            share: of a picture that a server may see; its `bound` if None.
        """
        self.grid, self.patch, self.servers, self.share = grid, patch, servers, share
        self._count = itertools.count()
        self._named: dict[str, Picture] = {}
        self._known: dict[str, tuple[int, Picture, Box]] = {}  # by fingerprint of the pixels
        self._open: tuple[Picture, Box] | None = None  # and the crop of it

    def limit(self, sizes: Sequence[int]) -> int:
        """Most that a server may see where the windows have these sizes."""
        if self.share is None:
            return bound(sizes, self.servers)
        return int(self.share * sum(sizes))

    @contextlib.contextmanager
    def open(self, name: str, height: int, width: int, video: bool = False) -> Iterator[None]:
        """Count all that is encoded in this context as one picture.

        That is the whole picture, or what `crop` says. Without this context, equal pixels are one
        picture, and crops are pictures of their own.

        Args:
            name: opened again, it goes on.
            height, width: in pixels.
            video: the images are its frames; else other pixels in the same place are refused.

        Raises:
            ValueError: another picture is open; the name has another size.
        """
        if self._open:
            raise ValueError(f"picture {name!r}: another one is open")
        if name not in self._named:
            size, whole = self._resized(height, width), (0, 0, height, width)
            boxes = self.grid.contents(*size, self.patch)
            limit = self.limit([area(move(box, (0, 0, *size), whole)) for box in boxes])
            self._named[name] = Picture(next(self._count), height, width, limit, video)
        picture = self._named[name]
        if (picture.height, picture.width, picture.video) != (height, width, video):
            raise ValueError(f"picture {name!r}: {height} × {width}, video={video} is another one")
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
        sizes = [area(box) for box in contents]
        key = fingerprint(image.float())
        number, *known = self._known.get(key, (len(self._known),))
        if self._open:
            picture, crop = self._open
            due = self._resized(crop[2] - crop[0], crop[3] - crop[1])
            if due != size:
                raise ValueError(f"image of {size} pixels in the encoder: the picture has {due}")
            if not picture.video and picture.encoded.setdefault(crop, key) != key:
                raise ValueError("image of other pixels than the open picture's: name its crop")
            if known and known[0] is not picture:
                picture.absorb(*known, crop)
        elif known:
            picture, crop = known
        else:
            picture, crop = Picture(next(self._count), *size, self.limit(sizes)), (0, 0, *size)
        self._known[key] = number, picture, crop
        places = [move(box, (0, 0, *size), crop) for box in contents]
        return Found(number, picture, sizes, places)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in the encoder."""
        side = self.grid.tokens * self.patch
        return ResizeLongestSide.get_preprocess_shape(height, width, side)


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
