"""Ridge regression from several kinds of knowledge, against scikit-learn's."""

import pytest
import torch
from sklearn.linear_model import Ridge as Primal

from paperlib.pedsam.attacks.ridge import WEIGHTS, Ridge


@pytest.fixture
def rows():
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(60, 3, 2, generator=draw), torch.randn(60, 5, generator=draw)
    wanted = first[:, 0] + 2 * second[:, :2] + 0.5 * torch.randn(60, 2, generator=draw) + 7
    return [first, second], wanted


def test_it_is_the_regression_of_its_equation(rows):
    known, wanted = rows
    ridge = Ridge([part[:50] for part in known], wanted[:50], held_out=10)
    scaled = []
    for part, weight in zip(known, (1, ridge.weight), strict=True):
        part = part.flatten(1)
        part = (part - part[:50].mean(0)) / part[:50].std(0)
        scaled.append(part * (weight / part.shape[1]) ** 0.5)
    features = torch.cat(scaled, 1).numpy()
    primal = Primal(alpha=ridge.ridge).fit(features[:50], wanted[:50].numpy())
    due = torch.from_numpy(primal.predict(features[50:])).float()
    torch.testing.assert_close(ridge([part[50:] for part in known]), due, atol=1e-4, rtol=1e-4)


def test_it_chooses_what_is_best_on_the_rows_that_are_held_out(rows):
    (_, useful), wanted = rows
    useless = torch.randn(60, 200, generator=torch.Generator().manual_seed(1))
    first = Ridge([useful, useless], wanted, held_out=20)
    second = Ridge([useless, useful], wanted, held_out=20)
    assert first.weight == min(WEIGHTS) and second.weight in WEIGHTS[-2:]


def test_what_does_not_fit_is_refused(rows):
    (first, second), wanted = rows
    for held_out in (0, 60):
        with pytest.raises(ValueError, match="of 60 rows held out"):
            Ridge([first], wanted, held_out)
    ridge = Ridge([first, second], wanted, 10)
    for known in ([first], [first, second[:, :4]], [second, first]):
        with pytest.raises(ValueError, match="features: fitted to"):
            ridge(known)
