from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from paperlib.d4c.perturbation import Perturbation, blur, draw_perturbation, perturb, recolour
from paperlib.d4c.settings import PerturbationSettings
from paperlib.models.clip import denormalise, normalise

NEUTRAL = PerturbationSettings(flip=0, blur=0, erase=0, turn=0, scale=0, shift=0, colour=0)


def images(n=6, size=20):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def drawn(settings, n=6, size=20, seed=0):
    return draw_perturbation(n, size, settings, torch.Generator().manual_seed(seed))


def test_nothing_drawn_is_the_identity():
    torch.testing.assert_close(perturb(images(), drawn(NEUTRAL)), images(), atol=1e-5, rtol=0)


def test_views_differ_by_image_and_repeat_by_seed():
    same = images(1).expand(6, -1, -1, -1)
    views = perturb(same, drawn(PerturbationSettings()))
    assert views.shape == same.shape
    assert all((views[i] - views[j]).abs().max() > 0.1 for i in range(6) for j in range(i))
    torch.testing.assert_close(perturb(same, drawn(PerturbationSettings())), views)
    assert not torch.equal(perturb(same, drawn(PerturbationSettings(), seed=1)), views)


def test_a_batch_is_its_images_one_by_one():
    perturbation = drawn(PerturbationSettings(blur=0.5, erase=0.5), n=8)
    together = perturb(images(8), perturbation)
    for k in range(8):
        one = Perturbation(**{key: value[[k]] for key, value in vars(perturbation).items()})
        torch.testing.assert_close(perturb(images(8)[[k]], one), together[[k]])


def test_mirror_alone():
    views = perturb(images(), drawn(replace(NEUTRAL, flip=1)))
    torch.testing.assert_close(views, images().flip(-1), atol=1e-5, rtol=0)


def test_turn_against_scipy():
    """The middle of a turned smooth image, as scipy turns it."""
    smooth = F.interpolate(images(4, 5), size=41, mode="bicubic", align_corners=True)
    perturbation = drawn(replace(NEUTRAL, turn=15), n=4, size=41)
    views = perturb(smooth, perturbation)
    angles = torch.atan2(perturbation.affine[:, 0, 1], perturbation.affine[:, 0, 0]).rad2deg()
    assert angles.abs().max() > 3 and angles.abs().max() <= 15 and len(set(angles.tolist())) == 4
    for image, view, angle in zip(smooth, views, angles.tolist(), strict=True):
        turned = ndimage.rotate(image.numpy(), -angle, axes=(2, 1), reshape=False, order=1)
        np.testing.assert_allclose(view[:, 12:29, 12:29], turned[:, 12:29, 12:29], atol=1e-4)


@pytest.mark.parametrize(("name", "reach"), [("scale", 0.05), ("shift", 0.05)])
def test_scale_and_shift_stay_in_their_range(name, reach):
    affine = drawn(replace(NEUTRAL, **{name: reach}), n=2000).affine
    values = 1 / affine[:, 0, 0] - 1 if name == "scale" else affine[:, :, 2] / 2
    assert 0.98 * reach < values.max() <= reach + 1e-6
    assert -reach - 1e-6 <= values.min() < -0.98 * reach


def test_probabilities():
    many = drawn(PerturbationSettings(), n=4000, size=10)
    assert abs(many.blurred.float().mean() - 0.3) < 0.03
    assert abs(many.erased.flatten(1).any(1).float().mean() - 0.3) < 0.03
    mirrored = torch.linalg.det(many.affine[:, :, :2]) < 0
    assert abs(mirrored.float().mean() - 0.5) < 0.03
    assert 0.6 <= many.colours.min() < 0.61 and 1.39 < many.colours.max() <= 1.4


def test_colours_one_by_one():
    pixels = torch.rand(5, 3, 6, 6)
    factors = 1 + 0.4 * (2 * torch.rand(5, 3) - 1)
    views = recolour(pixels, factors)
    for x, (b, c, s), view in zip(pixels, factors, views, strict=True):
        weights = torch.tensor([0.299, 0.587, 0.114])
        x = x * b
        mean = torch.einsum("c,chw->hw", weights, x).mean()
        x = mean + c * (x - mean)
        luma = torch.einsum("c,chw->hw", weights, x)
        torch.testing.assert_close(view, luma + s * (x - luma))


def test_colours_are_changed_in_pixel_space():
    views = perturb(images(), drawn(replace(NEUTRAL, colour=0.4)))
    factors = drawn(replace(NEUTRAL, colour=0.4)).colours
    expected = normalise(recolour(denormalise(images()), factors))
    torch.testing.assert_close(views, expected, atol=1e-5, rtol=0)


def test_blur_is_the_binomial_of_scipy():
    x = images(2)
    expected = x.numpy()
    for axis in (-1, -2):
        expected = ndimage.convolve1d(expected, [0.25, 0.5, 0.25], axis=axis, mode="mirror")
    np.testing.assert_allclose(blur(x), expected, atol=1e-6)
    views = perturb(x, drawn(replace(NEUTRAL, blur=1), n=2))
    np.testing.assert_allclose(views, expected, atol=1e-5)


def test_a_square_is_erased():
    views = perturb(images(50), drawn(replace(NEUTRAL, erase=1), n=50))
    gone = (views == 0).all(1)
    assert (gone.sum((1, 2)) == 16).all()  # 20 % of 20 pixels, squared
    rows, columns = gone.any(2), gone.any(1)
    assert (rows.sum(1) == 4).all() and (columns.sum(1) == 4).all()
    assert rows.any(0).all() and columns.any(0).all()  # anywhere, the borders too
    torch.testing.assert_close(
        views.masked_fill(gone[:, None], 0), images(50).masked_fill(gone[:, None], 0)
    )


def test_gradients_reach_the_image():
    x = images().requires_grad_()
    perturb(x, drawn(replace(PerturbationSettings(), erase=0))).sum().backward()
    assert (x.grad[:, :, 8:12, 8:12] != 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 2}, "flip=2: probabilities 0 to 1"),
        ({"scale": 1}, "scale=1: 0 to below 1"),
        ({"square": 0}, "square=0: above 0 to 1"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PerturbationSettings(**change)
