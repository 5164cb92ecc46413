import numpy as np
import pytest
import torch

from paperlib.pedsam.attacks.reconstruction import (
    Rebuilder,
    biharmonic_fill,
    mean_fill,
    rebuild,
    smooth_fill,
)

SIZE = 32
FILLS = [mean_fill, biharmonic_fill, smooth_fill]


@pytest.fixture(scope="module")
def views():
    """Images, and masks of which each shows something."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, SIZE, SIZE, generator=generator)
    seen = torch.zeros(4, SIZE, SIZE, dtype=torch.bool)
    seen[0, :10, :10], seen[1, 10:20], seen[2, :, 25:], seen[3] = True, True, True, True
    return images, seen


def network(**options):
    torch.manual_seed(0)
    return Rebuilder(grid=SIZE // 8, channels=32, depth=1, **options)


@pytest.mark.parametrize("fill", FILLS)
def test_the_seen_stays_and_the_unseen_is_never_read(views, fill):
    images, seen = views
    guesses = fill(images, seen)
    mask = seen[:, None].expand_as(images)
    torch.testing.assert_close(guesses[mask], images[mask])
    other = torch.where(mask, images, 1 - images)
    assert not torch.equal(other, images)
    torch.testing.assert_close(fill(other, seen), guesses)
    assert guesses.min() >= 0 and guesses.max() <= 1


def test_mean_fill_by_hand():
    images = torch.tensor([[0.2, 0.6], [0.0, 1.0]]).expand(1, 3, 2, 2)
    seen = torch.tensor([[[True, True], [False, False]]])
    torch.testing.assert_close(mean_fill(images, seen)[0, 0, 1], torch.tensor([0.4, 0.4]))
    assert mean_fill(images, torch.zeros_like(seen)).count_nonzero() == 0


def test_biharmonic_continues_a_plane():
    ramp = torch.linspace(0.1, 0.9, SIZE)
    images = torch.stack([ramp.expand(SIZE, SIZE), ramp[:, None].expand(SIZE, SIZE)] * 2)[:3]
    seen = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    seen[:, 12:20, 10:24] = False
    torch.testing.assert_close(biharmonic_fill(images[None], seen)[0], images, atol=1e-3, rtol=0)
    error = (mean_fill(images[None], seen)[0] - images).abs().max()
    assert error > 0.1


def test_smooth_fill_of_a_flat_image_is_flat(views):
    seen = views[1]
    flat = torch.full((4, 3, SIZE, SIZE), 0.3)
    torch.testing.assert_close(smooth_fill(flat, seen), flat, atol=1e-5, rtol=0)
    unseen = smooth_fill(flat, torch.zeros_like(seen))
    torch.testing.assert_close(unseen, torch.full_like(flat, 0.5))


@pytest.mark.parametrize(
    ("channels", "pixels", "sees_pixels"), [(0, True, True), (6, True, True), (6, False, False)]
)
def test_network_reads_only_what_the_server_has(views, channels, pixels, sees_pixels):
    images, seen = views
    images, seen = images[:3], seen[:3]
    seen = torch.zeros_like(seen)
    seen[:, :8, :16] = True  # whole cells
    model = network(token_channels=channels, pixels=pixels)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.rand(3, 6, 4, 4, generator=generator) if channels else None
    guesses = rebuild(model, images, seen, tokens)
    mask = seen[:, None].expand_as(images)
    assert torch.equal(guesses[mask], images[mask]) == sees_pixels
    elsewhere = None
    if channels:
        elsewhere = tokens.clone()
        elsewhere[:, :, 1:] += 1
        inside = tokens.clone()
        inside[:, :, 0, 0] += 1
        assert not torch.allclose(rebuild(model, images, seen, inside), guesses)
    other = torch.where(mask, images, 1 - images)
    torch.testing.assert_close(rebuild(model, other, seen, elsewhere), guesses)
    changed = rebuild(model, 1 - images, seen, tokens)
    assert torch.allclose(changed, guesses) != sees_pixels


def test_network_learns_an_unseen_half():
    generator = torch.Generator().manual_seed(2)
    colours = torch.rand(8, 3, 1, 1, generator=generator)
    images = torch.cat([colours.expand(-1, -1, 16, 32), 1 - colours.expand(-1, -1, 16, 32)], 2)
    seen = torch.zeros(8, SIZE, SIZE, dtype=torch.bool)
    seen[:, :16] = True
    model = network()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(50):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(model(images, seen), images).backward()
        optimiser.step()
    error = (rebuild(model, images, seen, batch=5) - images).square().mean()
    plain = (mean_fill(images, seen) - images).square().mean()
    assert error < 0.1 * plain


def test_size_of_the_committed_networks():
    count = sum(parameter.numel() for parameter in Rebuilder(token_channels=192).parameters())
    assert count < 1_500_000


def test_missing_and_unwanted_tokens_are_named(views):
    images, seen = views
    with pytest.raises(ValueError, match="this network takes 6 channels"):
        network(token_channels=6)(images, seen)
    with pytest.raises(ValueError, match="this network takes none"):
        network()(images, seen, torch.zeros(4, 6, 4, 4))


def test_the_network_reads_pixels_about_0_and_which_are_seen(views):
    model = network()
    read = []
    model.stem.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    images = torch.full((1, 3, SIZE, SIZE), 0.75)
    seen = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    rebuild(model, images, seen)
    rebuild(model, images, ~seen)
    nothing, all_of_it = (torch.nn.functional.pixel_shuffle(x, 4)[0] for x in read)
    assert not nothing.any()  # filled with mid-grey
    torch.testing.assert_close(all_of_it[:3], torch.full((3, SIZE, SIZE), 0.25))
    assert (all_of_it[3] == 1).all()


def test_rebuild_leaves_the_network_as_it_was(views):
    model = network().train()
    rebuild(model, *views)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert np.isfinite(rebuild(model, *views).numpy()).all()


def test_shrunk_biharmonic_is_close_and_keeps_the_seen():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 3, 3, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    seen = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    seen[:, 8:20, 4:16] = False
    whole, shrunk = (biharmonic_fill(images, seen, shrink) for shrink in (1, 2))
    assert torch.equal(shrunk.movedim(1, 3)[seen], images.movedim(1, 3)[seen])
    error = (whole - shrunk).abs().mean()
    assert error < 0.1 * (mean_fill(images, seen) - whole).abs().mean()
