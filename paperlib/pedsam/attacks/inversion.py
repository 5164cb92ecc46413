r"""Inversion attack: what the tokens of a later round tell about windows that a server never got.

In the exact schedule a server gets, from round two on, tokens of its own windows that have been
through global attention, so each of them has read from the whole image. The attack is a network
that rebuilds the image from the tokens $t_r$ of round $r$ inside the view $m$, with or without the
pixels inside it,

$$\hat x = f(m, \; x \odot m, \; t_r \odot m) \quad\text{or}\quad \hat x = f(m, \; t_r \odot m),$$

and the question is whether its error on the unseen pixels is below that of the same network with
pixels alone, $f(m, \; x \odot m)$ (`paperlib.pedsam.attacks.reconstruction`). The server is
honest but curious: it knows the weights of its blocks and the encoder that its attack was trained
on. Not in the paper.
"""

import torch
from jaxtyping import Float, UInt8
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.models.frozen import frozen
from paperlib.pedsam.split.encoder import PartitionedEncoder


def second_round_tokens(
    sam: Sam, images: UInt8[Tensor, "n 3 size size"]
) -> Float[Tensor, "n channels tokens tokens"]:
    """What all servers together receive in round two of the exact schedule, on SAM's device.

    Args:
        sam: of any size.
        images: RGB, 0 to 255, at SAM's input size.
    """
    with frozen(sam), torch.inference_mode():
        x = sam.preprocess(images.to(sam.device).float())
        tokens = PartitionedEncoder(sam.image_encoder).received(x, 1)
    return tokens.clone()
