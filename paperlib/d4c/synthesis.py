r"""Synthesis of calibration images from a frozen CLIP: PGSI, SCG and PAE.

The images $x_i$ start as white noise in CLIP's normalised pixel space (`paperlib.d4c.start` has
other beginnings). PGSI draws for each a target prompt $t_i$; SCG draws a foreground box, whose
content $a_i$ is resized to the whole input, and takes the image without it as background $b_i$; PAE
encodes a random view $\tilde a_i$. With unit features $f$ and $g$ and the mini-batch $B$,

$$L = -\frac1{|B|}\sum_{i \in B} \log
\frac{\exp(f(\tilde a_i)^\top g(t_i)/\tau)}
{\sum_t \exp(f(\tilde a_i)^\top g(t)/\tau) + \sum_{j \in B} \exp(f(\tilde a_i)^\top f(b_j)/\tau)}
+ \lambda\,\mathrm{TV}(x).$$

Without SCG the whole image is the foreground and there are no backgrounds; without PAE its view is
itself. PGSI is the base of both; without it the images stay noise (`baselines.gaussian_images`).
`paperlib.d4c.optimiser` minimises the loss. Source: D4C, arXiv 2511.15411, and its official code.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.d4c.optimiser import Optimised, Part, optimise
from paperlib.d4c.perturbation import Perturbation, draw_perturbation, perturb
from paperlib.d4c.prompts import GENERIC_NAMES, Template, photo
from paperlib.d4c.settings import Settings
from paperlib.d4c.start import WHITE, Start
from paperlib.files import fingerprint
from paperlib.models.clip import Tokenizer, class_features, image_size
from paperlib.models.frozen import frozen
from paperlib.seeds import generator


@dataclass(frozen=True)
class Synthesis(Optimised):
    """What `synthesise` returns.

    Attributes:
        names: of the prompts.
        targets: prompt of every image, an index into the names.
        boxes: foreground of every image, in pixels: top, left, height, width.
    """

    names: Sequence[str]
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
    start: Start = WHITE,
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
        start: where to begin, and in which numbers to move.

    Raises:
        ValueError: no `names`, a model without a visual tower, or a checkpoint of another run.
    """
    parts = [Part.whole(settings)]
    arguments = model, tokenizer, settings, parts, names, checkpoint, snapshots, template
    return synthesise_parts(*arguments, start=start)[0]


def synthesise_parts(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    parts: Sequence[Part],
    names: Sequence[str] = GENERIC_NAMES,
    checkpoint: Path | None = None,
    snapshots: Sequence[int] = (),
    template: Template = photo,
    together: int = 1,
    start: Start = WHITE,
) -> list[Synthesis]:
    """The first images of several sets that differ in their seed; arguments as `synthesise`.

    Args:
        parts: the sets; `settings.images` is the size of each as a whole.
        together: so many mini-batches share a pass through the network.
    """
    size = image_size(model)
    texts = class_features(model, tokenizer, names, [template])  # once, before the iterations
    whole = [draw_beginning(part, len(names), size, settings, start) for part in parts]
    targets, boxes, first = (torch.cat(pieces) for pieces in zip(*whole, strict=True))
    first = start.numbers(first).to(texts.device)

    def loss(numbers: Tensor, chosen: Tensor, drawing: Sequence[torch.Generator]) -> Tensor:
        images, target = start.shown(numbers), targets[chosen].to(numbers.device)
        logits = synthesis_logits(
            encode, images, boxes[chosen].to(images.device), texts, settings, drawing
        )
        each = F.cross_entropy(logits, target, reduction="none")
        each = each + settings.variation_weight * total_variation(images)
        return each.unflatten(0, (len(drawing), -1)).mean(1)

    def encode(images: Tensor) -> Tensor:
        device = images.device.type
        with torch.autocast(device, torch.bfloat16, enabled=settings.synthesis_autocast):
            features = model.encode_image(images.contiguous(memory_format=torch.channels_last))
        return F.normalize(features.float(), dim=-1)

    weights = fingerprint(model)
    with frozen(model):
        run = {"names": [template(name) for name in names], "weights": weights, "method": "d4c"}
        run |= {"start": asdict(start)}
        done = optimise(
            *(first, loss, settings, run, parts, checkpoint, snapshots),
            description="synthesis",
            together=together,
        )
    seen = {k: start.shown(numbers) for k, numbers in done.snapshots.items()}
    done = replace(done, images=start.shown(done.images), snapshots=seen)
    split = done.split(parts, settings.synthesis_batch)
    return [
        Synthesis(**vars(one), names=names, targets=target, boxes=box)
        for one, (target, box, _) in zip(split, whole, strict=True)
    ]


