"""The dynamics of the released optimiser, and how its mini-batches are numbered and drawn for."""

import pytest
import torch

from paperlib.d4c.optimiser import Part, mini_batches, optimise
from paperlib.d4c.settings import Settings

SHORT = Settings(images=6, synthesis_batch=4, synthesis_iterations=3)


def quadratic(x, chosen, generators):
    """Pulls every image to its own value, with a force of its own."""
    target = (chosen.view(-1, 1, 1, 1) % 7 - 3.0) / 4
    force = (1 + chosen % 3).view(-1, 1, 1, 1) * (x - target) ** 2
    return force.view(len(generators), -1).sum(1)


@pytest.mark.parametrize("together", [1, 3, 8])
def test_the_dynamics_are_the_released_ones(together):
    """128 images, eight mini-batches, one Adam: its equations, written out in double precision."""
    settings = Settings(synthesis_iterations=12)
    start = torch.randn(128, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    done = optimise(
        start, quadratic, settings, {}, [Part(0, 128)], snapshots=range(13), together=together
    )
    x, m, v, t = start.double(), torch.zeros(128, 3, 2, 2), torch.zeros(128, 3, 2, 2), 0
    for k in range(12):
        for batch in torch.arange(128).split(16):
            part = x.requires_grad_()
            (gradient,) = torch.autograd.grad(quadratic(part[batch], batch, [0])[0], part)
            t += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            step = 0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            x = x.detach() - step
        torch.testing.assert_close(done.snapshots[k + 1], x.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(done.snapshots[12], done.images)


def test_eight_mini_batches_move_images_as_far_as_a_rate_of_the_root_of_eight():
    """While the gradient's sign holds; with an Adam a mini-batch it would be 0.01 · 20."""
    start = torch.full((128, 3, 2, 2), 40.0)
    rates = {128: 0.01, 16: 0.01 * 8**0.5}
    moved = {}
    for count, rate in rates.items():
        settings = Settings(images=count, synthesis_iterations=20, synthesis_rate=rate)
        done = optimise(start[:count], quadratic, settings, {}, [Part(0, count)])
        moved[count] = float((start[:count] - done.images).mean())
    assert moved[16] == pytest.approx(20 * 0.01 * 8**0.5, rel=0.01)
    assert moved[128] == pytest.approx(moved[16], rel=0.05)


def test_mini_batches_are_numbered_in_their_set():
    found = mini_batches([Part(3, 6), Part(7, 4)], SHORT)  # of 4 images, the last of a whole set 2
    assert [(one.seed, one.number, one.rows.tolist()) for one in found] == [
        (3, 0, [0, 1, 2, 3]),
        (3, 1, [4, 5]),
        (7, 0, [6, 7, 8, 9]),
    ]


def test_every_step_of_every_mini_batch_draws_anew():
    seeds = []

    def loss(x, chosen, generators):
        seeds.extend(draw.initial_seed() for draw in generators)
        return (x**2).flatten(1).sum(1).view(len(generators), -1).sum(1)

    optimise(torch.zeros(6, 3, 4, 4), loss, SHORT, {}, [Part(0, 6)])
    optimise(torch.zeros(6, 3, 4, 4), loss, SHORT, {}, [Part(1, 6)])
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 3
