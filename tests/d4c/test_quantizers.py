import pytest
import torch

from paperlib.d4c.quantizers import (
    GAMMA,
    ZETA,
    ActivationQuantizer,
    WeightQuantizer,
    along,
    dequantize,
    fake_quantize,
    initial_rounding,
    quantize,
    round_weight,
    rounding_penalty,
)

BITS = range(2, 9)


@pytest.fixture
def channels():
    """Values (7, 5, 40) with a scale and a zero point for each of the 5 channels."""
    torch.manual_seed(0)
    return torch.randn(7, 5, 40) * 3, torch.rand(5) * 0.1 + 0.02, torch.randint(0, 4, (5,)).int()


@pytest.mark.parametrize("bits", BITS)
def test_equals_torch(channels, bits):
    x, scale, zero = channels
    per_channel = torch.fake_quantize_per_channel_affine(x, scale, zero, 1, 0, 2**bits - 1)
    torch.testing.assert_close(fake_quantize(x, scale, zero, bits, 1), per_channel)
    per_tensor = torch.fake_quantize_per_tensor_affine(x, 0.3, 2, 0, 2**bits - 1)
    one, two = torch.tensor(0.3), torch.tensor(2, dtype=torch.int32)
    torch.testing.assert_close(fake_quantize(x, one, two, bits), per_tensor)


@pytest.mark.parametrize("bits", BITS)
def test_codes_stand_for_the_fake_quantized_values(channels, bits):
    x, scale, zero = channels
    codes = quantize(x, scale, zero, bits, 1)
    assert int(codes.max()) == 2**bits - 1 and int(codes.min()) == 0
    values = dequantize(codes, scale, zero, 1)
    assert torch.equal(values, fake_quantize(x, scale, zero, bits, 1))
    assert torch.equal(quantize(values, scale, zero, bits, 1), codes)


