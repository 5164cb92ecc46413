r"""Attackers that know photographs: two networks that guess what a view of a photograph hides.

Of a photograph $x$ and the seen pixels $m$ both take $x \odot m$ and $m$, averaged down to 60 × 60
pixels (three for a token of the small SAM), and what `paperlib.pedsam.attacks.gaussian` expects of
the rest, to which they add; they start as that attacker, so that all they learn is more than it
knows. The guess is interpolated to the size of the image. What lies deep in a window that was not
seen is a matter of light and colour, not of detail, and a small image is rebuilt many times as
fast: more photographs are seen in the same time of training. What is lost is detail at the edge of
what is seen.

- `PhotographUNet`: convolutions at 20 × 20, 10 × 10 and 5 × 5 cells, the mask a channel of its own
  (after Ronneberger et al., arXiv 1505.04597); with `token_channels` also the tokens of a later
  round in the view, at 20 × 20 (see `paperlib.pedsam.attacks.inversion`);
- `PhotographTransformer`: patches of 6 × 6 pixels are tokens; where nothing was seen they hold what
  the Gaussian expects and a mask of zeros. Unlike in masked autoencoders (He et al., arXiv
  2111.06377) the whole network computes all of them, since a patch can be seen in part.

Training: `paperlib.pedsam.attacks.photograph_training`. The paper names reconstruction attacks
without their details; these are ours.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from paperlib.pedsam.attacks.gaussian import GaussianAttacker, resize
from paperlib.pedsam.attacks.reconstruction import Residual

SIDE = 60  # pixels that both networks work on
CELL = 3  # pixels of a cell of the U-Net's finest level
PATCH = 6  # pixels of a token of the transformer


class PhotographAttacker(nn.Module):
    """What both share: their input, and what their output is added to.

    Attributes:
        prior: the Gaussian, which is not trained; a copy of the committed one in what is trained.
        pixels: the seen pixels are part of the input.
        tokens: what takes tokens of a later round; None without them.
    """

    pixels = True

    def __init__(self) -> None:
        super().__init__()
        self.prior = GaussianAttacker()
        self.tokens: nn.Conv2d | None = None

    def forward(
        self,
        images: Float[Tensor, "n 3 size size"],
        seen: Bool[Tensor, "n size size"],
        tokens: Float[Tensor, "n channels 20 20"] | None = None,
    ) -> Float[Tensor, "n 3 size size"]:
        """A guess of the whole image, not limited to [0, 1]; unseen pixels and tokens are ignored.

        `images` in [0, 1]. Of the averages, those count as seen of which half or more is.

        Raises:
            ValueError: tokens are missing, or given to a network without `token_channels`.
        """
        if (tokens is None) != (self.tokens is None):
            needs = "none" if self.tokens is None else f"{self.tokens.in_channels} channels of them"
            raise ValueError(f"tokens: this network takes {needs}")
        size, known = images.shape[-1], seen[:, None].to(images)
        share = resize(known, SIDE)
        seen = share[:, 0] >= 0.5
        small = resize(images * known, SIDE) / share.clamp(min=1e-6)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            fill = torch.where(seen[:, None], small, self.prior(small, seen))
        x = torch.cat([fill - 0.5, seen[:, None].to(fill)], dim=1)
        if tokens is not None:
            cells = seen[:, None, CELL // 2 :: CELL, CELL // 2 :: CELL]
            each = F.layer_norm(tokens.movedim(1, -1), tokens.shape[1:2])  # by itself: none unseen
            tokens = each.movedim(-1, 1) * cells
        return resize(fill + self.change(x, tokens).to(fill), size)

    def change(
        self, x: Float[Tensor, "n 4 60 60"], tokens: Float[Tensor, "n channels 20 20"] | None
    ) -> Float[Tensor, "n 3 60 60"]:
        """What is added to the filled image, from it (less a half), the mask, and the tokens."""
        raise NotImplementedError


class PhotographUNet(PhotographAttacker):
    """Convolutions at three scales; 1.6 million of its own with these `channels` of each.

    With `token_channels`, features of a token, it starts as the network without them does.
    """

    def __init__(
        self, channels: tuple[int, int, int] = (64, 96, 128), token_channels: int = 0
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        if token_channels:
            self.tokens = nn.Conv2d(token_channels, fine, 1, bias=False)
            nn.init.zeros_(self.tokens.weight)
        self.stem = nn.Conv2d(4 * CELL**2, fine, 3, padding=1)
        self.fine = Residual(fine)
        self.down = nn.Conv2d(fine, middle, 2, 2)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.lower = nn.Conv2d(middle, coarse, 2, 2)
        self.coarse = nn.Sequential(Residual(coarse), Residual(coarse))
        self.higher = nn.ConvTranspose2d(coarse, middle, 2, 2)
        self.middle_up = nn.Sequential(
            nn.Conv2d(2 * middle, middle, 1), Residual(middle), Residual(middle)
        )
        self.up = nn.ConvTranspose2d(middle, fine, 2, 2)
        self.fine_up = nn.Sequential(nn.Conv2d(2 * fine, fine, 1), Residual(fine))
        self.head = nn.Conv2d(fine, 3 * CELL**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def change(
        self, x: Float[Tensor, "n 4 60 60"], tokens: Float[Tensor, "n channels 20 20"] | None
    ) -> Float[Tensor, "n 3 60 60"]:
        x = self.stem(F.pixel_unshuffle(x, CELL).contiguous(memory_format=torch.channels_last))
        fine = self.fine(x if tokens is None else x + self.tokens(tokens))  # (n, fine, 20, 20)
        middle = self.middle(self.down(fine))  # (n, middle, 10, 10)
        x = self.coarse(self.lower(middle))  # (n, coarse, 5, 5)
        x = self.middle_up(torch.cat([self.higher(x), middle], dim=1))
        x = self.fine_up(torch.cat([self.up(x), fine], dim=1))
        return F.pixel_shuffle(self.head(x), CELL)


class PhotographTransformer(PhotographAttacker):
    """Self-attention over 10 × 10 patches; 1.6 million of its own with these sizes.

    Args:
        width, depth, heads: of the layers.
    """

    def __init__(self, width: int = 160, depth: int = 5, heads: int = 5) -> None:
        super().__init__()
        self.embed = nn.Linear(4 * PATCH**2, width)
        self.position = nn.Parameter(0.02 * torch.randn((SIDE // PATCH) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, depth, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, 3 * PATCH**2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def change(self, x: Float[Tensor, "n 4 60 60"], tokens: None) -> Float[Tensor, "n 3 60 60"]:
        x = F.pixel_unshuffle(x, PATCH).flatten(2).transpose(1, 2)  # (n, patches, 4 · 36)
        x = self.head(self.layers(self.embed(x) + self.position))
        x = x.transpose(1, 2).unflatten(2, (SIDE // PATCH, SIDE // PATCH))
        return F.pixel_shuffle(x, PATCH)
