r"""SAM's attention with relative positions, through fused attention.

For a query at row $a$, column $b$ and a key at row $i$, column $j$ of a map of tokens,

$$A = \operatorname{softmax}\bigl(q^\top k / \sqrt{d} + q^\top R^h_{ai} + q^\top R^w_{bj}\bigr).$$

The position terms depend on the query alone once $a$, $b$ are known. They are added as a bias
inside the fused kernel, for some queries at a time: the bias of all pairs, which for global
attention at 64 × 64 tokens would be 67 MB a head, is never stored. Equals
``segment_anything.modeling.image_encoder.Attention`` up to rounding.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor

QUERIES = 256  # whose bias is stored at a time


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
        by_row = torch.einsum("nhabd,aid->nhabi", grid, R_h).flatten(2, 3)
        by_column = torch.einsum("nhabd,bjd->nhabj", grid, R_w).flatten(2, 3)
        parts = []
        for some, row, column in zip(
            *(each.split(QUERIES, dim=2) for each in (q, by_row, by_column)), strict=True
        ):
            bias = (row[..., :, None] + column[..., None, :]).flatten(3)  # (n, heads, some, tokens)
            parts.append(F.scaled_dot_product_attention(some, k, v, attn_mask=bias, scale=scale))
        out = torch.cat(parts, dim=2)
    return out.transpose(1, 2).reshape(n, rows, columns, features // 3)
