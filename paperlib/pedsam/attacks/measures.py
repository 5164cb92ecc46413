r"""How much an attacker sees, and how well an image was rebuilt.

Over a set $P$ of pixels of an image $x$ in [0, 1] and a guess $\hat x$,

$$\mathrm{PSNR}_P = -10 \log_{10} \frac{1}{3|P|} \sum_{p \in P} \lVert x_p - \hat x_p \rVert^2,
\qquad \mathrm{SSIM}_P = \frac{1}{|P|} \sum_{p \in P} \mathrm{SSIM}(x, \hat x)_p,$$

the second with the map of structural similarity of Wang et al. 2004 (Gaussian window of standard
deviation 1.5, mean over the colours) as scikit-image computes it. $P$ is the image, or the pixels
that the attacker has not seen; the seen ones it knows.

Over the $T$ frames of a static scene, $c$ colluding ones of $k$ servers see the share
$1 - (1 - c/k)^T$ of the windows if each frame has a fresh random assignment, and $c/k$ if all have
the same.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity
from torch import Tensor

from paperlib.pedsam.split.partition import WindowGrid, assign
from paperlib.seeds import derive

MEASURES = {  # of `quality`, with what an axis of them says
    "PSNR unseen": "PSNR, unseen (dB)",
    "SSIM unseen": "SSIM, unseen",
    "PSNR image": "PSNR, image (dB)",
    "SSIM image": "SSIM, image",
}


def quality(
    images: Float[Tensor, "n 3 height width"],
    guesses: Float[Tensor, "n 3 height width"],
    seen: Bool[Tensor, "n height width"],
) -> dict[str, Float[Tensor, " n"]]:
    """PSNR (dB) and SSIM over the unseen pixels and over the image: `MEASURES`, by name.

    Both in [0, 1], at least 11 pixels high and wide. PSNR is infinite where they are equal; what is
    over unseen pixels is NaN for an image that has none.
    """
    similar, squares = _ssim_map(images, guesses), (images - guesses).square().mean(1)
    found = {}
    for name, pixels in {"unseen": ~seen, "image": torch.ones_like(seen)}.items():
        means = [
            values.mul(pixels).sum((1, 2)) / pixels.sum((1, 2)) for values in (squares, similar)
        ]
        found |= {f"PSNR {name}": -10 * means[0].log10(), f"SSIM {name}": means[1]}
    return found


def exposure(frames: int, servers: int, colluding: int = 1, *, fresh: bool) -> float:
    """Share of the windows that `colluding` of `servers` see in `frames` frames, on average.

    For a random assignment of windows that the servers share equally, drawn anew for each frame if
    `fresh`, else kept.

    Raises:
        ValueError: `frames` below 1, or not 1 <= colluding <= servers.
    """
    if frames < 1 or not 1 <= colluding <= servers:
        raise ValueError(
            f"frames={frames}, servers={servers}, colluding={colluding}: valid are at least one "
            "frame and 1 <= colluding <= servers"
        )
    share = colluding / servers
    return 1 - (1 - share) ** frames if fresh else share


def seen_windows(
    assignments: Sequence[Sequence[int]], servers: Collection[int]
) -> Float[Tensor, " frames"]:
    """Share of the windows that `servers` have seen after each frame, together.

    Args:
        assignments: of each frame: the server of every window.
        servers: indices of those that collude.
    """
    mine = torch.isin(torch.tensor(assignments), torch.tensor(sorted(servers)))
    return mine.cummax(0).values.float().mean(1)


def seen_in_a_video(
    grid: WindowGrid, servers: Sequence[int], frames: int, trials: int, seed: int
) -> pd.DataFrame:
    """Share of a static scene's windows that one server has seen, with fresh random assignments.

    Args:
        grid: of the windows.
        servers: numbers of them.
        frames: of the video.
        trials: secrets that are drawn.
        seed: of the secrets.

    Returns:
        A row for each number of servers and of frames: servers, frames, measured (mean over the
        trials), and by the formulas fresh and kept.
    """
    rows = []
    for k in servers:
        shares = []
        for trial in range(trials):
            secret = derive(seed, "secret", trial).to_bytes(8)
            drawn = [assign("random", grid.count, k, grid, secret, t) for t in range(frames)]
            shares.append(seen_windows(drawn, [0]))
        for t, share in enumerate(torch.stack(shares).mean(0).tolist(), 1):
            formulas = {"fresh": exposure(t, k, fresh=True), "kept": exposure(t, k, fresh=False)}
            rows.append({"servers": k, "frames": t, "measured": share} | formulas)
    return pd.DataFrame(rows)


def _ssim_map(images: Tensor, guesses: Tensor) -> Tensor:
    """Structural similarity around each pixel, mean over the colours: (n, height, width)."""
    maps = [
        structural_similarity(
            image,
            guess,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1].mean(0)
        for image, guess in zip(images.cpu().numpy(), guesses.cpu().numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(maps)).to(images)
