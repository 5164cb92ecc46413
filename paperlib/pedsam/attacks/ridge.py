r"""Ridge regression from several kinds of knowledge, such as pixels and tokens.

$$\min_W \lVert y - W k \rVert^2 + \lambda \lVert W \rVert^2, \qquad
k = (k_1, \sqrt{w}\, k_2) / \sqrt{\text{features}},$$

with each feature of $k_1$ and $k_2$ scaled to mean 0 and variance 1. The ridge $\lambda$ and the
weight $w$ are those with the smallest error on rows that are held out; then all rows are fitted. In
the dual form it takes a matrix of rows × rows, however many features there are.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

RIDGES = tuple(10 ** (k / 2) for k in range(-4, 5))
WEIGHTS = (1 / 16, 1.0, 16.0, 256.0)
FEATURES = 4096  # scaled at a time, which bounds the memory

Known = Sequence[Float[Tensor, "n ..."]]  # kinds of knowledge, the same rows of each


class Ridge:
    """The regression above, in its dual form.

    Attributes:
        ridge, weight: what was chosen; the weight is 1 without tokens.
    """

    def __init__(self, known: Known, wanted: Float[Tensor, "n values"], held_out: int) -> None:
        """Choose on the last `held_out` rows, then fit to all.

        Raises:
            ValueError: no row, or every row, is held out.
        """
        if not 0 < held_out < len(wanted):
            raise ValueError(f"{held_out} of {len(wanted)} rows held out: some must be, not all")
        self._known = [part.flatten(1) for part in known]
        self._scales = [_scale(part) for part in self._known]
        self._mean = wanted.mean(0)
        wanted, fitted = (wanted - self._mean).double(), len(wanted) - held_out
        products, best = self._products(self._known), math.inf
        for weight in WEIGHTS if len(known) > 1 else (1.0,):
            kernel = _weighted(products, weight)
            values, vectors = torch.linalg.eigh(kernel[:fitted, :fitted])
            turned, asked = vectors.T @ wanted[:fitted], kernel[fitted:, :fitted] @ vectors
            for ridge in RIDGES:
                guess = asked @ (turned / (values.clamp(min=0) + ridge)[:, None])
                error = (guess - wanted[fitted:]).square().mean().item()
                if error < best:
                    best, self.weight, self.ridge = error, weight, ridge
        kernel = _weighted(products, self.weight)
        kernel.diagonal().add_(self.ridge)
        self._dual = torch.linalg.solve(kernel, wanted)

    def __call__(self, known: Known) -> Float[Tensor, "n values"]:
        """Guesses from the same parts of other pictures.

        Raises:
            ValueError: parts of another number or size.
        """
        sizes, due = ([p.flatten(1).shape[1] for p in parts] for parts in (known, self._known))
        if sizes != due:
            raise ValueError(f"parts of {sizes} features: fitted to {due}")
        kernel = _weighted(self._products([part.flatten(1) for part in known]), self.weight)
        return (kernel @ self._dual).to(self._mean) + self._mean

    def _products(self, asked: Sequence[Tensor]) -> list[Tensor]:
        """Mean product of scaled features, a matrix a kind; some features at a time."""
        products = []
        for some, known, scale in zip(asked, self._known, self._scales, strict=True):
            product = torch.zeros(len(some), len(known)).double().to(known.device)
            split = [each.split(FEATURES, -1) for each in (some, known, *scale)]
            for left, right, mean, deviation in zip(*split, strict=True):
                product += ((left - mean) / deviation) @ ((right - mean) / deviation).T
            products.append(product / known.shape[1])
        return products


def _weighted(products: Sequence[Tensor], weight: float) -> Tensor:
    return sum((weight * each for each in products[1:]), start=products[0].clone())


def _scale(part: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature; of none that varies, as good as any."""
    deviation = torch.cat([some.std(0) for some in part.split(FEATURES, -1)])
    return part.mean(0), deviation.clamp(min=1e-6 * deviation.mean().item() + 1e-12)
