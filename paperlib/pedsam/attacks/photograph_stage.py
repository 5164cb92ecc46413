r"""One stage of a network's training on photographs, and what it is judged by.

What the networks of `paperlib.pedsam.attacks.photographic` minimise is what they are judged by, the
PSNR over the unseen pixels $U_i$ of picture $i$,

$$-\mathrm{PSNR} = \frac1n \sum_i 10 \log_{10} \frac{1}{3|U_i|} \sum_{p \in U_i}
\lVert x_{ip} - \hat x_{ip} \rVert^2,$$

over views of one server, or of several, of 2, 4, 8 and 16 under all assignments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.models.resume import Resume
from paperlib.models.training import adamw, batch, fit
from paperlib.pedsam.attacks.networks import GRID
from paperlib.pedsam.attacks.photographic import SIDE, PhotographAttacker
from paperlib.pedsam.attacks.views import draw_mixed_views, draw_views, to_pixels
from paperlib.pedsam.split.partition import KINDS, SERVERS, WindowGrid
from paperlib.seeds import derive

Attack = Callable[[Tensor, Tensor], Tensor]
OTHER_GRID = WindowGrid(GRID.tokens, 4)  # 5 × 5 windows, as ViT-B has
VIEWS = 8  # in a step: the Gaussian computes all pictures of a view at once
FILLING = (123.675 / 255, 116.28 / 255, 103.53 / 255)  # what SAM's filling to a square looks like
FILLED = 1 / 4  # share of the steps in which pictures are not square


@dataclass(frozen=True)
class PhotographRecipe:
    """Hyper-parameters: AdamW, gradients clipped to a norm of 1, mirror images, shifts.

    Attributes:
        steps: of the first stage; the second has as many, and each one after it twice as many.
        learning_rate: at the peak of a stage.
        batch_size: pictures a step.
        weight_decay: of AdamW.
    """

    steps: int = 1500
    learning_rate: float = 1e-3
    batch_size: int = 32
    weight_decay: float = 0.01


def training_views(drawn: int, seed: int) -> Bool[Tensor, "views tokens tokens"]:
    """Views of one server of each number under each assignment, `drawn` of each; a quarter as many
    with 5 × 5 windows; and half as many, in all, of coalitions of all sizes."""
    views = []
    for grid, count in ((GRID, drawn), (OTHER_GRID, drawn // 4)):
        for kind in KINDS:
            for k in SERVERS:
                views.append(draw_views(grid, kind, k, 1, count, derive(seed, kind)))
    views.append(draw_mixed_views(GRID, SERVERS, len(views) * drawn // 4, derive(seed, "mixed")))
    return torch.cat(views)


def varied(
    squares: UInt8[Tensor, "n 3 large large"], views: Bool[Tensor, "n tokens tokens"]
) -> tuple[Float[Tensor, "n 3 60 60"], Bool[Tensor, "n 60 60"]]:
    """Pictures and what is seen of them: shifted, mirrored, and in some steps not square.

    What fills pictures up to the square, at the right or at the bottom, everybody knows.
    """
    place = squares.device
    top, left = torch.randint(squares.shape[-1] - SIDE + 1, (2,)).tolist()
    images = squares[:, :, top : top + SIDE, left : left + SIDE].float() / 255
    turned = torch.rand(len(squares), 1, 1, 1) < 0.5
    images = torch.where(turned.to(place), images.flip(-1), images)
    filling = torch.zeros(SIDE, SIDE, dtype=torch.bool, device=place)
    share, end, side = torch.rand(3).tolist()
    if share < FILLED:
        filling[round(SIDE * (0.4 + 0.6 * end)) :] = True
        filling = filling.T if side < 0.5 else filling
    grey = images.new_tensor(FILLING).view(3, 1, 1)
    return torch.where(filling, grey, images), to_pixels(views, SIDE) | filling


def negative_psnr(
    images: Float[Tensor, "n 3 size size"],
    guesses: Float[Tensor, "n 3 size size"],
    seen: Bool[Tensor, "n size size"],
) -> Float[Tensor, ""]:
    """See the equation above; a picture of which all is seen does not count."""
    hidden = ~seen[:, None]
    squares = ((images - guesses).square() * hidden).mean(1).sum((1, 2))
    number = hidden.sum((1, 2, 3))
    errors = squares[number > 0] / number[number > 0]
    return 10 * (errors + 1e-4).log10().mean()


def train_photographic(
    model: PhotographAttacker,
    squares: UInt8[Tensor, "n 3 large large"],
    views: Bool[Tensor, "views tokens tokens"],
    recipe: PhotographRecipe,
    steps: int,
    seed: int,
    resume: Resume | None = None,
    tokens: Callable[[Tensor], Tensor] | None = None,
) -> PhotographAttacker:
    """One stage of the training, on the model's device, in bfloat16.

    With `tokens`, those of squares of these numbers, the squares have `SIDE` pixels and stay as
    they are.
    """
    place = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = adamw(learning, recipe.learning_rate, recipe.weight_decay)
    on_cpu = place.type == "cpu"
    kernels = [SDPBackend.MATH] if on_cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]

    def loss(step: int) -> Tensor:
        chosen = batch(len(squares), recipe.batch_size, step, seed)
        drawn = torch.randint(len(views), (VIEWS,)).repeat(recipe.batch_size // VIEWS + 1)
        images, view = squares[chosen].to(place), views[drawn[: len(chosen)]].to(place)
        if tokens is None:
            given = images, seen = varied(images, view)
        else:
            images, seen = images.float() / 255, to_pixels(view, SIDE)
            given = images, seen, tokens(chosen).to(place).float()
        with sdpa_kernel(kernels), torch.autocast(place.type, torch.bfloat16):
            guesses = model(*given)
        return negative_psnr(images, guesses.float(), seen)

    return fit(model, loss, [optimiser], steps, seed, 0.1, clip=1.0, resume=resume)


@torch.no_grad()
def validation(
    attack: Attack, photographs: Float[Tensor, "n 3 size size"], seed: int, grid: WindowGrid = GRID
) -> dict[str, float]:
    """PSNR (dB) over the unseen pixels of one server's view, means over photographs.

    Args:
        attack: makes the guesses from photographs and what is seen of them.
        photographs: in [0, 1].
        seed: of the views.

    Returns:
        By number of servers, the assignments in turn; the mean of these ("all"); and, as an upper
        bound, over the window of a view of all windows but one ("all but one").
    """
    found, n = {}, len(photographs)
    for k, together in [*((k, 1) for k in SERVERS), (grid.count, grid.count - 1)]:
        drawn = [
            draw_views(grid, kind, k, together, n, derive(seed, "validation")) for kind in KINDS
        ]
        views = torch.stack([drawn[each % len(KINDS)][each] for each in range(n)])
        seen = to_pixels(views, photographs.shape[-1]).to(photographs.device)
        hidden = ~seen[:, None]
        squares = (photographs - attack(photographs, seen)).square() * hidden
        errors = squares.mean(1).sum((1, 2)) / hidden.sum((1, 2, 3))
        name = "all but one" if together > 1 else str(k)
        found[name] = -10 * errors.log10().mean().item()
    found["all"] = sum(found[str(k)] for k in SERVERS) / len(SERVERS)
    return {name: round(mean, 3) for name, mean in found.items()}
