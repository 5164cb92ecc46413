"""One seed decides every random choice: each draw derives its own from it.

$$\\text{derived} = \\mathrm{BLAKE2b}_{64}(\\text{seed},\\ \\text{what},\\ \\text{index})$$

Neighbouring seeds share no draw, as they would if a draw took seed + index; and what is drawn for
one purpose does not move when another purpose draws more.
"""

import hashlib

import torch
from jaxtyping import Int
from torch import Tensor


def derive(seed: int, what: str, index: int = 0) -> int:
    """The seed of one draw, 0 to 2⁶³ - 1.

    Args:
        seed: of the run.
        what: is drawn, in a word or two, such as "images" or "boxes".
        index: which of several such draws.
    """
    digest = hashlib.blake2b(f"{seed}\0{what}\0{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, what: str, index: int = 0) -> torch.Generator:
    """torch's generator on the CPU with the derived seed."""
    return torch.Generator().manual_seed(derive(seed, what, index))


def draws(
    pool: int, count: int, number: int, seed: int, what: str = "images"
) -> list[Int[Tensor, " count"]]:
    """Indices of `number` draws of `count` from a pool, without replacement within a draw.

    The draws share nothing where the pool allows (number × count ≤ pool); where it does not, each
    starts where the one before ended in one shuffled pool, so that they share as little as can be.

    Raises:
        ValueError: `count` or `number` is not above 0, or the pool is smaller than one draw.
    """
    if not 0 < count <= pool or number < 1:
        raise ValueError(f"{number} draws of {count} {what}: the pool has {pool}")
    order = torch.randperm(pool, generator=generator(seed, what))
    return [
        order[torch.arange(index * count, (index + 1) * count) % pool] for index in range(number)
    ]


def overlap(pool: int, count: int, number: int) -> float:
    """Share of a draw that stands in another of the `draws` too, 0 to 1."""
    return min(1.0, max(0.0, 2 * (number * count - pool) / (number * count))) if number > 1 else 0.0
