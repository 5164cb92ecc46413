r"""Synthesis of calibration images from a frozen CLIP: PGSI, SCG and PAE.

The images $x_i$ start as white noise in CLIP's normalised pixel space. PGSI draws for each a
target prompt $t_i$; SCG draws a foreground box, whose content $a_i$ is resized to the whole input,
and takes the image without it as background $b_i$; PAE encodes a random view $\tilde a_i$. With
unit features $f$ and $g$ and the mini-batch $B$,

$$L = -\frac1{|B|}\sum_{i \in B} \log
\frac{\exp(f(\tilde a_i)^\top g(t_i)/\tau)}
{\sum_t \exp(f(\tilde a_i)^\top g(t)/\tau) + \sum_{j \in B} \exp(f(\tilde a_i)^\top f(b_j)/\tau)}
+ \lambda\,\mathrm{TV}(x).$$

Without SCG the whole image is the foreground and there are no backgrounds; without PAE its view is
itself. PGSI is the base of both; without it the images stay noise (`baselines.gaussian_images`).
Source: D4C, arXiv 2511.15411. As in its official code one Adam holds all images and steps after
every mini-batch: between two of its own steps an image drifts on old momentum, and its second
moments average in zero gradients, so that with B mini-batches it moves √B as far an iteration as
with an Adam of its own (a rate of 0.01 for eight mini-batches does what 0.028 does for one).
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.d4c.perturbation import draw_perturbation, perturb
from paperlib.d4c.prompts import GENERIC_NAMES, Template, photo
from paperlib.d4c.settings import Settings
from paperlib.files import fingerprint
from paperlib.models.clip import Tokenizer, class_features, image_size
from paperlib.models.frozen import frozen
from paperlib.models.resume import Resume
from paperlib.runtime import progress
from paperlib.seeds import generator

# (images of a mini-batch, their indices, generator of this iteration) -> loss
Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Optimised:
    """Images, and how they came about.

    Attributes:
        images: in CLIP's normalised pixel space.
        losses: of every mini-batch (rows) at every iteration.
        snapshots: the images after so many iterations, for the numbers that were asked for.
    """

    images: Float[Tensor, "n 3 size size"]
    losses: Float[Tensor, "batches iterations"]
    snapshots: dict[int, Float[Tensor, "n 3 size size"]]


@dataclass(frozen=True)
class Synthesis(Optimised):
    """What `synthesise` returns.

    Attributes:
        targets: prompt of every image, an index into the names.
        boxes: foreground of every image, in pixels: top, left, height, width.
    """

    targets: Int[Tensor, " n"]
    boxes: Int[Tensor, "n 4"]


def synthesise(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    names: Sequence[str] = GENERIC_NAMES,
    checkpoint: Path | None = None,
    snapshots: Sequence[int] = (),
    template: Template = photo,
) -> Synthesis:
    """Images for calibrating a quantized CLIP, from the CLIP alone.

    Args:
        model: a CLIP of open_clip; left as it is.
        tokenizer: its tokenizer.
        settings: sizes, seed, and which of SCG (`structural`) and PAE (`perturbation`) are on.
        names: classes of the prompts.
        checkpoint: file that keeps the state of a run; an interrupted run continues from it and
            ends as if it had not been interrupted. It is deleted at the end.
        snapshots: iterations after which to keep a copy of the images.
        template: of the prompts; the paper's is "a photo of a {name}.".

    Raises:
        ValueError: no `names`, a model without a visual tower, or a checkpoint of another run.
    """
    size = image_size(model)
    texts = class_features(model, tokenizer, names, [template])  # once, before the iterations
    draw = generator(settings.seed, "prompts, boxes and noise")
    targets = torch.randint(len(names), (settings.images,), generator=draw)
    boxes = draw_boxes(settings.images, size, settings.foreground_area, draw)
    start = torch.randn(settings.images, 3, size, size, generator=draw)

    def loss(images: Tensor, chosen: Tensor, drawing: torch.Generator) -> Tensor:
        target = targets[chosen].to(images.device)
        logits = synthesis_logits(
            encode, images, boxes[chosen].to(images.device), texts, settings, drawing
        )
        variation = settings.variation_weight * total_variation(images)
        return F.cross_entropy(logits, target) + variation

    def encode(images: Tensor) -> Tensor:
        device = images.device.type
        with torch.autocast(device, torch.bfloat16, enabled=settings.synthesis_autocast):
            features = model.encode_image(images.contiguous(memory_format=torch.channels_last))
        return F.normalize(features.float(), dim=-1)

    weights = fingerprint(model)
    with frozen(model):
        run = {"names": [template(name) for name in names], "weights": weights, "method": "d4c"}
        done = optimise(
            start.to(texts.device), loss, settings, run, checkpoint, snapshots, "synthesis"
        )
    return Synthesis(done.images, done.losses, done.snapshots, targets, boxes)


def synthesis_logits(
    encode: Callable[[Tensor], Tensor],
    images: Float[Tensor, "n 3 size size"],
    boxes: Int[Tensor, "n 4"],
    texts: Float[Tensor, "prompts features"],
    settings: Settings,
    generator: torch.Generator,
) -> Float[Tensor, "n logits"]:
    """Similarities of every foreground to the prompts, then to all backgrounds, over τ.

    Foregrounds and backgrounds go through `encode`, which returns unit features, together.
    """
    n, size = len(images), images.shape[-1]
    views = foregrounds(images, boxes) if settings.structural else images
    if settings.perturbation is not None:
        views = perturb(views, draw_perturbation(n, size, settings.perturbation, generator))
    if not settings.structural:
        return encode(views) @ texts.T / settings.temperature
    noise = settings.background_noise * torch.randn(images.shape, generator=generator)
    behind = backgrounds(images, boxes) + noise.to(images.device)
    front, back = encode(torch.cat([views, behind])).chunk(2)
    return torch.cat([front @ texts.T, front @ back.T], dim=1) / settings.temperature


def draw_boxes(
    n: int, size: int, area: tuple[float, float], generator: torch.Generator
) -> Int[Tensor, "{n} 4"]:
    """Square boxes in whole pixels: top, left, height, width.

    Shares of the image's area are uniform in `area`, places uniform.
    """
    share = area[0] + (area[1] - area[0]) * torch.rand(n, generator=generator)
    side = (share.sqrt() * size).round().clamp(1, size)
    corner = (torch.rand(n, 2, generator=generator) * (size - side + 1)[:, None]).floor()
    return torch.cat([corner, side[:, None], side[:, None]], dim=1).long()


def foregrounds(
    images: Float[Tensor, "n 3 size size"], boxes: Int[Tensor, "n 4"]
) -> Float[Tensor, "n 3 size size"]:
    """Every image's box, resized (bilinear, edges repeated) to the whole image."""
    size = images.shape[-1]
    corner, sides = boxes[:, :2, None], boxes[:, 2:, None]
    place = (torch.arange(size, device=images.device) + 0.5) * sides / size - 0.5  # in the box
    place = corner + place.clamp(min=0).minimum(sides - 1)  # (n, 2, size), in pixels
    rows, columns = (2 * place / (size - 1) - 1).to(images).unbind(1)
    grid = torch.stack(
        [columns[:, None].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], dim=-1
    )
    return F.grid_sample(images, grid, align_corners=True, padding_mode="border")