def temperature_of(text: str, model: nn.Module) -> float:
    """τ from an option: a number, or "own", ten times the CLIP's own temperature.

    Of OpenAI's CLIPs, whose logit scale is 100, both are the paper's 0.1.

    Raises:
        ValueError: neither.
    """
    if text == "own":
        return 10 / model.logit_scale.exp().item()
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"temperature {text!r}: valid are a number and 'own'") from None


def draw_beginning(
    part: Part, names: int, size: int, settings: Settings, start: Start = WHITE
) -> tuple[Int[Tensor, " n"], Int[Tensor, "n 4"], Float[Tensor, "n 3 size size"]]:
    """Targets, boxes and first images of a part, as the whole set has them."""
    draw = generator(part.seed, "prompts, boxes and noise")
    targets = torch.randint(names, (settings.images,), generator=draw)
    boxes = draw_boxes(settings.images, size, settings.foreground_area, draw)
    images = start.images(torch.randn(settings.images, 3, size, size, generator=draw), part.seed)
    return targets[: part.images], boxes[: part.images], images[: part.images]


def synthesis_logits(
    encode: Callable[[Tensor], Tensor],
    images: Float[Tensor, "n 3 size size"],
    boxes: Int[Tensor, "n 4"],
    texts: Float[Tensor, "prompts features"],
    settings: Settings,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "n logits"]:
    """Similarities of every foreground to the prompts, then to all backgrounds, over τ.

    Foregrounds and backgrounds go through `encode`, which returns unit features, together. Images
    are those of as many mini-batches as there are generators; backgrounds are those of the own one.
    """
    count, size = len(generators), images.shape[-1]
    views, behind = images, images
    if settings.structural:
        views, behind = foregrounds(images, boxes), backgrounds(images, boxes)
    drawn, noise = [], []
    for draw in generators:
        n = len(images) // count
        if settings.perturbation is not None:
            drawn.append(draw_perturbation(n, size, settings.perturbation, draw))
        if settings.structural:
            noise.append(torch.randn(n, *images.shape[1:], generator=draw))
    if drawn:
        views = perturb(views, _joined(drawn))
    if not settings.structural:
        return encode(views) @ texts.T / settings.temperature
    behind = behind + settings.background_noise * torch.cat(noise).to(images.device)
    front, back = encode(torch.cat([views, behind])).chunk(2)
    groups = front.unflatten(0, (count, -1)), back.unflatten(0, (count, -1))
    negatives = (groups[0] @ groups[1].mT).flatten(0, 1)
    return torch.cat([front @ texts.T, negatives], dim=1) / settings.temperature


def _joined(drawn: Sequence[Perturbation]) -> Perturbation:
    names = [field.name for field in fields(Perturbation)]
    return Perturbation(*(torch.cat([getattr(one, name) for one in drawn]) for name in names))


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


def total_variation(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, " n"]:
    """Mean squared difference of vertical and of horizontal neighbours, the two added."""
    vertical = images[..., 1:, :] - images[..., :-1, :]
    horizontal = images[..., 1:] - images[..., :-1]
    return vertical.square().mean((1, 2, 3)) + horizontal.square().mean((1, 2, 3))
