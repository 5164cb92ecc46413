r"""SAM's attention with relative positions, through fused attention.

For a query at row $a$, column $b$ and a key at row $i$, column $j$ of a map of tokens,

$$A = \operatorname{softmax}\bigl(q^\top k / \sqrt{d} + q^\top R^h_{ai} + q^\top R^w_{bj}\bigr).$$

The position terms depend on the query alone once $a$, $b$ are known, so they fit into the product:
append $q^\top R^h_{a\cdot}$ and $q^\top R^w_{b\cdot}$ to the query and one-hot vectors of $i$ and
$j$ to the key. No matrix of all pairs is stored, which for global attention at 64 × 64 tokens
would be 67 MB a head. In windows, where the matrix is small, it is the cheaper way and is added as
a bias. Equals ``segment_anything.modeling.image_encoder.Attention`` up to rounding.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor

LARGEST_BIAS = 512  # tokens in a map up to which the bias of all pairs is stored


def attend(
    attention: Attention, qkv: Float[Tensor, "n rows columns features"]
) -> Float[Tensor, "n rows columns channels"]:
    """What SAM's attention module computes between its two projections, for n maps of tokens.

    ``attention.proj(attend(attention, attention.qkv(x)))`` equals ``attention(x)``. Both
    projections work token by token, so that a caller can leave out tokens that only fill up.
    """
    n, rows, columns, features = qkv.shape
    heads, scale = attention.num_heads, attention.scale
    qkv = qkv.view(n, rows * columns, 3, heads, features // (3 * heads))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, tokens, d)
    if not attention.use_rel_pos:
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    else:
        grid = q.unflatten(2, (rows, columns))  # (n, heads, rows, columns, d)
        R_h = get_rel_pos(rows, rows, attention.rel_pos_h)  # (rows, rows, d)
        R_w = get_rel_pos(columns, columns, attention.rel_pos_w)
        by_row = torch.einsum("nhabd,aid->nhabi", grid, R_h)
        by_column = torch.einsum("nhabd,bjd->nhabj", grid, R_w)
        if rows * columns <= LARGEST_BIAS:
            bias = by_row[..., :, None] + by_column[..., None, :]  # (n, heads, a, b, i, j)
            bias = bias.reshape(n, heads, rows * columns, rows * columns)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        else:
            out = _folded(q * scale, k, v, by_row.flatten(2, 3), by_column.flatten(2, 3))
    return out.transpose(1, 2).reshape(n, rows, columns, features // 3)


def _folded(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Attention with the position terms inside the product; q is scaled already."""
    n, heads, tokens, d = q.shape
    rows, columns = by_row.shape[-1], by_column.shape[-1]
    row = torch.eye(rows, dtype=k.dtype, device=k.device).repeat_interleave(columns, 0)
    column = torch.eye(columns, dtype=k.dtype, device=k.device).repeat(rows, 1)
    place = torch.cat([row, column], dim=1).expand(n, heads, tokens, rows + columns)
    q = torch.cat([q, by_row, by_column], dim=-1)
    k = torch.cat([k, place], dim=-1)
    v = F.pad(v, (0, rows + columns))  # the fused kernel wants one width
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :d]
