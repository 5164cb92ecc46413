"""Confidence bands by resampling (the percentile bootstrap of Efron, 1979)."""

import torch
from jaxtyping import Float
from torch import Tensor


def bootstrap_mean(
    values: Float[Tensor, "n *rest"], samples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[Float[Tensor, "*rest"], Float[Tensor, "*rest"]]:
    """Lower and upper end of the confidence band of the mean over the first axis.

    Whole rows are resampled, so values of one row (a profile, a map) stay together; all resamples
    are one matrix product.

    Args:
        values: one row an independent observation (an image, a seed).
        samples: number of resamples.
        seed: of the resampling; torch's own generator is not touched.
        confidence: share of the resampled means inside the band.

    Raises:
        ValueError: no rows, no samples, or `confidence` outside (0, 1).
    """
    if not len(values) or samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"{len(values)} rows, samples={samples}, confidence={confidence}: valid are 1 or more, "
            "1 or more, and between 0 and 1"
        )
    count = len(values)
    drawn = torch.randint(
        count, (samples, count), generator=torch.Generator().manual_seed(seed)
    ).to(values.device)
    times = torch.zeros(samples, count, dtype=values.dtype, device=values.device)
    times.scatter_add_(1, drawn, torch.ones_like(times))  # how often each row was drawn
    means = times @ values.reshape(count, -1) / count  # (samples, the rest, flat)
    ends = torch.tensor([0.5 - confidence / 2, 0.5 + confidence / 2]).to(means)
    low, high = means.quantile(ends, dim=0).view(2, *values.shape[1:])
    return low, high
