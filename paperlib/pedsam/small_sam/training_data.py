"""What the small SAM is trained on: pictures, varied anew each time, and random prompts.

Pictures are drawn once, for that is slow. A cell is a pixel of the decoder's masks; the share of a
cell that an object covers, 0 to 1, is what training aims at.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from paperlib.cache import cached
from paperlib.models.sam import IMAGE, MEAN
from paperlib.pedsam.small_sam.scenes import CROWDED, draw_in_parts, split_classes
from paperlib.pedsam.small_sam.segmentation import SMALLEST

CELL = 4  # pixels: side of a cell of the decoder's masks
PADDING = 255  # in place of an object's number, where SAM pads a picture


@dataclass(frozen=True)
class Prompts:
    """Prompts of one kind, the same number for each image of a batch, in pixels (x, y)."""

    points: Float[Tensor, "prompts points 2"] | None
    boxes: Float[Tensor, "prompts 4"] | None


@dataclass(frozen=True)
class Pool:
    """Training pictures.

    Attributes:
        images: RGB, 0 to 255.
        objects: of every pixel the number of its object, from 1; 0 for the background, `PADDING`
            where there is no picture.
        smallest: share of a picture below which an object is no target.
    """

    images: UInt8[Tensor, "n 3 size size"]
    objects: UInt8[Tensor, "n size size"]
    smallest: float = SMALLEST

    def __add__(self, other: "Pool") -> "Pool":
        """The pictures of both; targets may be as small as in either."""
        images = torch.cat([self.images, other.images])
        objects = torch.cat([self.objects, other.objects])
        return Pool(images, objects, min(self.smallest, other.smallest))


def load_pool(
    scenes: int,
    seed: int,
    folder: Path | None = None,
    objects: tuple[int, int] = CROWDED,
    size: int = IMAGE,
) -> Pool:
    """Training scenes of the classes that are not held out, kept in `folder` if one is named.

    Drawing takes a tenth of a second for each.
    """
    decides = (scenes, seed, objects, size)
    classes = split_classes(held_out=False)
    return Pool(**cached(folder, partial(_draw_pool, *decides), *decides, classes))


def _draw_pool(
    scenes: int, seed: int, objects: tuple[int, int], size: int
) -> dict[str, UInt8[Tensor, "..."]]:
    images, owners = [], []
    number = torch.arange(1, objects[1] + 1).view(-1, 1, 1)
    for drawn in draw_in_parts("train", scenes, seed, size, objects):
        images.append(drawn.images)
        owners.append((drawn.masks * number).sum(1).to(torch.uint8))  # masks do not overlap
    return {"images": torch.cat(images), "objects": torch.cat(owners)}


def vary(
    pool: Pool, indices: Int[Tensor, " n"], draw: torch.Generator
) -> tuple[Float[Tensor, "n 3 size size"], UInt8[Tensor, "n size size"]]:
    """Zoom, shift, mirror, transpose and recolour: pixels 0 to 255, and whose they are."""
    images, objects = pool.images[indices], pool.objects[indices]
    n, _, size, _ = images.shape
    zoom = torch.empty(n).uniform_(0.55, 1, generator=draw)  # side of what is kept
    shift = (1 - zoom)[:, None] * torch.empty(n, 2).uniform_(-1, 1, generator=draw)
    mirror = torch.randint(2, (n, 2), generator=draw) * 2 - 1
    transpose = torch.randint(2, (n, 1, 1), generator=draw).bool()
    axes = torch.diag_embed(zoom[:, None] * mirror)  # (n, 2, 2)
    axes = torch.where(transpose, axes.flip(1), axes)
    places = torch.cat([axes, shift[:, :, None]], 2)
    grid = F.affine_grid(places, [n, 1, size, size], align_corners=False)
    sample = partial(F.grid_sample, grid=grid, padding_mode="border", align_corners=False)
    moved = sample(images.float())
    owned = sample(objects[:, None].float(), mode="nearest")[:, 0].to(torch.uint8)
    gain = torch.empty(n, 3, 1, 1).uniform_(0.8, 1.2, generator=draw)
    bias = torch.empty(n, 1, 1, 1).uniform_(-25, 25, generator=draw)
    moved = (moved * gain + bias).clamp(0, 255)
    mean = torch.tensor(MEAN).view(3, 1, 1)  # what SAM pads with
    return torch.where((owned == PADDING)[:, None], mean, moved), owned


def pick_objects(
    objects: UInt8[Tensor, "n size size"], smallest: float, count: int, draw: torch.Generator
) -> Bool[Tensor, "prompts size size"]:
    """Masks of `count` objects of every image, by chance.

    Of those that are large enough if there are any, else rather of the larger ones.
    """
    numbers = torch.arange(1, PADDING)
    areas = torch.stack([each.flatten().bincount(minlength=PADDING + 1) for each in objects])
    area = areas[:, 1:PADDING] / objects[0].numel()  # (n, numbers)
    weights = (area >= smallest).float() + 1e-6 * area + 1e-12
    chosen = numbers[torch.multinomial(weights, count, replacement=True, generator=draw)]
    return (objects[:, None] == chosen[:, :, None, None]).flatten(0, 1)


def in_cells(masks: Bool[Tensor, "prompts size size"]) -> Float[Tensor, "prompts cells cells"]:
    """The share of every cell that a mask covers."""
    return F.avg_pool2d(masks.float(), CELL)


def random_boxes(
    masks: Bool[Tensor, "prompts size size"], jitter: float, draw: torch.Generator
) -> Prompts:
    """The box around every object, inside the image; of an empty mask, the whole image.

    Its sides are moved by normal noise whose standard deviation is `jitter` times their length.
    """
    size, sides = masks.shape[-1], []
    for axis in (1, 2):  # over rows: the columns that it covers; then over columns
        line = masks.any(axis).int()
        sides.append(torch.stack([line.argmax(1), size - 1 - line.flip(1).argmax(1)], 1))
    box = torch.stack(sides, 2).flatten(1).float()  # (prompts, 4): x0 y0 x1 y1
    lengths = (box[:, 2:] - box[:, :2] + 1).repeat(1, 2)
    noise = torch.randn(box.shape, generator=draw).clamp(-2, 2)
    return Prompts(None, (box + jitter * lengths * noise).clamp(0, size - 1))


def random_points(
    shares: Float[Tensor, "prompts cells cells"], count: int, draw: torch.Generator
) -> Prompts:
    """`count` points inside every object; a single one rather in its middle than at its edge."""
    inside = (shares > 0.9).float() + 1e-4 * shares + 1e-12
    if count == 1:
        inside = inside * F.avg_pool2d(shares, 9, 1, 4, count_include_pad=True) ** 3 + 1e-12
    chosen = torch.multinomial(inside.flatten(1), count, replacement=True, generator=draw)
    columns = shares.shape[-1]
    corner = torch.stack([chosen % columns, chosen // columns], -1) * CELL
    within = torch.rand(corner.shape, generator=draw) * CELL - 0.5
    return Prompts(corner + within, None)
