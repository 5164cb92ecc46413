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

With $x$ sorted, the places where the tails begin come from counting the codes
$\lfloor x/s \rceil$. A tail is bounded from below by its moments $M_k = \sum |x - u|^k$, which
cumulative sums of $x$ and $x^2$ give: $\log M_k$ is convex in $k$ (Lyapunov), so for $p \ge 2$

$$M_p \ge M_2 \, (M_2 / M_1)^{p - 2}, \qquad M_p \ge M_2 \, (M_2 / M_0)^{p/2 - 1}.$$

The first sum is a difference of cumulative sums, for all $z$ at once: in a short row over its
values; a long row is cut into pieces, and again where codes change, so that the values of a piece
round to one point of the grid. The second inequality, with the distances from that point, bounds
a piece from below: closely, as a piece is narrow against $s$.

Pairs that clip the smallest or the largest value by more than the whole loss of the full range are
left out. Of the others, the pair with the smallest bound is computed exactly. Only pairs whose
bound is not above its loss can win; these few are computed exactly too. The result is the minimum,
up to the rounding of float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paperlib.d4c.quantizers import largest_code

CELLS = 2**20  # pairs, or values, at once: some 100 MB
PIECES = 1024  # of equal counts of values that a long row is cut into, and as many of equal width
LONG = 8 * PIECES  # values above which a row is long
FEW = 8  # so many values a code, and a search for the ends of codes is faster than counting
SLACK = 1 + 3e-5  # of the bounds, above their rounding: their powers are taken in float32


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
    held = max(1, CELLS // max(x.shape[1], fractions * len(zero_points)))
    parts = [
        _search(rows, s.double(), zero_points, largest_code(bits), exponent)
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
    S1, S2 = (x.new_zeros(len(x), n + 1) for _ in range(2))  # of the first 0, 1 … n
    torch.cumsum(x, 1, out=S1[:, 1:])
    torch.cumsum(x**2, 1, out=S2[:, 1:])
    within_codes = _by_pieces(x, q_max, p) if n > LONG else _by_values(x, q_max, p)

    def scale_of(row: Tensor, pair: Tensor) -> Tensor:
        return scales[row, pair // len(zero_points)]

    def zero_of(pair: Tensor) -> Tensor:
        return zero_points[pair % len(zero_points)]

    def loss(row: Tensor, pair: Tensor) -> Tensor:
        """n times the loss of pairs, by the definition."""
        parts = []
        for r, c in zip(*(each.split(max(1, CELLS // n)) for each in (row, pair)), strict=True):
            values, s, z = x[r], scale_of(r, c)[:, None], zero_of(c)[:, None]
            rounded = (values / s).round_().clamp_(-z, q_max - z).mul_(s)
            parts.append(_power(rounded.sub_(values), p).sum(1))
        return torch.cat(parts)

    rows = torch.arange(len(x), device=x.device)
    whole = (-x[:, 0] / scales[:, -1]).round_().long() - zero_points[0]  # z of the whole range
    whole = whole.clamp_(0, len(zero_points) - 1) + len(zero_points) * (scales.shape[1] - 1)
    reach = (loss(rows, whole) * SLACK).pow_(1 / p)  # no winner clips a value by more
    reach = (reach + 1e-6 * scales[:, -1])[:, None]  # above its rounding, where the loss is 0
    bounds = x.new_full((len(x), scales.shape[1], len(zero_points)), torch.inf)
    for i, s in enumerate(scales.split(1, 1)):  # (rows, 1)
        low, high = -zero_points * s, (q_max - zero_points) * s  # (rows, zero points)
        near = (low - x[:, :1] <= reach) & (x[:, -1:] - high <= reach)
        chosen = near.any(0).nonzero().squeeze(1)
        if not len(chosen):
            continue
        z = zero_points[chosen]
        up_to, running = within_codes(s)
        first, last = q_max - z, 2 * q_max + 1 - z  # codes -z - 1 and q_max - z
        below, above = up_to[:, first], up_to[:, last]
        A1, A2, B1, B2 = (S.gather(1, index) for index in (below, above) for S in (S1, S2))
        low_tail = _least(low[:, chosen], below, A1, A2, p)
        high_tail = _least(high[:, chosen], n - above, S1[:, -1:] - B1, S2[:, -1:] - B2, p)
        within = running[:, last] - running[:, first]
        bounds[:, i, chosen] = low_tail.add_(high_tail).add_(within)
    bounds = bounds.flatten(1)  # pairs count through the zero points of every scale

    limit = loss(rows, bounds.argmin(1)) * SLACK
    row, pair = torch.nonzero(bounds <= limit[:, None], as_tuple=True)
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


# For scales (rows, 1): how many values of each row have codes up to -q_max - 1, -q_max … q_max,
# and Σ |x - s⌊x/s⌉|^p over them, or a bound below it.
WithinCodes = Callable[[Tensor], tuple[Tensor, Tensor]]


def _by_values(x: Tensor, q_max: int, p: float) -> WithinCodes:
    """Sums, with a pass over sorted values (rows, n) for each scale; up to float32 exact."""
    ratio, running = torch.empty_like(x), x.new_zeros(len(x), x.shape[1] + 1)  # kept for all passes
    ends_of_codes = _ends_of_codes(x, q_max)
    few = len(ends_of_codes) * FEW <= x.shape[1]

    def within_codes(s: Tensor) -> tuple[Tensor, Tensor]:
        codes = torch.div(x, s, out=ratio).round()
        if few:
            up_to = torch.searchsorted(x, ends_of_codes * s, right=True)
        else:
            places = codes.clamp(-q_max - 1, q_max + 1).add_(q_max + 1).to(torch.int64)
            counts = places.new_zeros(len(x), 2 * q_max + 3)
            up_to = counts.scatter_add_(1, places, torch.ones_like(places)).cumsum_(1)[:, :-1]
        torch.cumsum(_power(codes.sub_(ratio).float(), p), 1, dtype=x.dtype, out=running[:, 1:])
        return up_to, running.gather(1, up_to).mul_(s**p)

    return within_codes


def _ends_of_codes(x: Tensor, q_max: int) -> Tensor:
    """Where codes -q_max - 1 to q_max end, in steps."""
    return torch.arange(-q_max - 1, q_max + 1, dtype=x.dtype, device=x.device) + 0.5


def _by_pieces(x: Tensor, q_max: int, p: float) -> WithinCodes:
    """Bounds for sorted values (rows, n) that take no pass over them.

    Sums are of distances from the first value of a piece: those of x itself would lose digits.
    """
    n = x.shape[1]
    share = torch.arange(PIECES + 1, dtype=x.dtype, device=x.device) / PIECES
    widths = torch.searchsorted(x, x[:, :1] + (x[:, -1:] - x[:, :1]) * share)
    cuts = torch.cat([(share * n).long().expand(len(x), -1), widths], 1).sort(1).values
    firsts = x.gather(1, cuts[:, :-1].clamp(max=n - 1))
    first = firsts.flatten().repeat_interleave(cuts.diff().flatten()).view_as(x)
    T1, T2 = (x.new_zeros(len(x), n + 1) for _ in range(2))
    torch.cumsum(x - first, 1, out=T1[:, 1:])
    torch.cumsum((x - first).square_(), 1, out=T2[:, 1:])
    ends_of_codes = _ends_of_codes(x, q_max)

    def within_codes(s: Tensor) -> tuple[Tensor, Tensor]:
        up_to = torch.searchsorted(x, ends_of_codes * s, right=True)
        edges = torch.cat([cuts, up_to], 1).sort(1).values
        M0, A1, A2 = edges.diff(), T1.gather(1, edges).diff(), T2.gather(1, edges).diff()
        place = edges[:, :-1].clamp(max=n - 1)
        offset = first.gather(1, place) - (x.gather(1, place) / s).round_().mul_(s)
        M2 = A2 + (2 * A1 + offset * M0).mul_(offset)  # Σ (x - s⌊x/s⌉)²
        least = (M2 / M0.clamp(min=1)).clamp_(min=0).pow_(p / 2 - 1).mul_(M2)
        running = torch.cat([x.new_zeros(len(x), 1), least.cumsum(1)], 1)
        return up_to, running.gather(1, torch.searchsorted(edges, up_to))

    return within_codes


def _power(x: Tensor, p: float) -> Tensor:
    """|x|^p in place, faster than `pow`; 0 gives 0."""
    return x.abs_().log2_().mul_(p).exp2_()


def _least(b: Tensor, count: Tensor, S1: Tensor, S2: Tensor, p: float) -> Tensor:
    """Lower bound of Σ|x - b|^p over `count` values on one side of b, of sums S1 and S2 = Σx²."""
    M1 = S1 - b * count
    M2 = (S2 - (S1 + M1).mul_(b)).clamp_(min=0)
    mean = M2 / M1.abs_().clamp_(min=torch.finfo(M1.dtype).tiny)
    return mean.float().pow_(p - 2) * M2
