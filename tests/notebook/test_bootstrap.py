import numpy as np
import pytest
import scipy.stats
import torch

from paperlib.notebook.bootstrap import bootstrap_mean


def test_agrees_with_scipy():
    values = torch.randn(80, 3, generator=torch.Generator().manual_seed(0)) + 2
    low, high = bootstrap_mean(values, samples=4000)
    theirs = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    np.testing.assert_allclose(low, theirs.low, atol=0.02)
    np.testing.assert_allclose(high, theirs.high, atol=0.02)


@pytest.mark.parametrize("rest", [(), (4,), (4, 5)])
def test_band_holds_the_mean_and_repeats(rest):
    values = torch.rand(30, *rest, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    low, high = bootstrap_mean(values, seed=7)
    assert low.shape == high.shape == torch.Size(rest)
    assert (low <= values.mean(0)).all() and (values.mean(0) <= high).all()
    assert torch.equal(bootstrap_mean(values, seed=7)[0], low)
    assert not torch.equal(bootstrap_mean(values, seed=8)[0], low)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_stay_together():
    column = torch.rand(20, 1)
    low, _ = bootstrap_mean(column.expand(20, 3))
    assert (low == low[0]).all()


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="0 rows"):
        bootstrap_mean(torch.empty(0, 3))
    with pytest.raises(ValueError, match="confidence=95"):
        bootstrap_mean(torch.rand(3), confidence=95)
