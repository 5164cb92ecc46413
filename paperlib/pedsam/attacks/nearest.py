"""Of one picture, as an encoder gets it: what servers see, and the reconstruction nearest to it.

Unlike `paperlib.pedsam.attacks.privacy`, which measures squares, this takes a picture of any shape,
its filling up to the square known to everybody, and any encoder: the attacks work on the square at
their own size, and what they say of unseen pixels is interpolated to the picture's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.models.sam import IMAGE, PATCH, WIDTH
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import SIZE
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import WindowGrid

Pictures = list[UInt8[np.ndarray, "height width 3"]]


@dataclass(frozen=True)
class Sight:
    """What each of some servers has of a picture; in all three its own pixels are as they were.

    Attributes:
        views: black elsewhere.
        filled: the mean colour of what it sees elsewhere.
        rebuilt: the nearest reconstruction elsewhere.
        attacks: a row for each: attack (title of the nearest reconstruction), "PSNR unseen" (dB),
            "SSIM unseen".
    """

    views: Pictures
    filled: Pictures
    rebuilt: Pictures
    attacks: pd.DataFrame


@torch.no_grad()
def look(
    sam: Sam,
    x: Float[Tensor, "1 3 size size"],
    picture: UInt8[np.ndarray, "height width 3"],
    grid: WindowGrid,
    windows: Sequence[Sequence[int]],
    committed: bool,
) -> Sight:
    """Attack a picture with the views of servers; of `ATTACKS`, the nearest to the unseen pixels.

    Args:
        sam: whose encoder it is.
        x: the picture as the encoder gets it, filled up to the square.
        picture: the same before: its content, RGB.
        grid: of the encoder.
        windows: that each server was sent.
        committed: `sam` is the small one with the weights that the attacks on tokens know.
    """
    (height, width), k, side = picture.shape[:2], len(windows), x.shape[-1]
    tokens = torch.zeros(k, grid.tokens**2, dtype=torch.bool)  # that each server was sent
    for server, each in enumerate(windows):
        tokens[server, grid.rows(each)] = True
    tokens = tokens.unflatten(1, (grid.tokens, grid.tokens))
    patch = side // grid.tokens
    sight = tokens.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    seen = sight.clone()
    seen[:, height:], seen[:, :, width:] = True, True  # that nothing is there, everybody knows
    whole = (x * sam.pixel_std + sam.pixel_mean) / 255
    images = F.interpolate(whole, size=SIZE, mode="area").clamp(0, 1).expand(k, -1, -1, -1)
    known = F.interpolate(seen[:, None].float(), size=SIZE, mode="area")[:, 0] >= 1
    received = torch.zeros(k, WIDTH, IMAGE // PATCH, IMAGE // PATCH)
    if committed:
        received = PartitionedEncoder(sam.image_encoder).received(x, 1) * tokens[:, None]
    targets, found = Targets(images, received), {}
    for name, attack in ATTACKS.items():
        if committed or not attack.tokens:
            guesses = attack.fill(targets, known)
            found[name] = guesses, quality(images, guesses, known)
    near = torch.stack([measures["PSNR unseen"] for _, measures in found.values()])
    views, filled, rebuilt, rows = [], [], [], []
    for server, best in enumerate(near.nan_to_num(nan=float("inf")).argmax(0).tolist()):
        name = [*found][best]
        guesses, measures = found[name]
        guess = F.interpolate(guesses[[server]], size=side, mode="bilinear", align_corners=False)
        guess = (255 * guess[0].permute(1, 2, 0)).round().byte().numpy()[:height, :width]
        mine = sight[server, :height, :width].numpy()
        mean = picture[mine].mean(0).round() if mine.any() else np.zeros(3)
        for pictures, elsewhere in ((views, 0), (filled, mean), (rebuilt, guess)):
            pictures.append(np.where(mine[..., None], picture, elsewhere).astype(np.uint8))
        title = "nothing is unseen" if near[best, server].isnan() else ATTACKS[name].title
        row = {m: measures[m][server].item() for m in ("PSNR unseen", "SSIM unseen")}
        rows.append({"attack": title} | row)
    return Sight(views, filled, rebuilt, pd.DataFrame(rows))
