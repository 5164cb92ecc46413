import pytest
import torch

from paperlib.data.photographs import free_squares
from paperlib.models.checkpoints import load_card
from paperlib.pedsam.attacks.gaussian import (
    GaussianAttacker,
    fit_gaussian,
    from_axes,
    resize,
    to_axes,
)
from paperlib.pedsam.attacks.images import shrink
from paperlib.pedsam.attacks.networks import GRID, SIZE, build_attack, load_attack
from paperlib.pedsam.attacks.reconstruction import mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_views, to_pixels


@pytest.fixture(scope="module")
def drawn():
    """A small distribution, and pictures that are drawn from it."""
    torch.manual_seed(0)
    model = GaussianAttacker(side=6, factors=4)
    model.mean.data.normal_(0, 0.03)
    model.mean.data[0] += 0.75**0.5  # grey
    model.factors.data.normal_(0, 0.03)
    model.noise.data[:] = torch.tensor([0.03, 0.02, 0.01])
    z = torch.randn(4000, 3, 4, 1)
    clean = model.mean + (model.factors @ z)[..., 0]
    noisy = clean + model.noise.view(3, 1) * torch.randn(clean.shape)
    return model, noisy


def test_colour_axes_are_at_right_angles_and_turn_back():
    images = torch.rand(2, 3, 5, 4)
    torch.testing.assert_close(from_axes(to_axes(images)), images)
    torch.testing.assert_close(to_axes(images).square().sum(1), images.square().sum(1))
    grey = torch.full((1, 3, 1, 1), 0.5)
    torch.testing.assert_close(to_axes(grey).flatten(), torch.tensor([0.75**0.5, 0, 0]))


def test_expectation_is_that_of_the_conditional_gaussian(drawn):
    """Against the textbook's formula with the whole covariance, on every axis."""
    model, x = drawn
    view = torch.rand(36) < 0.4
    found = model.expected(x[:5], view)
    for axis in range(3):
        v, mean = model.factors[axis].double(), model.mean[axis].double()
        covariance = v @ v.T
        seen = covariance[view][:, view] + model.noise[axis].double() ** 2 * torch.eye(view.sum())
        known = x[:5, axis, view].double() - mean[view]
        expected = mean + known @ torch.linalg.solve(seen, covariance[view])
        torch.testing.assert_close(found[:, axis].double(), expected, rtol=1e-3, atol=1e-3)
    nothing = model.expected(x[:2], torch.zeros(36, dtype=torch.bool))
    torch.testing.assert_close(nothing, model.mean.expand(2, -1, -1))


def test_fit_finds_the_distribution(drawn):
    model, x = drawn
    images = from_axes(x.unflatten(2, (6, 6)))
    bytes_ = (255 * images.clamp(0, 1)).round().byte()
    found = GaussianAttacker(side=6, factors=8)
    fit_gaussian(found, bytes_)
    mirrored = (model.mean.view(3, 6, 6) + model.mean.view(3, 6, 6).flip(-1)) / 2
    torch.testing.assert_close(found.mean, mirrored.flatten(1), atol=0.02, rtol=0)
    torch.testing.assert_close(found.noise, model.noise.data, atol=0.01, rtol=0)
    with pytest.raises(ValueError, match="4 photographs: more than 4 are needed"):
        fit_gaussian(found, bytes_[:4])


def test_guess_reads_nothing_that_is_hidden_and_takes_any_size():
    torch.manual_seed(0)
    model = build_attack("gaussian")
    model.factors.data.normal_(0, 0.01)
    images = torch.rand(2, 3, 64, 64)
    seen = torch.zeros(2, 64, 64, dtype=torch.bool)
    seen[0, :, :32], seen[1, 32:] = True, True
    changed = torch.where(seen[:, None], images, 1 - images)
    assert torch.equal(model(images, seen), model(changed, seen))
    assert model(images, seen).shape == images.shape
    alone = model(images[1:], seen[1:])
    torch.testing.assert_close(model(images, seen)[1:], alone)


def test_resize_averages_down_and_interpolates_up():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert resize(images, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resize(images, 8).shape == (1, 1, 8, 8)
    assert torch.equal(resize(images, 4), images)


def test_committed_one_guesses_photographs_that_nobody_trained_on():
    """Better than the mean colour with 2 to 16 servers, and by less, the more there are."""
    model, card = load_attack("gaussian"), load_card("pedsam-gaussian")
    images, gains = shrink(free_squares(2 * SIZE), SIZE), []
    for k in (2, 16):
        views = torch.cat([draw_views(GRID, "random", k, 1, 4, seed) for seed in range(5)])
        seen, each = to_pixels(views, SIZE), images.repeat(5, 1, 1, 1)
        hidden = ~seen[:, None]
        squares = [
            ((guess - each).square() * hidden).sum() / hidden.sum()
            for guess in (rebuild(model, each, seen), mean_fill(each, seen))
        ]
        gains.append(10 * (squares[1] / squares[0]).log10().item())
    assert gains[0] > 1 and gains[1] > 0 and gains[0] > gains[1]
    measured = card["test_psnr_unseen"]
    assert measured["all"] > card["test_psnr_unseen_inpainting"]["all"] + 0.5
    assert measured["all but one"] > measured["2"] > measured["16"]
    assert abs(measured["all"] - card["test_psnr_unseen_half_the_photographs"]["all"]) < 0.05
