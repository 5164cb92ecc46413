r"""Calibration images under a loss: one Adam a set, which steps after every mini-batch.

As in D4C's official code one Adam holds all images: between two of its own steps an image drifts on
old momentum, and its second moments average in zero gradients, so that with B mini-batches it moves
√B as far an iteration as with an Adam of its own (a rate of 0.01 for eight mini-batches does what
0.028 does for one).

Adam acts on each number alone, and a mini-batch does not see the others. So each may go its way by
itself, with one step and B - 1 steps without a gradient an iteration: some of them alone give what
they give among all (`Part`), and several, also of different seeds, share a pass through the network
(``together``), which is what a GPU wants.

D4C's loss is that of `paperlib.d4c.synthesis`; those of BNS and PSE stand in
`paperlib.d4c.baselines`. Source: Zhang et al., arXiv 2511.15411, and its official code.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from paperlib.d4c.settings import Settings
from paperlib.models.resume import Resume
from paperlib.runtime import progress
from paperlib.seeds import generator

# (images of one or more mini-batches of the same size, their indices, a generator of this iteration
# for each mini-batch) -> loss of each mini-batch
Loss = Callable[[Tensor, Tensor, Sequence[torch.Generator]], Tensor]


@dataclass(frozen=True)
class Part:
    """The first images of a whole set, which are those that the whole set would have.

    Attributes:
        seed: of the whole set.
        images: how many; they end with a mini-batch.
    """

    seed: int
    images: int

    @classmethod
    def whole(cls, settings: Settings) -> "Part":
        """All images of the set of these settings."""
        return cls(settings.seed, settings.images)


class MiniBatch(NamedTuple):
    """Images that are optimised together.

    Attributes:
        seed: of the set that they are of.
        number: in that set, from 0.
        rows: indices of the images, in the order of all parts.
    """

    seed: int
    number: int
    rows: Int[Tensor, " images"]


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

    def split(self, parts: Sequence[Part], batch: int) -> "list[Optimised]":
        """Part by part, with mini-batches of so many images."""
        ends = [part.images for part in parts]
        kept = {k: snapshot.split(ends) for k, snapshot in self.snapshots.items()}
        losses = self.losses.split([-(-count // batch) for count in ends])
        return [
            Optimised(images, losses[j], {k: kept[k][j] for k in kept})
            for j, images in enumerate(self.images.split(ends))
        ]


def optimise(
    start: Float[Tensor, "n 3 size size"],
    loss: Loss,
    settings: Settings,
    run: dict[str, Any],
    parts: Sequence[Part],
    checkpoint: Path | None = None,
    snapshots: Sequence[int] = (),
    description: str = "optimising images",
    together: int = 1,
) -> Optimised:
    """Minimise a loss over images with one Adam a set, which steps after every mini-batch.

    An iteration goes through all mini-batches in their order; images outside of one have a
    gradient of zero.

    Args:
        start: the images to begin with, of all parts.
        loss: its random numbers come only from the generators that it is given, which are keyed by
            seed, mini-batch and iteration.
        settings: number of iterations, images of a whole set and of a mini-batch, learning rate.
        run: what else decides the result; a checkpoint of another run is refused.
        parts: whose images `start` holds.
        checkpoint, snapshots: as for `paperlib.d4c.synthesis.synthesise`.
        description: for the progress bar.
        together: so many mini-batches share a pass through the network.

    Raises:
        ValueError: `checkpoint` is of another run, a snapshot is not an iteration, or a part does
            not end with a mini-batch.
    """
    iterations = settings.synthesis_iterations
    if any(not 0 <= k <= iterations for k in snapshots):
        raise ValueError(f"snapshots={tuple(snapshots)}: 0 to {iterations} are valid")
    batches = mini_batches(parts, settings)
    turns = -(-settings.images // settings.synthesis_batch)  # an iteration, one a mini-batch
    passes = _passes([len(batch.rows) for batch in batches], together)
    decides = {"settings": asdict(settings), "parts": [asdict(part) for part in parts]}
    resume = Resume(checkpoint, run | decides | {"snapshots": [*snapshots]})
    state = resume.load() or {
        "iteration": 0,
        "images": [start[batch.rows].clone() for batch in batches],
        "losses": torch.zeros(len(batches), iterations),
        "snapshots": {k: start.clone() for k in {*snapshots, iterations}},
        "adam": None,
    }
    images, losses = [x.to(start.device) for x in state["images"]], state["losses"]
    kept = {k: snapshot.to(start.device) for k, snapshot in state["snapshots"].items()}
    adam = torch.optim.Adam(images, settings.synthesis_rate)
    if state["adam"] is not None:
        adam.load_state_dict(state["adam"])
    else:
        _wait_for_first_turns(adam, images, batches, turns)
    plain = start.device.type == "cpu"  # of small images faster backwards than the fused one
    attention = sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()
    with attention:
        for k in progress(range(state["iteration"], iterations), description):
            for chosen in passes:
                own = [images[j] for j in chosen], [batches[j] for j in chosen]
                losses[chosen, k] = _find_gradients(loss, *own, k)
            for turn in range(turns):  # its own, and those of the mini-batches after and before it
                adam.step()
                for x, batch in zip(images, batches, strict=True):
                    x.grad.zero_()
                    if k + 1 in kept and batch.number + turn == turns - 1:  # the last turn
                        kept[k + 1][batch.rows] = x
            now = {"iteration": k + 1, "images": images, "losses": losses, "snapshots": kept}
            resume.save(lambda now=now: now | {"adam": adam.state_dict()})
    resume.finish()
    return Optimised(kept[iterations], losses, {k: kept[k] for k in snapshots})


def mini_batches(parts: Sequence[Part], settings: Settings) -> list[MiniBatch]:
    """The mini-batches of all parts, in their order.

    Args:
        parts: of sets.
        settings: images of a whole set and of a mini-batch.

    Raises:
        ValueError: a part does not end with a mini-batch.
    """
    size, found = settings.synthesis_batch, []
    rows = torch.arange(sum(part.images for part in parts))
    for part, own in zip(parts, rows.split([part.images for part in parts]), strict=True):
        if part.images % size and part.images != settings.images:
            raise ValueError(f"{part}: a whole number of mini-batches of {size} is valid")
        found += [MiniBatch(part.seed, number, few) for number, few in enumerate(own.split(size))]
    return found


def _wait_for_first_turns(
    adam: torch.optim.Adam, images: Sequence[Tensor], batches: Sequence[MiniBatch], turns: int
) -> None:
    """Steps of Adam while the mini-batches before its own have their first turn.

    They move nothing: they count, so that the corrections of Adam's moments at the first own step
    are those of the Adam that all mini-batches share.
    """
    for step in range(turns - 1):
        for x, batch in zip(images, batches, strict=True):
            x.grad = torch.zeros_like(x) if step < batch.number else None
        adam.step()


def _find_gradients(
    loss: Loss, images: Sequence[Tensor], batches: Sequence[MiniBatch], iteration: int
) -> Float[Tensor, " batches"]:
    """Put gradients beside images of mini-batches of one size, in one pass; returns the losses."""
    x = torch.cat(images).requires_grad_()
    drawing = [generator(one.seed, f"mini-batch {one.number}", iteration) for one in batches]
    values = loss(x, torch.cat([one.rows for one in batches]), drawing)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    for own, part in zip(images, gradient.split(len(x) // len(images)), strict=True):
        own.grad = part
    return values.detach().cpu()


def _passes(sizes: Sequence[int], together: int) -> list[list[int]]:
    """Numbers of the mini-batches of each pass: at most so many, all of one size."""
    passes: list[list[int]] = []
    for number, size in enumerate(sizes):
        last = passes[-1] if passes else []
        if 0 < len(last) < together and sizes[last[0]] == size:
            last.append(number)
        else:
            passes.append([number])
    return passes
