r"""Strong augmentation of photographs, on the device that they are on, with torch's generator.

`warp_and_colour` crops at random (area 25 to 100 %, aspect 3/4 to 4/3), mirrors, turns, shears and
changes brightness, contrast and saturation. `mix` puts a part of another image of the batch into
each: a box of it, as CutMix does (Yun et al., arXiv 1905.04899), or a share of every pixel, as
mixup does (Zhang et al., arXiv 1710.09412),

$$x_i \leftarrow (1 - m_i)\,x_i + m_i\,x_{\pi(i)}, \qquad s_i = \operatorname{mean}(m_i),$$

with shares up to one half, so that an image is still mostly itself.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

AREA, ASPECT = (0.25, 1.0), (3 / 4, 4 / 3)  # of a crop
TURN, SHEAR = math.radians(15), 0.15  # at the most, either way
COLOUR = 0.4  # factors are 1 ± this
MIXED = 0.8  # of the images get a part of another


def warp_and_colour(images: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 3 size size"]:
    """Every image cropped, mirrored, turned, sheared and coloured anew; 0 to 1 before and after."""
    n, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, device=device) * (high - low) + low

    area = uniform(*AREA)
    aspect = uniform(math.log(ASPECT[0]), math.log(ASPECT[1])).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    x, y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)  # the crop's centre
    turn, shear = uniform(-TURN, TURN), uniform(-SHEAR, SHEAR)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = turn.cos(), turn.sin()
    rows = [
        torch.stack([width * mirror * cos, width * (shear * cos - sin), x], 1),
        torch.stack([height * mirror * sin, height * (shear * sin + cos), y], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    brightness, contrast, saturation = (
        uniform(1 - COLOUR, 1 + COLOUR)[:, None, None, None] for _ in range(3)
    )
    images = images * brightness
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * contrast
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * saturation).clamp(0, 1)


def mix(
    images: Float[Tensor, "n 3 size size"],
) -> tuple[Float[Tensor, "n 3 size size"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Mixed images; which other image each got a part of; its share, 0 to ½."""
    n, _, size, _ = images.shape
    device = images.device
    other = torch.randperm(n, device=device)
    share = torch.rand(n, device=device) / 2 * (torch.rand(n, device=device) < MIXED)
    side = (share.sqrt() * size)[:, None]
    start = torch.rand(2, n, 1, device=device) * (size - side)
    place = torch.arange(size, device=device) + 0.5
    across, down = ((place >= s) & (place < s + side) for s in start)  # (n, size)
    box = (down[:, :, None] & across[:, None, :]).float()
    boxed = torch.rand(n, device=device) < 0.5
    mask = torch.where(boxed[:, None, None], box, share[:, None, None])  # (n, size, size)
    return images.lerp(images[other], mask[:, None]), other, mask.mean((1, 2))