@pytest.mark.parametrize("axis", [None, -1])
def test_lsq_gradients_equal_finite_differences(axis):
    """Of the clipped values directly; of those inside with the rounding held, as LSQ takes it."""
    torch.manual_seed(1)
    x = torch.randn(6, 4, dtype=torch.float64) * 2
    shape = () if axis is None else (4,)
    s = torch.full(shape, 0.3, dtype=torch.float64) + 0.1 * torch.rand(shape).double()
    z = torch.full(shape, 5, dtype=torch.int32)
    weights = torch.randn(6, 4, dtype=torch.float64)

    residue = ((x / s).round() - x / s).detach()

    def surrogate(x, s):
        inside = ((x / s).round() + z).clamp(0, 15) == (x / s).round() + z
        held = s * (x / s + residue)
        return (torch.where(inside, held, s * torch.where(x > 0, 15 - z, -z)) * weights).sum()

    x.requires_grad_(True)
    s.requires_grad_(True)
    out = fake_quantize(x, s, z, 4, axis)
    torch.testing.assert_close((out * weights).sum(), surrogate(x, s))
    by_x, by_s = torch.autograd.grad((out * weights).sum(), (x, s))
    clipped = ((x / s).round() + z > 15) | ((x / s).round() + z < 0)
    assert 3 < int(clipped.sum()) < 20
    with torch.no_grad():
        step = 1e-7
        if axis is None:
            slope = (surrogate(x, s + step) - surrogate(x, s - step)) / (2 * step)
        else:
            unit = step * torch.eye(4).double()
            slope = torch.stack([surrogate(x, s + d) - surrogate(x, s - d) for d in unit])
            slope = slope / (2 * step)
        torch.testing.assert_close(by_s, slope / (24 * 15) ** 0.5, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(by_x, weights * ~clipped)


def test_clipped_values_move_with_the_scale():
    """Where every value is clipped x̂ has a derivative, no surrogate: n times the bound."""
    x, z = torch.tensor([50.0, 60.0, -70.0]), torch.tensor(4, dtype=torch.int32)
    s = torch.tensor(0.5, requires_grad=True)
    fake_quantize(x, s, z, 4).sum().backward()
    torch.testing.assert_close(s.grad, torch.tensor((11 + 11 - 4) / (3 * 15) ** 0.5))


@pytest.fixture
def weight():
    """A convolution's weight, with ranges that hold all of it in 4 bits."""
    torch.manual_seed(2)
    w = torch.randn(6, 3, 5, 5)
    low, high = w.flatten(1).amin(1), w.flatten(1).amax(1)
    s = (high - low) / 14
    return w, s, (-low / s).ceil().int()


def lowest_codes(w, s, z):
    return (w / along(s, 0, w.ndim)).floor() + along(z, 0, w.ndim)


def test_adaround_starts_at_the_float_weight(weight):
    w, s, z = weight
    ours = round_weight(initial_rounding(w, s), lowest_codes(w, s, z), s, z, 4)
    torch.testing.assert_close(ours, w, atol=1e-6, rtol=1e-5)


def rectified_sigmoid(v):
    return (v.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_soft_rounding_and_penalty_against_autograd(weight, bits):
    w, s, z = weight[0].double(), weight[1].double(), weight[2]
    v = (torch.randn_like(w) * 3).requires_grad_(True)  # also where h is 0 or 1
    s_, z_ = along(s, 0, w.ndim), along(z, 0, w.ndim)
    h = rectified_sigmoid(v)
    assert (h == 0).any() and (h == 1).any()
    plain = (((w / s_).floor() + z_ + h).clamp(0, 2**bits - 1) - z_) * s_
    ours = round_weight(v, lowest_codes(w, s, z), s, z, bits)
    torch.testing.assert_close(ours, plain)
    direction = torch.randn_like(w)
    (wanted,) = torch.autograd.grad((plain * direction).sum(), v)
    (found,) = torch.autograd.grad((ours * direction).sum(), v)
    torch.testing.assert_close(found, wanted)
    for beta in (20.0, 2.0):
        plain = (1 - (2 * rectified_sigmoid(v) - 1).abs().pow(beta)).sum()
        ours = rounding_penalty(v, beta)
        torch.testing.assert_close(ours, plain)
        (wanted,) = torch.autograd.grad(3 * plain, v)
        (found,) = torch.autograd.grad(3 * ours, v)
        torch.testing.assert_close(found, wanted)


def test_adaround_ends_at_floor_or_ceil(weight):
    w, s, z = weight
    quantizer = WeightQuantizer(w, 4)
    quantizer.active = True
    quantizer.set_range(w, s, z)
    ratio = w / s.view(-1, 1, 1, 1)
    nearest = quantizer(w) / s.view(-1, 1, 1, 1)
    torch.testing.assert_close(nearest, ratio.round())
    v = quantizer.start_rounding(w)
    torch.testing.assert_close(quantizer(w), w, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        v.add_(torch.randn_like(v) * 4)
    soft = quantizer(w)
    quantizer.finish_rounding()
    hard = quantizer(w) / s.view(-1, 1, 1, 1)
    up = (soft / s.view(-1, 1, 1, 1) - ratio.floor()) >= 0.5
    torch.testing.assert_close(hard, ratio.floor() + up)
    assert quantizer.rounding is None
    assert (hard - ratio.round()).abs().max() > 0.9  # not the nearest rounding everywhere


def test_rounding_variable_has_gradients(weight):
    w, s, z = weight
    v = initial_rounding(w.double(), s.double()).requires_grad_(True)
    lowest = lowest_codes(w.double(), s.double(), z)
    values = lambda v: round_weight(v, lowest, s.double(), z, 4)  # noqa: E731
    gradient = torch.autograd.grad(values(v).sum(), v)[0]
    with torch.no_grad():
        slope = (values(v + 1e-6) - values(v - 1e-6)) / 2e-6
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-6)
    assert (gradient > 0).all()


def test_an_inactive_quantizer_changes_nothing():
    x = torch.randn(3, 8)
    assert ActivationQuantizer(4)(x) is x and WeightQuantizer(x, 4)(x) is x


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range(bits):
    message = f"bits={bits}: whole numbers 2 to 8"
    with pytest.raises(ValueError, match=message):
        ActivationQuantizer(bits)
    with pytest.raises(ValueError, match=message):
        WeightQuantizer(torch.ones(2, 2), bits)
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match=message):
        fake_quantize(one, one, one.int(), bits)
