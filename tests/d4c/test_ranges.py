import pytest
import torch

from paperlib.d4c.quantizers import fake_quantize
from paperlib.d4c.ranges import LONG, SLACK, _by_pieces, _by_values, search_range, search_range_loop

KINDS = {
    "two-sided": lambda x: x,
    "one-sided": lambda x: x.relu(),
    "below zero": lambda x: -x.abs() - 0.5,
    "off centre": lambda x: x + 1.5,
    "heavy tails": lambda x: x**5,
    "outlier": lambda x: torch.where(torch.arange(x.shape[1]) == 7, 300.0, x),
    "uniform": lambda x: x.sigmoid() - 0.3,
    "few values": lambda x: x.round(),
}


def exact_loss(x, found, bits):
    """Mean |x̂ - x|^2.4 in float64 of the range that was found."""
    x, scale = x.double(), found.scale.double()
    return (fake_quantize(x, scale, found.zero_point, bits, 0) - x).abs().pow(2.4).mean(1)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 5])
def test_finds_the_minimum_of_the_exhaustive_search(kind, bits, rows):
    torch.manual_seed(bits)
    x = KINDS[kind](torch.randn(rows, 600))
    found, expected = search_range(x, bits), search_range_loop(x.double(), bits)
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(exact_loss(x, found, bits), expected.loss, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [1, 16, 500])
@pytest.mark.parametrize("bits", [2, 4])
def test_finds_the_minimum_in_long_rows(kind, pieces, bits, monkeypatch):
    monkeypatch.setattr("paperlib.d4c.ranges.PIECES", pieces)
    monkeypatch.setattr("paperlib.d4c.ranges.LONG", 100)
    x = KINDS[kind](torch.randn(3, 600, generator=torch.Generator().manual_seed(bits))).double()
    found, expected = search_range(x, bits), search_range_loop(x, bits)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(exact_loss(x, found, bits), expected.loss, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["two-sided", "one-sided", "heavy tails", "outlier"])
@pytest.mark.parametrize("bits", [3, 8])
def test_finds_the_minimum_of_many_values(kind, bits):
    x = KINDS[kind](torch.randn(1, LONG + 1, generator=torch.Generator().manual_seed(bits)))
    found = search_range(x, bits, fractions=10)
    expected = search_range_loop(x.double(), bits, fractions=10)
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0101, 0.1001, 0.9901])  # no value lies between two codes
@pytest.mark.parametrize("q_max", [7, 255])
def test_pieces_bound_the_sums_from_below(kind, share, q_max):
    x = KINDS[kind](torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0)))
    x = x.double().sort(1).values
    step = (x[:, -1:] - x[:, :1]) * share / q_max
    up_to, least = _by_pieces(x, q_max, 2.4)(step)
    counted, exact = _by_values(x, q_max, 2.4)(step)
    assert torch.equal(up_to, counted)
    rounding = 1e-10 * (exact[:, -1:] - exact[:, :1])
    assert (least.diff() <= exact.diff() * SLACK + rounding).all()  # powers are in float32
    if share > 0.9:  # steps wider than the pieces: the bounds are close
        assert (least[:, -1] > 0.95 * exact[:, -1]).all()


@pytest.mark.parametrize("kind", ["two-sided", "one-sided", "heavy tails", "outlier"])
@pytest.mark.parametrize(("shape", "bits"), [((1, 1500), 8), ((3, 200), 6)])
def test_finds_the_minimum_at_many_bits(kind, shape, bits):
    torch.manual_seed(bits)
    x = KINDS[kind](torch.randn(shape)).double()
    found, expected = search_range(x, bits), search_range_loop(x, bits)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(exact_loss(x, found, bits), expected.loss, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("exponent", [2, 3, 4.5])
@pytest.mark.parametrize("fractions", [1, 17])
def test_other_exponents_and_fractions(exponent, fractions):
    x = torch.randn(2, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = search_range(x, 4, exponent, fractions)
    expected = search_range_loop(x, 4, exponent, fractions)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.scale, expected.scale)
    assert torch.equal(found.zero_point, expected.zero_point)


def test_rows_and_parts_do_not_matter(monkeypatch):
    x = torch.randn(9, 400, generator=torch.Generator().manual_seed(1)) ** 3
    together = search_range(x, 3)
    monkeypatch.setattr("paperlib.d4c.ranges.CELLS", 1000)  # parts of rows and of candidates
    for one, row in zip(zip(*search_range(x, 3), strict=True), x, strict=True):
        for value, alone in zip(one, search_range(row[None], 3), strict=True):
            torch.testing.assert_close(value, alone[0])
    for values, part in zip(together, search_range(x, 3), strict=True):
        torch.testing.assert_close(values, part)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.half, torch.float64])
def test_other_types_and_parameters(dtype):
    x = torch.randn(2, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = search_range(torch.nn.Parameter(x), 4, fractions=10)
    expected = search_range_loop(x.double(), 4, fractions=10)
    assert found.scale.dtype == dtype
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=2e-2, atol=0)


def test_zero_points_of_one_sided_tensors():
    x = torch.rand(2, 100)
    assert search_range(x, 4).zero_point.tolist() == [0, 0]
    assert search_range(-x, 4).zero_point.tolist() == [15, 15]


def test_a_row_of_zeros_stays_zero():
    x = torch.stack([torch.zeros(50), torch.randn(50)])
    found = search_range(x, 4)
    assert found.loss[0] == 0 and (found.scale > 0).all()
    assert not fake_quantize(x, found.scale, found.zero_point, 4, 0)[0].any()


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named():
    x = torch.randn(1, 10)
    with pytest.raises(ValueError, match="bits=9: whole numbers 2 to 8"):
        search_range(x, 9)
    with pytest.raises(ValueError, match="exponent=1.5: numbers from 2"):
        search_range(x, 4, 1.5)
    with pytest.raises(ValueError, match="fractions=0"):
        search_range(x, 4, fractions=0)
    with pytest.raises(ValueError, match=r"\(1, 10\): finite values"):
        search_range(x.log(), 4)
    with pytest.raises(ValueError, match="at least one"):
        search_range(x[:, :0], 4)
