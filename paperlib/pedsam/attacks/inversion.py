r"""Inversion attack: what the tokens of a later round tell about windows that a server never got.

In the exact schedule a server gets, from round two on, tokens of its own windows that have been
through global attention, so each of them has read from the whole image. The attack is a network
that rebuilds the image from the tokens $t_r$ of round $r$ inside the view $m$, with or without the
pixels inside it,

$$\hat x = f(m, \; x \odot m, \; t_r \odot m) \quad\text{or}\quad \hat x = f(m, \; t_r \odot m),$$

and the question is whether its error on the unseen pixels is below that of the same network with
pixels alone, $f(m, \; x \odot m)$ (`paperlib.pedsam.attacks.reconstruction`). The server is
honest but curious: it knows the weights of its blocks and the encoder that its attack was trained
on.
Not in the paper.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.models.frozen import frozen
from paperlib.pedsam.split.schedule import Round


def received_tokens(
    sam: nn.Module,
    schedule: Sequence[Round],
    round_index: int,
    images: Float[Tensor, "n 3 size size"],
    batch: int = 25,
) -> Float[Tensor, "n channels tokens tokens"]:
    """The tokens that the servers together receive in a round, as SAM's own blocks compute them.

    Args:
        sam: a `Sam` of segment_anything.
        schedule: its rounds (`paperlib.pedsam.split.schedule.rounds`).
        round_index: 1 upwards; in round 0 the servers receive pixels.
        images: RGB in [0, 1], resized here to SAM's input size, which they must divide or equal.

    Raises:
        ValueError: the schedule has no such round after the first.
    """
    if not 1 <= round_index < len(schedule):
        later = f"1 to {len(schedule) - 1}" if len(schedule) > 1 else "none: it has one round"
        raise ValueError(f"round_index={round_index}: rounds with tokens are {later}")
    before = schedule[:round_index]
    blocks = [b for stage in before for b in (*stage.server_blocks, *stage.edge_blocks)]
    encoder = sam.image_encoder
    parts = []
    with frozen(sam), torch.inference_mode():
        for x in images.split(batch):
            if x.shape[-1] != encoder.img_size:
                x = F.interpolate(x, size=encoder.img_size, mode="bilinear", antialias=True)
            x = encoder.patch_embed((255 * x - sam.pixel_mean) / sam.pixel_std)
            x = x if encoder.pos_embed is None else x + encoder.pos_embed
            for block in blocks:
                x = encoder.blocks[block](x)  # (n, tokens, tokens, channels)
            parts.append(x.permute(0, 3, 1, 2))
    return torch.cat(parts).clone()
