import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torch import nn

from paperlib.data import LabelledImages
from paperlib.freq import corruptions
from paperlib.freq.corruptions import CORRUPTIONS, corrupt

IMAGES = torch.randint(40, 216, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0))
IMAGES = IMAGES.to(torch.uint8)
PIXELS = IMAGES.numpy().transpose(0, 2, 3, 1) / 255


PUBLISHED = {  # make_cifar_c.py of Hendrycks and Dietterich's code, arXiv 1903.12261
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg": (80, 65, 58, 50, 40),
}


def change(name, severity=3):
    return corrupt(name, IMAGES, severity, 0).double() - IMAGES.double()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_and_more_severe_is_more(name):
    found = [corrupt(name, IMAGES, severity, 0) for severity in range(1, 6)]
    assert all(f.dtype == torch.uint8 and f.shape == IMAGES.shape for f in found)
    assert torch.equal(found[2], corrupt(name, IMAGES, 3, 0))
    sizes = [(f.double() - IMAGES.double()).pow(2).mean().item() for f in found]
    assert sizes == sorted(sizes) and 0 < sizes[0] < sizes[4]
    drawn = not torch.equal(found[2], corrupt(name, IMAGES, 3, 1))
    assert drawn == name.endswith("noise")


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("gaussian_noise", lambda x: 0.08**2 + 0 * x),
        ("shot_noise", lambda x: x / 100),
        ("speckle_noise", lambda x: (0.12 * x) ** 2),
    ],
)
def test_noise_has_the_variance_of_its_formula(name, variance):
    bright = IMAGES > 180
    for where in (bright, ~bright):
        found = (change(name)[where] / 255).var().item()
        assert found == pytest.approx(variance(IMAGES[where] / 255.0).mean().item(), rel=0.05)
    assert (change(name) / 255).mean().item() == pytest.approx(0, abs=0.005)


def test_impulses_are_salt_and_pepper():
    changed = corrupt("impulse_noise", IMAGES, 5, 0)
    hit = changed != IMAGES
    assert hit.float().mean() == pytest.approx(0.07, abs=0.005)
    assert set(changed[hit].tolist()) == {0, 255}
    assert (changed[hit] == 255).float().mean() == pytest.approx(0.5, abs=0.05)


def as_pixels(values):
    return torch.from_numpy((255 * np.clip(values, 0, 1) + 1e-6).astype(np.uint8)).permute(
        0, 3, 1, 2
    )


def test_blur_contrast_and_brightness_are_those_of_the_published_code():
    blurred = [skimage.filters.gaussian(x, sigma=0.7, channel_axis=-1) for x in PIXELS]
    assert (as_pixels(blurred).int() - corrupt("gaussian_blur", IMAGES, 3, 0)).abs().max() <= 1
    means = PIXELS.mean((1, 2), keepdims=True)
    flat = as_pixels((PIXELS - means) * 0.4 + means)
    assert (flat.int() - corrupt("contrast", IMAGES, 3, 0)).abs().max() <= 1
    value = skimage.color.rgb2hsv(PIXELS)
    value[..., 2] = np.clip(value[..., 2] + 0.15, 0, 1)
    bright = as_pixels(skimage.color.hsv2rgb(value))
    assert (bright.int() - corrupt("brightness", IMAGES, 3, 0)).abs().max() <= 1
    black = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert (corrupt("brightness", black, 5, 0) == 76).all()


def test_pixelate_by_hand():
    image = Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy())
    small = image.resize((27, 27), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    expected = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    assert torch.equal(corrupt("pixelate", IMAGES[:1], 3, 0)[0], expected)


def test_frequencies_of_corruptions():
    smooth = torch.arange(32)[None, None, :, None].expand(4, 3, 32, 32) * 4 + 60
    data = LabelledImages(smooth.to(torch.uint8), torch.zeros(4).long(), ("a",), "made here")
    shares = dict(zip(CORRUPTIONS, corruptions.high_shares(data, 3, 0), strict=True))
    assert shares["gaussian_noise"] == pytest.approx(0.75, abs=0.03)
    assert shares["contrast"] < 0.02 and shares["brightness"] < 0.02


def test_accuracy_lost_by_hand():
    class Bright(nn.Module):
        def forward(self, x):
            z = x.mean((1, 2, 3)) - 0.53
            return torch.stack([-z, z], 1)

    values = torch.tensor([100, 120, 140, 180]).to(torch.uint8)
    images = values[:, None, None, None].expand(4, 3, 32, 32).contiguous()
    data = LabelledImages(images, torch.tensor([0, 0, 1, 0]), ("dark", "bright"), "made here")
    right = corruptions.outcomes(Bright(), data, 3, 0)
    assert right.shape == (4, 1 + len(CORRUPTIONS))
    assert right[:, 0].tolist() == [True, True, True, False]
    lost = dict(zip(CORRUPTIONS, corruptions.lost(right), strict=True))
    assert lost["brightness"] == 0.5 and lost["contrast"] == 0  # 100 and 120 become 138 and 158


def test_severities_are_the_published_ones():
    assert {name: each.constants for name, each in CORRUPTIONS.items()} == PUBLISHED


@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="'fog' is unknown: valid are gaussian_noise"):
        corrupt("fog", IMAGES, 3, 0)
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity={severity}: valid are 1 to 5"):
            corrupt("jpeg", IMAGES, severity, 0)


def outcomes_of(losses, images=40):
    """What a network gets right that loses these shares of the images, from the first one on."""
    lost = [np.arange(images) >= round(loss * images) for loss in [0, *losses]]
    return np.stack(lost, 1)


def test_who_is_ahead_where_frequencies_decide_and_where_they_do_not():
    shares, robust = np.arange(9) / 9, outcomes_of(np.zeros(9))
    value, low, high = corruptions.ahead(shares, outcomes_of(np.arange(9) / 10), robust, 200, 0)
    assert value == pytest.approx(1) and low > 0.9 and high == pytest.approx(1)
    mixed = np.array([3, 0, 8, 1, 5, 4, 2, 7, 6]) / 10
    value, low, high = corruptions.ahead(shares, outcomes_of(mixed), robust, 200, 0)
    assert low < 0 < high and high - low > 1  # nine are few, however many images
    assert corruptions.ahead(shares, robust, outcomes_of(mixed), 2, 0)[0] == pytest.approx(-value)


def test_frequencies_dealt_anew_correlate_by_chance():
    shares, natural, robust = np.arange(9) / 9, outcomes_of(np.arange(9) / 10), outcomes_of([0] * 9)
    found = corruptions.ahead_by_chance(shares, natural, robust, 400, 0)
    assert abs(found.mean()) < 0.06
    assert np.percentile(found, 97.5) == pytest.approx(0.68, abs=0.08)  # of nine, in tables
