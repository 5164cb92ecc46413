"""Settings that are not valid are refused by name."""

import math

import pytest

from paperlib.d4c.settings import NOT_NEGATIVE, POSITIVE, WHOLE, Settings

pytestmark = pytest.mark.usefixtures("unchecked")

NUMBERS = {
    *("temperature", "density_bandwidth", "range_exponent", "rounding_warmup"),
    *(name for name in Settings.__dataclass_fields__ if name.endswith(("_rate", "_weight"))),
    "background_noise",
}


@pytest.mark.parametrize("name", [name for names in WHOLE.values() for name in names])
def test_whole_numbers(name):
    (least,) = [least for least, names in WHOLE.items() if name in names]
    assert getattr(Settings(**{name: least}), name) == least
    for value in (least - 1, least + 0.5, float(least), math.nan, True):
        with pytest.raises(ValueError, match=f"^{name}={value}: whole numbers from {least} are"):
            Settings(**{name: value})


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits", "text_mlp_bits"])
@pytest.mark.parametrize("value", [1, 9, 4.0, 3.5, True])
def test_bits(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value}: whole numbers 2 to 8 are valid"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", sorted(NUMBERS))
@pytest.mark.parametrize("value", [-0.01, math.nan, math.inf])
def test_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value}: .* valid"):
        Settings(**{name: value})


def test_zero_is_valid_only_where_it_turns_something_off():
    for name in NOT_NEGATIVE:
        assert getattr(Settings(**{name: 0.0}), name) == 0
    for name in POSITIVE:
        with pytest.raises(ValueError, match=f"^{name}=0.0: numbers above 0 are valid"):
            Settings(**{name: 0.0})


@pytest.mark.parametrize("value", [(0.5, 0.4), (0.0, 0.5), (0.5, 1.1)])
def test_the_foreground_is_a_part_of_the_image(value):
    with pytest.raises(ValueError, match="^foreground_area=.*0 < least <= most <= 1"):
        Settings(foreground_area=value)


def test_beta_is_above_zero():
    with pytest.raises(ValueError, match="^rounding_beta=.* above 0"):
        Settings(rounding_beta=(20.0, 0.0))
