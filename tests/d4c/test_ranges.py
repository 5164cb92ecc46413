import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.d4c.quantizers import fake_quantize
from paperlib.d4c.ranges import (
    SLACK,
    _least,
    _sums,
    _within_codes,
    search_range,
    search_range_loop,
)

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
    monkeypatch.setattr("paperlib.d4c.ranges.FEW", 1)
    x = KINDS[kind](torch.randn(3, 600, generator=torch.Generator().manual_seed(bits))).double()
    found, expected = search_range(x, bits), search_range_loop(x, bits)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(exact_loss(x, found, bits), expected.loss, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["two-sided", "one-sided", "heavy tails", "outlier"])
@pytest.mark.parametrize("bits", [3, 8])
def test_finds_the_minimum_of_many_values(kind, bits):
    x = KINDS[kind](torch.randn(1, 20_000, generator=torch.Generator().manual_seed(bits)))
    found = search_range(x, bits, fractions=10)
    expected = search_range_loop(x.double(), bits, fractions=10)
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0101, 0.1001, 0.9901])  # no value lies between two codes
@pytest.mark.parametrize("q_max", [7, 255])
@pytest.mark.parametrize("pieces", [1, 16])
@pytest.mark.parametrize("exponent", [2.4, 3.5])
def test_pieces_bound_the_sums_from_below(kind, share, q_max, pieces, exponent):
    x = KINDS[kind](torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0)))
    x = x.double().sort(1).values
    step = (x[:, -1:] - x[:, :1]) * share / q_max
    codes = torch.arange(-q_max, q_max + 1)
    sums = tuple(_sums(x, values) for values in (x, x**2, x.abs() ** exponent))
    up_to, least = _within_codes(x, sums, codes, step[:, :, None], pieces, exponent)
    nearest = (x / step).round()
    places = (nearest + q_max + 1).clamp(0, 2 * q_max + 2).long()  # below the codes, each, above
    none = x.new_zeros(2, 2 * q_max + 3)
    counts = none.scatter_add(1, places, torch.ones_like(x))
    assert torch.equal(up_to[:, 0], counts.cumsum(1)[:, :-1].long())
    exact = none.scatter_add(1, places, (x - nearest * step).abs() ** exponent)[:, 1:-1]
    rounding = 1e-10 * exact.sum(1, keepdim=True)
    assert (least[:, 0].diff() <= exact * SLACK + rounding).all()
    torch.testing.assert_close(least[:, 0].diff()[:, q_max], exact[:, q_max])  # code 0
    if share > 0.9 and pieces > 1:  # few values lie beyond the codes: the bounds are close
        assert (least[:, 0, -1] > 0.95 * exact.sum(1)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exponent", [2, 2.4, 3.5])
def test_tails_are_bounded_from_below(kind, exponent):
    x = KINDS[kind](torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))).double()
    for end in torch.linspace(x.min(), x.max(), 9, dtype=x.dtype):
        for tail in (x[x > end], x[x < end]):
            count = torch.tensor(len(tail))
            bound = _least(end, count, tail.sum(), (tail**2).sum(), exponent)
            exact = ((tail - end).abs() ** exponent).sum()
            assert bound <= exact * SLACK
            assert bound > 0 or exact == 0


ONE_SIDED = {
    "half zeros": lambda x: x.relu(),
    "nine of ten zeros": lambda x: (x - 1.3).relu(),
    "one value and zeros": lambda x: torch.where(torch.arange(x.shape[1]) == 7, 3.0, 0.0 * x),
    "a row of zeros": lambda x: x.relu() * (torch.arange(len(x)) > 0)[:, None],
    "ties": lambda x: (4 * x.relu()).round() / 4,
    "one value": lambda x: torch.full_like(x, 0.7),
    "heavy tail": lambda x: x.relu() ** 5,
    "outlier": lambda x: torch.where(torch.arange(x.shape[1]) == 7, 300.0, x.relu()),
    "tiny": lambda x: 1e-30 * x.relu(),
    "huge": lambda x: 1e30 * x.relu(),
    "beyond float32": lambda x: 1e60 * x.double().relu(),
}


@pytest.mark.parametrize("kind", ONE_SIDED)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("rows", "values"), [(1, 9000), (5, 40)])
@pytest.mark.parametrize("bits", [3, 8])
def test_finds_the_range_of_the_exhaustive_search_in_one_sided_rows(kind, sign, rows, values, bits):
    generator = torch.Generator().manual_seed(bits)
    x = sign * ONE_SIDED[kind](torch.randn(rows, values, generator=generator)).double()
    found, expected = search_range(x, bits), search_range_loop(x, bits)
    smallest = 1e-20 * x.abs().amax(1) ** 2.4  # a loss below is rounding
    assert ((found.loss - expected.loss).abs() <= 1e-9 * expected.loss + smallest).all()
    assert torch.equal(found.zero_point, expected.zero_point)
    unique = expected.loss > smallest
    torch.testing.assert_close(found.scale[unique], expected.scale[unique], rtol=1e-12, atol=0)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    values=st.sampled_from([1, 2, 9, 100, 1500]),
    bits=st.integers(2, 5),
    exponent=st.floats(2, 5),
    zeros=st.floats(0, 0.99),
    power=st.sampled_from([0.2, 1, 4]),
    sides=st.sampled_from([1, 2]),
    pieces=st.sampled_from([1, 3, 16]),
)
def test_finds_the_minimum_whatever_the_values(
    seed, rows, values, bits, exponent, zeros, power, sides, pieces
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, values, generator=generator, dtype=torch.float64)
    x = x.sign() ** (sides - 1) * x.abs() ** power
    x = torch.where(torch.rand(x.shape, generator=generator) < zeros, 0, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paperlib.d4c.ranges.PIECES", pieces)
        patch.setattr("paperlib.d4c.ranges.FEW", 2)
        found = search_range(x, bits, exponent, fractions=13)
    expected = search_range_loop(x, bits, exponent, fractions=13)
    smallest = 1e-20 * x.abs().amax(1) ** exponent
    assert ((found.loss - expected.loss).abs() <= 1e-9 * expected.loss + smallest).all()


def test_rounding_does_not_hide_a_loss_of_zero():
    x = (torch.arange(16) * 0.1 - 0.7).double().repeat(700)[None]  # each value is a code
    found = search_range(x, 4)
    assert found.loss < 1e-16
    torch.testing.assert_close(found.scale, torch.tensor([0.1], dtype=torch.float64))
    assert found.zero_point == 7


def test_few_pairs_are_computed(monkeypatch):
    """That the bounds are close: a pass over the values is for the pairs that could win."""
    passes = []
    monkeypatch.setattr(
        "paperlib.d4c.ranges._power", lambda x, p: (passes.append(len(x)), x.abs() ** p)[1]
    )
    monkeypatch.setattr("paperlib.d4c.ranges.CACHED", 2**20)
    for kind in ("half zeros", "heavy tail", "outlier"):
        x = ONE_SIDED[kind](torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)))
        passes.clear()
        search_range(x, 4)
        assert sum(passes) < 25


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
