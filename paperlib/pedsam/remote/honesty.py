r"""Whether a reply can come from an honest server: its range, and what is computed again.

**Range.** LayerNorm scales a token to $\lVert z \rVert \le \sqrt{C}$ before its weights $\gamma$
and $\beta$, so that a linear layer after it gives at most
$\sqrt{C}\, \lVert W_i \gamma \rVert + |W_i \beta + b_i|$ in feature $i$, whatever the token.
Attention mixes values, GELU shrinks them; with the weights of the projections that bounds what a
block can add to each feature, and so how far any reply can lie from what was sent.

**Spot checks.** Of the $n$ windows of an image that servers compute in a round, $r$ are computed
again here, drawn at random, and no server learns which. $m$ false ones are noticed with probability

$$1 - \binom{n - m}{r} \Big/ \binom{n}{r}.$$

A row is false if it is off by more than `TOLERANCE` of its length, beside half a step of int8:
above the rounding of any device (half precision among them), below what changes a mask.
"""

import torch
from jaxtyping import Float
from segment_anything.modeling.image_encoder import Block
from torch import Tensor

from paperlib.pedsam.split.schedule import Round
from paperlib.pedsam.split.worker import WindowBlocks

TOLERANCE = 0.03  # of the length of a row
SLACK = 0.01  # of the largest feature of a row, for rounding


class Range:
    """How far the replies of an honest server can lie from what it was sent."""

    def __init__(self, worker: WindowBlocks) -> None:
        """Of servers with the same weights as `worker`."""
        self.worker = worker
        self._changes: dict[tuple[int, ...], Tensor] = {}  # by blocks

    @torch.no_grad()
    def holds(
        self,
        reply: Float[Tensor, "rows channels"],
        sent: Float[Tensor, "rows features"],
        turn: Round,
    ) -> bool:
        """Whether a reply is within the range."""
        worker = self.worker
        if turn.pixels:
            projection, positions = worker.patch_embed.proj, worker.pos_embed
            lengths = _plain(projection.weight).flatten(1).norm(dim=1)
            start = sent.norm(dim=1, keepdim=True) * lengths + _plain(projection.bias).abs()
            if positions is not None:
                start = start + _plain(positions).abs().amax((0, 1, 2))
            off, slack = (reply.abs() - start), reply.abs().amax(1, keepdim=True)
        else:
            off = (reply - sent).abs()
            slack = sent.abs().amax(1, keepdim=True) + reply.abs().amax(1, keepdim=True)
        return bool((off <= self._change(turn.server_blocks) + SLACK * slack).all())

    @torch.no_grad()
    def _change(self, blocks: tuple[int, ...]) -> Float[Tensor, " channels"]:
        """Most that windowed blocks can add to each feature of a token; computed once."""
        if blocks not in self._changes:
            change = torch.zeros(self.worker.channels)
            for number in blocks:
                change = change + _block_change(self.worker.blocks[str(number)])
            self._changes[blocks] = change
        return self._changes[blocks]


def _plain(weight: Tensor) -> Tensor:
    """In float32 on the CPU, as replies are, whatever device and precision the edge computes in."""
    return weight.float().cpu()


def _block_change(block: Block) -> Float[Tensor, " channels"]:
    attention, mlp = block.attn, block.mlp
    qkv, channels = attention.qkv, block.norm1.weight.numel()
    weight, bias = _plain(qkv.weight), torch.zeros(3 * channels)
    bias = bias if qkv.bias is None else _plain(qkv.bias)
    values = _after_norm(block.norm1, weight[-channels:], bias[-channels:])
    values = values.maximum(bias[-channels:].abs())  # of padding, which is zero after the norm
    mixed = _plain(attention.proj.weight).abs() @ values + _plain(attention.proj.bias).abs()
    hidden = _after_norm(block.norm2, _plain(mlp.lin1.weight), _plain(mlp.lin1.bias))
    hidden = hidden.clamp(min=0.2)  # GELU > -0.2
    return mixed + _plain(mlp.lin2.weight).abs() @ hidden + _plain(mlp.lin2.bias).abs()


def _after_norm(norm: torch.nn.LayerNorm, weight: Tensor, bias: Tensor) -> Tensor:
    """Largest size of each feature of a linear layer after a LayerNorm."""
    scale, shift, length = _plain(norm.weight), _plain(norm.bias), norm.weight.numel() ** 0.5
    return length * (weight * scale).norm(dim=1) + (weight @ shift + bias).abs()


def agrees(
    reply: Float[Tensor, "rows channels"], due: Float[Tensor, "rows channels"], form: str
) -> bool:
    """Whether a reply is what was computed here, but for rounding.

    Args:
        reply: of a server.
        due: of the same rows, from what the server read.
        form: of numbers on the wire.
    """
    lengths = due.norm(dim=1)
    allowed = TOLERANCE * lengths.maximum(lengths.mean())
    if form == "int8":
        allowed = allowed + due.abs().amax(1) / 254 * due.shape[1] ** 0.5
    return bool(((reply - due).norm(dim=1) <= allowed).all())
