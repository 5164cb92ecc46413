r"""SAM's attention with relative positions, through fused attention.

For a query at row $a$, column $b$ and a key at row $i$, column $j$ of a map of tokens,

$$A = \operatorname{softmax}\bigl(q^\top k / \sqrt{d} + q^\top R^h_{ai} + q^\top R^w_{bj}\bigr).$$

The position terms depend on the query alone once $a$, $b$ are known. They are added as a bias
inside the fused kernel. On a large map it is made for some queries at a time: the bias of all
pairs, which for global attention at 64 × 64 tokens would be 67 MB a head, is never stored. In a
small window the table $R_{ab,ij} = R^h_{ai} + R^w_{bj}$ is small too, and one product with it gives
the bias. Equals ``segment_anything.modeling.image_encoder.Attention`` up to rounding.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor

PAIRS = 2**19  # of queries and keys whose bias is stored at a time, for each head
SMALL = 64  # tokens of a map whose table is made


def attend(
    attention: Attention, qkv: Float[Tensor, "n rows columns features"]
) -> Float[Tensor, "n rows columns channels"]:
    """What SAM's attention module computes between its two projections, for n maps of tokens.

    ``attention.proj(attend(attention, attention.qkv(x)))`` equals ``attention(x)``. Both
    projections work token by token, so that a caller can leave out tokens that only fill up. The
    maps are of the size that the module was made for.
    """
    n, rows, columns, _ = qkv.shape
    heads, scale = attention.num_heads, attention.scale
    qkv = qkv.view(n, rows * columns, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, tokens, d)
    if not attention.use_rel_pos:
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    else:
        R_h = attention.rel_pos_h[_distances(rows, qkv.device)]  # (rows, rows, d)
        R_w = attention.rel_pos_w[_distances(columns, qkv.device)]
        biases = _table_bias(q, R_h, R_w) if rows * columns <= SMALL else _split_bias(q, R_h, R_w)
        parts = [
            F.scaled_dot_product_attention(some, k, v, attn_mask=bias, scale=scale)
            for some, bias in biases
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out.transpose(1, 2).reshape(n, rows, columns, -1)


@lru_cache
@torch.inference_mode(False)
def _distances(size: int, device: torch.device) -> Int[Tensor, "size size"]:
    """Row of a table of relative positions, -(size - 1) first, for each query and key."""
    places = torch.arange(size, device=device)
    return places[:, None] - places + size - 1


def _table_bias(q: Tensor, R_h: Tensor, R_w: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All queries and their bias, (n, heads, tokens, tokens)."""
    n, heads, tokens, d = q.shape
    R = (R_h[:, None, :, None] + R_w[None, :, None, :]).view(tokens, tokens, d)
    bias = q.permute(2, 0, 1, 3).reshape(tokens, n * heads, d) @ R.transpose(1, 2)
    yield q, bias.view(tokens, n, heads, tokens).permute(1, 2, 0, 3)


def _split_bias(q: Tensor, R_h: Tensor, R_w: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of queries and their bias, part after part; without gradients in the same place.

    Were each in a new place, the C library would keep those of all parts.
    """
    rows, columns = len(R_h), len(R_w)
    some = max(1, PAIRS // (len(q) * rows * columns * columns))  # rows of queries
    grid = q.unflatten(2, (rows, columns))  # (n, heads, rows, columns, d)
    by_row = torch.einsum("nhabd,aid->nhabi", grid, R_h).contiguous()
    by_column = torch.einsum("nhabd,bjd->nhabj", grid, R_w).contiguous()
    size = *q.shape[:2], min(some, rows) * columns, rows, columns
    room = None if by_row.requires_grad else q.new_empty(size)
    for part in zip(*(each.split(some, dim=2) for each in (grid, by_row, by_column)), strict=True):
        queries, row, column = (each.flatten(2, 3) for each in part)
        place = None if room is None else room[:, :, : queries.shape[2]]
        bias = torch.add(row[..., :, None], column[..., None, :], out=place)
        yield queries, bias.flatten(3)
