r"""An attacker that knows how photographs vary: the Gaussian distribution of small photographs.

A photograph averaged down to 30 × 30 pixels is taken as drawn from

$$x = \mu + V z + \varepsilon, \qquad z \sim N(0, I), \; \varepsilon \sim N(0, \sigma^2 I),$$

for each of three colour axes (light, red against blue, green against both), which hardly correlate
in photographs. $V$ has the first eigenvectors of the covariance of many photographs, each times the
root of its eigenvalue, less the noise, and $\sigma^2$ is the mean of the other eigenvalues
(probabilistic principal components, Tipping and Bishop 1999). Of the seen pixels $s$ the attacker
computes what is to be expected of the unseen ones $u$, for any view exactly,

$$E[x_u \mid x_s] = \mu_u + V_u \bigl(\sigma^2 I + V_s^\top V_s\bigr)^{-1} V_s^\top (x_s - \mu_s).$$

Of such photographs, at that size, no guess has a smaller squared error. The paper names
reconstruction attacks without their details; this one is ours.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

SIDE = 30  # pixels: it works on small images, and its guess is interpolated
FACTORS = 256
AXES = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # of colour, at right angles
PART = 2000  # pictures at a time


class GaussianAttacker(nn.Module):
    """The distribution: `mean`, `factors` and `noise` (σ, for each axis), which are not trained.

    `fit_gaussian` fills them; 0.7 million numbers with these sizes.

    Args:
        side, factors: pixels along a side, and eigenvectors of each axis.
    """

    pixels, tokens = True, None

    def __init__(self, side: int = SIDE, factors: int = FACTORS) -> None:
        super().__init__()
        self.side = side
        self.mean = nn.Parameter(torch.zeros(3, side**2), requires_grad=False)
        self.factors = nn.Parameter(torch.zeros(3, side**2, factors), requires_grad=False)
        self.noise = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(
        self, images: Float[Tensor, "n 3 size size"], seen: Bool[Tensor, "n size size"]
    ) -> Float[Tensor, "n 3 size size"]:
        """A guess of the whole image, not limited to [0, 1]; unseen pixels are ignored.

        `images` in [0, 1]. Of the averages, those count as seen of which half or more is.
        """
        size, known = images.shape[-1], seen[:, None].to(images)
        share = resize(known, self.side)
        small = resize(images * known, self.side) / share.clamp(min=1e-6)
        x = to_axes(small).flatten(2)  # (n, 3, pixels)
        chosen = share[:, 0].flatten(1) >= 0.5
        guess = torch.empty_like(x)
        views, which = chosen.unique(dim=0, return_inverse=True)
        for number, view in enumerate(views):
            mine = which == number
            guess[mine] = self.expected(x[mine], view)
        guess = from_axes(guess.unflatten(2, (self.side, self.side)))
        return resize(guess, size)

    def expected(
        self, x: Float[Tensor, "n 3 pixels"], view: Bool[Tensor, " pixels"]
    ) -> Float[Tensor, "n 3 pixels"]:
        """The equation above for all pixels, from those that `view` shows, along the axes."""
        v = self.factors[:, view]  # (3, seen, factors)
        noise = self.noise.square().view(3, 1, 1)
        inner = v.mT @ v + noise * torch.eye(v.shape[-1], device=v.device)
        z = torch.linalg.solve(inner, v.mT @ (x[:, :, view] - self.mean[:, view]).permute(1, 2, 0))
        return (self.mean[..., None] + self.factors @ z).permute(2, 0, 1)


@torch.no_grad()
def fit_gaussian(model: GaussianAttacker, squares: UInt8[Tensor, "n 3 large large"]) -> None:
    """Fill in the distribution of photographs, 0 to 255, and of their mirror images.

    Raises:
        ValueError: there are fewer photographs than factors.
    """
    side, factors = model.side, model.factors.shape[-1]
    if 2 * len(squares) <= factors:
        raise ValueError(f"{len(squares)} photographs: more than {factors // 2} are needed")
    total = torch.zeros(3, side**2, dtype=torch.float64)
    products = torch.zeros(3, side**2, side**2, dtype=torch.float64)
    for part in squares.split(PART):
        images = part.float() / 255
        x = to_axes(resize(torch.cat([images, images.flip(-1)]), side)).flatten(2).transpose(0, 1)
        total += x.sum(1)  # x: (3, pictures, pixels)
        products += x.mT @ x
    mean = total / (2 * len(squares))
    covariance = products / (2 * len(squares)) - mean[:, :, None] * mean[:, None]
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    noise = values[:, :-factors].clamp(min=1e-8).mean(1)
    kept = (values[:, -factors:] - noise[:, None]).clamp(min=0)
    model.mean.copy_(mean)
    model.factors.copy_(vectors[:, :, -factors:] * kept.sqrt()[:, None])
    model.noise.copy_(noise.sqrt())


def to_axes(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
    """RGB along `AXES`, of unit length each."""
    return torch.einsum("ac,nchw->nahw", _axes(images), images)


def from_axes(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
    """The inverse of `to_axes`."""
    return torch.einsum("ac,nahw->nchw", _axes(images), images)


def resize(images: Float[Tensor, "n channels large large"], size: int) -> Tensor:
    """Square images averaged down, or interpolated up, to `size` pixels."""
    if images.shape[-1] >= size:
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _axes(images: Tensor) -> Float[Tensor, "3 3"]:
    return F.normalize(images.new_tensor(AXES), dim=1)
