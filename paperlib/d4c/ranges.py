r"""The range search: the scale and zero point that lose least of a tensor.

Of $m$ fractions $i/m$ of the range $r = \max(x, 0) - \min(x, 0)$, each with every zero point $z$
(one-sided tensors: only the one at their end), the search takes the pair with the smallest

$$L(s, z) = \frac{1}{n} \sum_x |\hat x - x|^p, \qquad s = \frac{i}{m}\,\frac{r}{q_{\max}},
\qquad p = 2.4.$$

The official search computes $\hat x$ for all $m\,2^b$ pairs (`search_range_loop`). Here a pair
costs no pass over the tensor. The grid $s\mathbb{Z}$ does not depend on $z$, which only decides
where it ends, at $l = -zs$ and $u = (q_{\max} - z)s$:

$$n L(s, z) = \sum_{l \le x \le u} |x - s\lfloor x/s \rceil|^p + \sum_{x > u} (x - u)^p +
\sum_{x < l} (l - x)^p.$$

With $x$ sorted, a search finds where the codes $\lfloor x/s \rceil$ change. Of neighbouring
values, the moments about a point $a$ are $M_k = \sum |x - a|^k$; cumulative sums of $x$ and $x^2$
give $M_2$, and $M_1$ where all these values lie on one side of $a$. As $\log M_k$ is convex in
$k$ (Lyapunov), for $p \ge 2$

$$M_p \ge M_2 \, (M_2 / M_1)^{p - 2}, \qquad M_p \ge M_2 \, (M_2 / M_0)^{p/2 - 1}.$$

The first inequality, with $a = u$ or $l$, bounds a tail from below. For the first sum the values
of each code $c$ are cut into pieces of equal counts, and the second inequality, with $a = cs$,
bounds each piece: closely, as its values are about as far from $cs$. Code 0 has $a = 0$ at every
scale, so cumulative sums of $|x|^p$ give its part exactly; it is the one with most values where a
few others stretch the range. Sums over codes are differences of cumulative sums, for all $z$ at
once.

Pairs that clip the smallest or the largest value by more than the whole loss of the full range are
left out. Of the others, the pair with the smallest bound is computed exactly. Only pairs whose
bound is below its loss, and below that of the full range, can win; these few are computed exactly
too. The result is the minimum, up to the rounding of float64.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperlib.d4c.quantizers import largest_code

CELLS = 2**20  # pairs, or values, at once: some 100 MB
CACHED = 2**16  # of them in a pass, for the processor's cache
PIECES = 16  # at most, that the values of a code are cut into
FEW = 16  # values a piece, at least, on average: smaller pieces cost more than they save
SLACK = 1 + 3e-5  # of the bounds, above their rounding


class Range(NamedTuple):
    """What the search found, for each row.

    Attributes:
        scale: s, above 0.
        zero_point: z, 0 to q_max.
        loss: mean |x̂ - x|^p.
    """

    scale: Float[Tensor, " rows"]
    zero_point: Int[Tensor, " rows"]
    loss: Float[Tensor, " rows"]


@torch.no_grad()
def search_range(
    x: Float[Tensor, "rows values"], bits: int, exponent: float = 2.4, fractions: int = 100
) -> Range:
    """The best range of each row: one row for a tensor, or a row a channel.

    Args:
        x: finite values.
        bits: 2 to 8.
        exponent: p, from 2.
        fractions: m, from 1.

    Raises:
        ValueError: an argument is out of its range, or `x` is empty or not finite.
    """
    _check(x, exponent, fractions)
    scales, zero_points = _candidates(x, bits, fractions)
    q_max = largest_code(bits)
    cells = max(x.shape[1], fractions * len(zero_points), q_max + len(zero_points))
    held = max(1, CELLS // cells)
    parts = [
        _search(rows, s.double(), zero_points, q_max, exponent)
        for rows, s in zip(x.split(held), scales.split(held), strict=True)
    ]
    scale, zero_point, loss = (torch.cat(part) for part in zip(*parts, strict=True))
    return Range(scale.to(x), zero_point, loss.to(x))


@torch.no_grad()
def search_range_loop(
    x: Float[Tensor, "rows values"], bits: int, exponent: float = 2.4, fractions: int = 100
) -> Range:
    """What `search_range` computes, as the definition says it: a pass for every pair.

    For checks and benchmarks.
    """
    _check(x, exponent, fractions)
    scales, zero_points = _candidates(x, bits, fractions)
    q_max = largest_code(bits)
    best = Range(scales[:, 0], zero_points[:1].expand(len(x)), x.new_full((len(x),), torch.inf))
    for s in scales.unbind(1):
        for z in zero_points:
            rounded = (x / s[:, None]).round_().clamp_(-z, q_max - z).mul_(s[:, None])
            loss = rounded.sub_(x).abs_().pow_(exponent).mean(1)
            better = loss < best.loss
            best = Range(
                torch.where(better, s, best.scale),
                torch.where(better, z, best.zero_point),
                torch.where(better, loss, best.loss),
            )
    return best


def _check(x: Tensor, exponent: float, fractions: int) -> None:
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise ValueError(f"x of shape {tuple(x.shape)}: finite values are needed, at least one")
    if not exponent >= 2:
        raise ValueError(f"exponent={exponent}: numbers from 2 are valid")
    if fractions < 1:
        raise ValueError(f"fractions={fractions}: whole numbers from 1 are valid")


def _candidates(x: Tensor, bits: int, fractions: int) -> tuple[Tensor, Tensor]:
    """Scales (rows, fractions) and zero points (all, or the one of a one-sided tensor)."""
    q_max = largest_code(bits)
    low, high = x.amin(1).clamp(max=0), x.amax(1).clamp(min=0)
    span = torch.where(high > low, high - low, 1)  # a row of zeros: any scale will do
    share = torch.arange(1, fractions + 1, dtype=x.dtype, device=x.device) / fractions
    scales = (span[:, None] * share / q_max).clamp(min=torch.finfo(x.dtype).tiny)
    zero_points = torch.arange(q_max + 1, dtype=torch.int32, device=x.device)
    if bool((low == 0).all()):
        return scales, zero_points[:1]
    if bool((high == 0).all()):
        return scales, zero_points[-1:]
    return scales, zero_points


def _search(
    x: Tensor, scales: Tensor, zero_points: Tensor, q_max: int, p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, zero point and loss of each row of `x`; scales (rows, fractions)."""
    x = _sorted(x).double()
    n = x.shape[1]
    S1, S2, _ = sums = tuple(_sums(x, values) for values in (x, x**2, _power(x.clone(), p)))

    def scale_of(row: Tensor, pair: Tensor) -> Tensor:
        return scales[row, pair // len(zero_points)]

    def zero_of(pair: Tensor) -> Tensor:
        return zero_points[pair % len(zero_points)]

    def loss(row: Tensor, pair: Tensor) -> Tensor:
        """n times the loss of pairs, by the definition."""
        total = x.new_zeros(len(row))
        parts = (each.split(max(1, CACHED // n)) for each in (row, pair, total))
        for r, c, losses in zip(*parts, strict=True):
            s, z = scale_of(r, c)[:, None], zero_of(c)[:, None]
            for part in x.split(CACHED, 1):
                values = part[r]
                rounded = (values / s).round_().clamp_(-z, q_max - z).mul_(s)
                losses += _power(rounded.sub_(values), p).sum(1)
        return total

    rows = torch.arange(len(x), device=x.device)
    whole = (-x[:, 0] / scales[:, -1]).round_().long() - zero_points[0]  # z of the whole range
    whole = whole.clamp_(0, len(zero_points) - 1) + len(zero_points) * (scales.shape[1] - 1)
    of_whole = loss(rows, whole)
    reach = (of_whole * SLACK).pow_(1 / p)  # no winner clips a value by more
    reach = (reach + 1e-6 * scales[:, -1])[:, None, None]  # above its rounding, where the loss is 0
    bounds = x.new_full((len(x), scales.shape[1], len(zero_points)), torch.inf)
    most = q_max + len(zero_points)  # codes -q_max … q_max, or those of one zero point
    pieces = min(PIECES, max(1, n // (FEW * most)))
    held = max(1, CACHED // (len(x) * pieces * most))
    for steps, found in zip(scales.split(held, 1), bounds.split(held, 1), strict=True):
        s = steps[:, :, None]  # (rows, scales, 1), for (rows, scales, zero points)
        low, high = -zero_points * s, (q_max - zero_points) * s
        near = (low - x[:, :1, None] <= reach) & (x[:, -1:, None] - high <= reach)
        chosen = near.flatten(0, 1).any(0).nonzero().squeeze(1)
        if not len(chosen):
            continue
        z = zero_points[chosen]
        codes = torch.arange(-int(z[-1]), q_max - int(z[0]) + 1, device=x.device)
        up_to, running = _within_codes(x, sums, codes, s, pieces, p)
        first = z[-1] - z  # the place of code -z
        last = first + q_max + 1  # past that of q_max - z
        below, above = up_to[..., first], up_to[..., last]
        A1, A2 = (_gather(S, below) - S[:, :1, None] for S in (S1, S2))
        B1, B2 = (S[:, -1:, None] - _gather(S, above) for S in (S1, S2))
        low_tail = _least(low[..., chosen], below, A1, A2, p)
        high_tail = _least(high[..., chosen], n - above, B1, B2, p)
        within = running[..., last] - running[..., first]
        found[..., chosen] = low_tail.add_(high_tail).add_(within)
    bounds = bounds.flatten(1)  # pairs count through the zero points of every scale

    likely = bounds.argmin(1)
    limit = loss(rows, likely)
    likely, limit = torch.where(of_whole < limit, whole, likely), torch.minimum(of_whole, limit)
    bounds[rows, likely] = -1  # below any limit: rounding, or a loss of 0, does not hide this pair
    row, pair = torch.nonzero(bounds < limit[:, None] * SLACK, as_tuple=True)
    losses = loss(row, pair)
    best = losses.new_full((len(x),), torch.inf).scatter_reduce_(0, row, losses, "amin")
    winners = torch.nonzero(losses == best[row]).squeeze(1).flip(0)  # the first is written last
    pair = pair[row.new_zeros(len(x)).scatter_(0, row[winners], winners)]
    return scale_of(rows, pair), zero_of(pair), best / n


def _sorted(x: Tensor) -> Tensor:
    """Rows of `x` in rising order; on a CPU by NumPy, whose sort is vectorised."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.sort(x.detach().contiguous().numpy(), axis=1))
    return x.sort(1).values.contiguous()


def _sums(x: Tensor, values: Tensor) -> Tensor:
    """Running sums over sorted rows, of the first 0, 1 … n values, from the place of 0 outwards.

    They differ by a constant from sums that begin at the left, and near 0 they lose no digits to
    large values.
    """
    negative = torch.searchsorted(x, x.new_zeros(len(x), 1))
    start, end = int(negative.min()), int(negative.max())  # signs depend on the row between
    positive = x[:, start:end] >= 0
    sums = x.new_zeros(len(x), x.shape[1] + 1)
    right, left = sums[:, start + 1 :], values[:, :end].flip(1)
    right.copy_(values[:, start:])[:, : end - start].mul_(positive)
    left[:, : end - start].mul_(~positive.flip(1))
    right.cumsum_(1)
    sums[:, :end] -= left.cumsum_(1).flip(1)
    return sums


def _gather(x: Tensor, places: Tensor) -> Tensor:
    """Values of rows (rows, n) at places (rows, scales, any)."""
    return x.gather(1, places.flatten(1)).view_as(places)


def _within_codes(
    x: Tensor, sums: tuple[Tensor, Tensor, Tensor], codes: Tensor, s: Tensor, pieces: int, p: float
) -> tuple[Tensor, Tensor]:
    """For sorted rows (rows, n) and scales (rows, scales, 1), with no pass over the values.

    Args:
        x: the rows.
        sums: of x, x² and |x|^p.
        codes: consecutive whole numbers, with 0 among them.
        s: the scales.
        pieces: that the values of each code are cut into.
        p: the exponent.

    Returns:
        How many values are below the codes, and up to the end of the first, second … of them; and
        of the first 0, 1 … codes together, a lower bound of Σ|x - s⌊x/s⌉|^p.
    """
    S1, S2, Sp = sums
    ends = torch.cat([codes[:1] - 0.5, codes + 0.5]) * s
    up_to = torch.searchsorted(x, ends.flatten(1), right=True).view_as(ends)
    share = torch.arange(pieces, dtype=x.dtype, device=x.device) / pieces
    cuts = up_to[..., :-1, None] + (up_to.diff()[..., None] * share).long()
    cuts = torch.cat([cuts.flatten(2), up_to[..., -1:]], 2)
    M0, A1, A2 = (
        running.diff().unflatten(2, (-1, pieces))
        for running in (cuts, _gather(S1, cuts), _gather(S2, cuts))
    )
    point = (codes * s)[..., None]
    M2 = (A2 - (2 * A1 - point * M0).mul_(point)).clamp_(min=0)
    least = (M2 / M0.clamp(min=1)).pow_(p / 2 - 1).mul_(M2).sum(3)
    zero = -int(codes[0])
    least[..., zero] = _gather(Sp, up_to[..., zero : zero + 2]).diff().squeeze(2)  # exact
    return up_to, torch.nn.functional.pad(least.cumsum_(2), (1, 0))


def _power(x: Tensor, p: float) -> Tensor:
    """|x|^p in place, faster than `pow`; 0 gives 0, without its logarithm, which is slow."""
    return x.abs_().clamp_(min=torch.finfo(x.dtype).tiny).log2_().mul_(p).exp2_()


def _least(b: Tensor, count: Tensor, S1: Tensor, S2: Tensor, p: float) -> Tensor:
    """Lower bound of Σ|x - b|^p over `count` values on one side of b, of sums S1 and S2 = Σx²."""
    M1 = S1 - b * count
    M2 = (S2 - (S1 + M1).mul_(b)).clamp_(min=0)
    mean = M2 / M1.abs_().clamp_(min=torch.finfo(M1.dtype).tiny)
    return mean.pow_(p - 2).mul_(M2)
