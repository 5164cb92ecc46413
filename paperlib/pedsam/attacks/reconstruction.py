r"""Reconstruction attack: fill in the pixels that a server, or a coalition, has not seen.

- mean fill: the mean colour of the seen pixels;
- biharmonic: the surface $u$ with $\Delta^2 u = 0$ on the unseen pixels that continues the seen
  ones smoothly (Damelin and Hoang 2018, as in scikit-image);
- learned: a network $f$ trained to minimise $\lVert f(x \odot m, m) - x \rVert^2$ over images $x$
  and views $m$ of all kinds.

The seen pixels stay as they are in every result. The paper names reconstruction attacks without
their details; these are ours.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.restoration import inpaint_biharmonic
from torch import Tensor, nn

from paperlib.models.frozen import frozen
from paperlib.models.sam import IMAGE, PATCH


def mean_fill(
    images: Float[Tensor, "n 3 size size"], seen: Bool[Tensor, "n size size"]
) -> Float[Tensor, "n 3 size size"]:
    """The image with the unseen pixels in the mean colour of the seen ones (0 if there are none).

    `images` in [0, 1]; nothing is read of them where `seen` is False.
    """
    seen = seen[:, None]
    mean = (images * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(seen, images, mean)


def biharmonic_fill(
    images: Float[Tensor, "n 3 size size"], seen: Bool[Tensor, "n size size"], shrink: int = 1
) -> Float[Tensor, "n 3 size size"]:
    """The image with the unseen pixels inpainted by the biharmonic equation; arguments as above.

    With `shrink` it is solved on images averaged down by this factor, of which a pixel counts as
    seen if all of its parts are, and interpolated: large holes are smooth inside anyway, and four
    times fewer unknowns take a fifth of the time. What overshoots [0, 1] is clipped.
    """
    hidden = F.max_pool2d((~seen)[:, None].float(), shrink)[:, 0].bool()
    coarse = F.avg_pool2d(images * seen[:, None], shrink)
    filled = [
        inpaint_biharmonic(image, mask, channel_axis=0)
        for image, mask in zip(coarse.cpu().numpy(), hidden.cpu().numpy(), strict=True)
    ]
    fill = torch.from_numpy(np.stack(filled)).to(images)
    fill = F.interpolate(fill, scale_factor=shrink, mode="bilinear", align_corners=False)
    return torch.where(seen[:, None], images, fill.clamp(0, 1))


def smooth_fill(
    images: Float[Tensor, "n 3 size size"], seen: Bool[Tensor, "n size size"]
) -> Float[Tensor, "n 3 size size"]:
    """Unseen pixels from averages of the seen ones in ever larger squares; grey if none is seen.

    Squares double as long as `size` allows, and the last one is the whole image. Cheap; what the
    network starts from.
    """
    weight = seen[:, None].to(images)
    levels = [(images * weight, weight)]
    while (side := levels[-1][1].shape[-1]) > 1:
        half = side // 2 if side % 2 == 0 else 1
        levels.append(tuple(F.adaptive_avg_pool2d(level, half) for level in levels[-1]))
    total, share = levels.pop()
    fill = torch.where(share > 0, total / share.clamp(min=1e-6), 0.5)
    for total, share in reversed(levels):
        side = share.shape[-1]
        fill = F.interpolate(fill, size=side, mode="bilinear", align_corners=False)
        fill = torch.lerp(fill, total / share.clamp(min=1e-6), share)
    return fill


class Residual(nn.Module):
    """Two 3 × 3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(self.norm(x))))


class Rebuilder(nn.Module):
    """U-Net with self-attention in the middle, where a cell is one token of SAM.

    It adds to `smooth_fill` of the view. With `token_channels`, tokens that a server received enter
    in the middle, zeros where it has none. About a million parameters.

    Args:
        token_channels: features of a token; 0 for a network that gets pixels alone.
        pixels: whether it gets the seen pixels, or tokens alone.
        grid: tokens in a row; images are 8 · grid pixels wide.
        channels, depth: width and number of the attention layers.
    """

    def __init__(
        self,
        token_channels: int = 0,
        pixels: bool = True,
        grid: int = IMAGE // PATCH,
        channels: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.pixels = pixels
        half = channels // 2
        self.stem = nn.Sequential(nn.Conv2d(4 * 4**2, half, 3, padding=1), Residual(half))
        self.down = nn.Conv2d(half, channels, 2, 2)
        self.tokens = nn.Conv2d(token_channels, channels, 1) if token_channels else None
        self.position = nn.Parameter(0.02 * torch.randn(channels, grid, grid))
        layer = nn.TransformerEncoderLayer(
            channels, 4, 4 * channels, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.middle = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.up = nn.ConvTranspose2d(channels, half, 2, 2)
        self.join = nn.Conv2d(2 * half, half, 1)
        self.head = nn.Sequential(
            Residual(half), Residual(half), nn.Conv2d(half, 3 * 4**2, 3, padding=1)
        )

    def forward(
        self,
        images: Float[Tensor, "n 3 size size"],
        seen: Bool[Tensor, "n size size"],
        tokens: Float[Tensor, "n channels grid grid"] | None = None,
    ) -> Float[Tensor, "n 3 size size"]:
        """A guess of the whole image, not limited to [0, 1]; unseen pixels and tokens are ignored.

        Raises:
            ValueError: tokens are missing, or given to a network without `token_channels`.
        """
        if (tokens is None) != (self.tokens is None):
            needs = "none" if self.tokens is None else f"{self.tokens.in_channels} channels of them"
            raise ValueError(f"tokens: this network takes {needs}")
        fill = smooth_fill(images, seen if self.pixels else torch.zeros_like(seen))
        x = torch.cat([fill - 0.5, seen[:, None].to(fill)], dim=1)
        fine = self.stem(F.pixel_unshuffle(x, 4))  # (n, channels / 2, size / 4, size / 4)
        x = self.down(fine) + self.position  # (n, channels, grid, grid)
        if tokens is not None:
            cell = seen.shape[-1] // tokens.shape[-1]
            x = x + self.tokens(tokens * seen[:, None, ::cell, ::cell])
        x = self.middle(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
        x = self.head(self.join(torch.cat([self.up(x), fine], dim=1)))
        return fill + F.pixel_shuffle(x, 4)


def rebuild(
    model: nn.Module,
    images: Float[Tensor, "n 3 size size"],
    seen: Bool[Tensor, "n size size"],
    tokens: Float[Tensor, "n channels grid grid"] | None = None,
    batch: int = 50,
) -> Float[Tensor, "n 3 size size"]:
    """The network's guess, clipped to [0, 1], with the seen pixels (if it gets pixels) in place.

    `model` is one of `paperlib.pedsam.attacks.networks` that says the whole image.
    """
    guesses = []
    with frozen(model), torch.inference_mode():
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            x, m = images[part], seen[part]
            received = () if tokens is None else (tokens[part],)
            guess = model(x, m, *received).clamp(0, 1)
            guesses.append(torch.where(m[:, None], x, guess) if model.pixels else guess)
    return torch.cat(guesses).clone()
