r"""The orthonormal two-dimensional discrete cosine transform (type II) and its inverse.

With $C_{kn} = s_k \cos(\pi (2n + 1) k / 2N)$, $s_0 = \sqrt{1/N}$ and $s_k = \sqrt{2/N}$,

$$X = C\,x\,C^\top, \qquad x = C^\top X\,C.$$

$C$ is orthogonal, so energy is kept (Parseval): $\sum x^2 = \sum X^2$. Low frequencies stand at
the top left of $X$. Source: Wang et al., arXiv 2005.03141, section 3; equal to
``scipy.fft.dctn(type=2, norm="ortho")``.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


@lru_cache(maxsize=32)
def _basis(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    n = torch.arange(size, dtype=torch.float64)
    C = torch.cos(math.pi * (2 * n + 1) * n[:, None] / (2 * size))  # (k, n)
    C *= math.sqrt(2 / size)
    C[0] /= math.sqrt(2)
    return C.to(device, dtype)


def dct_matrix(
    size: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Float[Tensor, "size size"]:
    """The orthonormal DCT-II basis, one cosine a row, slowest first."""
    return _basis(size, dtype, torch.device(device)).clone()


def dct2(x: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch height width"]:
    """DCT over the last two axes of a batch of channels; autograd passes through."""
    rows = _basis(x.shape[-2], x.dtype, x.device)
    columns = _basis(x.shape[-1], x.dtype, x.device)
    return rows @ x @ columns.T


def idct2(X: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch height width"]:
    """Inverse of `dct2` over the last two axes."""
    rows = _basis(X.shape[-2], X.dtype, X.device)
    columns = _basis(X.shape[-1], X.dtype, X.device)
    return rows.T @ X @ columns
