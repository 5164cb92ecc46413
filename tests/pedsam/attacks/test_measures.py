import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from paperlib.pedsam.attacks.measures import (
    MEASURES,
    exposure,
    quality,
    seen_in_a_video,
    seen_windows,
)
from paperlib.pedsam.split.partition import WindowGrid, assign
from paperlib.seeds import derive


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 24, 24, generator=generator)
    return images, (images + 0.1 * torch.randn(3, 3, 24, 24, generator=generator)).clamp(0, 1)


def test_the_image_is_measured_as_by_scikit_image(pair):
    images, guesses = pair
    inner = torch.zeros(3, 24, 24, dtype=torch.bool)
    inner[:, 5:-5, 5:-5] = True  # scikit-image's own mean leaves the window's radius out
    found, of_inner = quality(images, guesses, inner), quality(images, guesses, ~inner)
    assert set(found) == set(MEASURES)
    how = {"channel_axis": 0, "gaussian_weights": True, "sigma": 1.5}
    for k, (x, y) in enumerate(zip(images.numpy(), guesses.numpy(), strict=True)):
        psnr = peak_signal_noise_ratio(x, y, data_range=1)
        ssim = structural_similarity(x, y, data_range=1, use_sample_covariance=False, **how)
        assert found["PSNR image"][k].item() == pytest.approx(psnr, rel=1e-5)
        assert of_inner["SSIM unseen"][k].item() == pytest.approx(ssim, rel=1e-5)
    nothing = quality(images, guesses, torch.zeros_like(inner))
    torch.testing.assert_close(nothing["SSIM image"], nothing["SSIM unseen"])
    torch.testing.assert_close(nothing["SSIM image"], found["SSIM image"])


def test_only_the_unseen_pixels_count():
    images = torch.zeros(2, 3, 16, 16)
    guesses = torch.full_like(images, 0.5)
    guesses[:, :, :4] = 0.1
    bottom = torch.zeros(2, 16, 16, dtype=torch.bool)
    bottom[:, 4:] = True
    top = quality(images, guesses, bottom)["PSNR unseen"]
    torch.testing.assert_close(top, torch.full((2,), 20.0))
    below = quality(images, guesses, ~bottom)["PSNR unseen"]
    torch.testing.assert_close(below, torch.full((2,), -20 * math.log10(0.5)))
    same = quality(images, images, bottom)
    assert same["PSNR unseen"].tolist() == [math.inf] * 2 and same["SSIM unseen"].tolist() == [1, 1]
    everything = quality(images, guesses, torch.ones_like(bottom))
    assert everything["PSNR unseen"].isnan().all() and everything["SSIM unseen"].isnan().all()


@pytest.mark.parametrize(("servers", "colluding"), [(1, 1), (2, 1), (4, 1), (4, 3), (16, 5)])
def test_exposure_is_the_mean_of_drawn_assignments(servers, colluding):
    draw, windows, frames, trials = np.random.default_rng(0), 16, 6, 400
    even = np.arange(windows) % servers
    shares = torch.stack(
        [
            seen_windows([draw.permutation(even).tolist() for _ in range(frames)], range(colluding))
            for _ in range(trials)
        ]
    ).mean(0)
    for frame in range(1, frames + 1):
        expected = exposure(frame, servers, colluding, fresh=True)
        assert abs(shares[frame - 1] - expected) < 0.015
        assert exposure(frame, servers, colluding, fresh=False) == colluding / servers


def test_seen_windows_of_a_kept_assignment():
    shares = seen_windows([(0, 1, 2, 3)] * 3 + [(3, 0, 2, 3)], {0, 2})
    assert shares.tolist() == [0.5, 0.5, 0.5, 0.75]


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="frames=0"):
        exposure(0, 4, fresh=True)
    with pytest.raises(ValueError, match="colluding=5"):
        exposure(1, 4, 5, fresh=False)


def test_a_video_is_measured_as_by_hand():
    grid = WindowGrid(6, 3)
    video = seen_in_a_video(grid, (2, 4), frames=2, trials=3, seed=5)
    assert video[["servers", "frames"]].to_numpy().tolist() == [[2, 1], [2, 2], [4, 1], [4, 2]]
    assert video.fresh.tolist() == [0.5, 0.75, 0.25, 1 - 0.75**2]
    assert video.kept.tolist() == [0.5, 0.5, 0.25, 0.25]
    shares = []
    for trial in range(3):
        secret = derive(5, "secret", trial).to_bytes(8)
        drawn = [assign("random", 4, 2, grid, secret, frame) for frame in range(2)]
        shares.append(len({w for one in drawn for w, owner in enumerate(one) if owner == 0}) / 4)
    assert video.measured[1] == pytest.approx(sum(shares) / 3)
