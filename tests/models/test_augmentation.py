import torch

from paperlib.models import augmentation
from paperlib.models.augmentation import MIXED, mix, warp_and_colour


def test_a_warp_keeps_range_and_differs_from_image_to_image():
    torch.manual_seed(0)
    one = torch.rand(1, 3, 16, 16).repeat(64, 1, 1, 1)
    warped = warp_and_colour(one)
    assert warped.shape == one.shape and warped.min() >= 0 and warped.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in warped}) == 64


def test_half_of_the_images_are_mirrored_and_crops_lie_inside():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 32).expand(2_000, 3, 32, 32)
    warped = warp_and_colour(ramp)
    slope = warped[:, :, :, 24:].mean((1, 2, 3)) - warped[:, :, :, :8].mean((1, 2, 3))
    assert 0.45 < (slope < 0).float().mean() < 0.55
    width = slope.abs().mean() / 0.75  # of the ramp; a crop's mean width is about 0.78
    assert 0.65 < width < 0.85


def test_crops_lie_all_over_the_image_both_ways(monkeypatch):
    monkeypatch.setattr(augmentation, "COLOUR", 0.0)
    spread = []
    for axis in (2, 3):
        torch.manual_seed(0)
        ramp = torch.linspace(0, 1, 32).view(1, 1, *(32 if k == axis else 1 for k in (2, 3)))
        middle = warp_and_colour(ramp.expand(2_000, 3, 32, 32))[:, :, 12:20, 12:20].mean((1, 2, 3))
        assert 0.48 < middle.mean() < 0.52 and middle.min() > 0 and middle.max() < 1
        spread.append(middle.std())
    assert spread[0] > 0.06 and abs(spread[0] / spread[1] - 1) < 0.15


def test_colours_change_about_one():
    torch.manual_seed(0)
    warped = warp_and_colour(torch.full((4_000, 3, 8, 8), 0.5))
    assert torch.allclose(warped.std((1, 2, 3)), torch.zeros(4_000), atol=1e-5)
    factors = warped.mean((1, 2, 3)) / 0.5
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4 + 1e-5


def test_a_mixed_image_has_its_share_of_the_other():
    torch.manual_seed(0)
    images = torch.arange(200.0)[:, None, None, None].expand(200, 3, 32, 32)
    mixed, other, share = mix(images)
    index = torch.arange(200)
    assert sorted(other.tolist()) == index.tolist()
    expected = index * (1 - share) + other * share
    torch.testing.assert_close(mixed.mean((1, 2, 3)), expected, rtol=1e-4, atol=1e-3)
    assert share.max() < 0.55 and abs((share > 0).float().mean() - MIXED) < 0.1
    boxed = torch.tensor([len(image.unique()) == 2 for image in mixed])
    assert 0.3 < boxed.float().mean() < 0.5  # half of those that are mixed