def backgrounds(
    images: Float[Tensor, "n 3 size size"], boxes: Int[Tensor, "n 4"]
) -> Float[Tensor, "n 3 size size"]:
    """Every image with its box set to 0."""
    span = torch.arange(images.shape[-1], device=images.device)
    start, sides = boxes[:, :2, None], boxes[:, 2:, None]
    inside = (span >= start) & (span < start + sides)  # (n, 2, size)
    return images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0)


def total_variation(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, ""]:
    """Mean squared difference of vertical neighbours plus that of horizontal ones."""
    vertical = images[..., 1:, :] - images[..., :-1, :]
    horizontal = images[..., 1:] - images[..., :-1]
    return vertical.square().mean() + horizontal.square().mean()


def optimise(
    start: Float[Tensor, "n 3 size size"],
    loss: Loss,
    settings: Settings,
    run: dict[str, Any],
    checkpoint: Path | None = None,
    snapshots: Sequence[int] = (),
    description: str = "optimising images",
) -> Optimised:
    """Minimise a loss over images with one Adam, which steps after every mini-batch.

    An iteration goes through all mini-batches in their order; images outside of one have a
    gradient of zero.

    Args:
        start: the images to begin with.
        loss: its random numbers come only from the generator that it is given, which is keyed by
            seed, mini-batch and iteration.
        settings: number of iterations, size of a mini-batch, learning rate, seed.
        run: what else decides the result; a checkpoint of another run is refused.
        checkpoint, snapshots: as for `synthesise`.
        description: for the progress bar.

    Raises:
        ValueError: `checkpoint` is of another run, or a snapshot is not an iteration.
    """
    iterations = settings.synthesis_iterations
    if any(not 0 <= k <= iterations for k in snapshots):
        raise ValueError(f"snapshots={tuple(snapshots)}: 0 to {iterations} are valid")
    batches = torch.arange(len(start)).split(settings.synthesis_batch)
    resume = Resume(checkpoint, run | {"settings": asdict(settings), "snapshots": [*snapshots]})
    state = resume.load() or {
        "step": 0,
        "images": start.clone(),
        "losses": torch.zeros(len(batches), iterations),
        "snapshots": {k: start.clone() for k in snapshots},
        "adam": None,
    }
    images, losses = state["images"].to(start.device), state["losses"]
    adam = torch.optim.Adam([images], settings.synthesis_rate)
    if state["adam"] is not None:
        adam.load_state_dict(state["adam"])
    kept = {k: snapshot.to(start.device) for k, snapshot in state["snapshots"].items()}
    plain = start.device.type == "cpu"  # of small images faster backwards than the fused one
    attention = sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()
    with attention:
        for step in progress(range(state["step"], len(batches) * iterations), description):
            k, number = divmod(step, len(batches))
            chosen = batches[number]
            x = images[chosen].requires_grad_()
            value = loss(x, chosen, generator(settings.seed, f"mini-batch {number}", k))
            losses[number, k] = value.item()
            images.grad = torch.zeros_like(images)
            (images.grad[chosen],) = torch.autograd.grad(value, x)
            adam.step()
            if k + 1 in kept and number == len(batches) - 1:
                kept[k + 1].copy_(images)
            now = {"step": step + 1, "images": images, "losses": losses, "snapshots": kept}
            resume.save(lambda now=now: now | {"adam": adam.state_dict()})
    resume.finish()
    return Optimised(images, losses, kept)
