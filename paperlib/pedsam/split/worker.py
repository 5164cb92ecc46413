"""The blocks of SAM's encoder on tokens as they travel: windowed ones and global ones.

LayerNorm, projections, MLP and residuals are per token and run on real tokens only. Attention runs
on padded windows whose padding is zero after the first LayerNorm and takes part as keys, as in SAM.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from paperlib.pedsam.split.attention import attend
from paperlib.pedsam.split.partition import Layout, WindowGrid

PRECISIONS = ("float32", "float16", "bfloat16")
TOGETHER = 1024  # tokens in an MLP


class WindowBlocks(nn.Module):
    """The part of an encoder that a server holds; shares the encoder's parameters.

    Attributes:
        grid: windows of the encoder.
        channels: features of a token.
        patch: pixels along a side of a patch.
        windowed: numbers of the windowed blocks.
    """

    def __init__(self, encoder: ImageEncoderViT) -> None:
        super().__init__()
        self.grid = WindowGrid.from_encoder(encoder)
        projection = encoder.patch_embed.proj
        self.patch, self.channels = projection.kernel_size[0], projection.out_channels
        self.windowed = tuple(k for k, b in enumerate(encoder.blocks) if b.window_size > 0)
        self.blocks = nn.ModuleDict({str(k): encoder.blocks[k] for k in self.windowed})
        self.patch_embed, self.pos_embed = encoder.patch_embed, encoder.pos_embed

    def forward(
        self,
        values: Float[Tensor, "rows features"],
        windows: Sequence[int],
        blocks: Sequence[int],
        pixels: bool,
    ) -> Float[Tensor, "rows channels"]:
        """Run windowed blocks on some windows, of one image or of several.

        Args:
            values: a row for each real token of `windows` in their order (see
                `paperlib.pedsam.split.partition`): patches of pixels, normalised as SAM does, or
                tokens.
            windows: which; those of another image follow those of the one before.
            blocks: numbers of windowed blocks, in the order in which they run.
            pixels: `values` are patches; embed them and add the positions first.

        Raises:
            ValueError: a block that is not windowed; a window that does not exist; another number
                of rows or features than they have.
        """
        wrong = [block for block in blocks if block not in self.windowed]
        if wrong:
            raise ValueError(
                f"blocks {wrong}: windowed ones are {', '.join(map(str, self.windowed))}"
            )
        layout = self.grid.layout(windows, values.device)
        due = (len(layout.tokens), 3 * self.patch**2 if pixels else self.channels)
        if values.shape != due:
            raise ValueError(f"values of shape {tuple(values.shape)}: expected {due}")
        x = self._embed(values, layout.tokens) if pixels else values
        for number in blocks:
            block = self.blocks[str(number)]
            x = x + self._attend(block, x, layout)
            x = x + _mlp(block, x)
        return x

    def anywhere(
        self,
        values: Float[Tensor, "rows features"],
        windows: Sequence[int],
        blocks: Sequence[int],
        pixels: bool,
    ) -> Float[Tensor, "rows channels"]:
        """The same in float32 on the CPU, whatever device and precision the blocks are in."""
        own = values.to(self.patch_embed.proj.weight)
        return self(own, windows, blocks, pixels).float().cpu()

    def _embed(self, values: Tensor, tokens: Tensor) -> Tensor:
        projection = self.patch_embed.proj
        x = nn.functional.linear(values, projection.weight.flatten(1), projection.bias)
        return x if self.pos_embed is None else x + self.pos_embed.flatten(0, 2)[tokens]

    def _attend(self, block: nn.Module, x: Tensor, layout: Layout) -> Tensor:
        attention, w = block.attn, self.grid.window
        x = nn.functional.pad(block.norm1(x), (0, 0, 0, 1))  # a last row of zeros: all padding
        qkv = attention.qkv(x).index_select(0, layout.sources)  # (windows · w², 3 channels)
        out = attend(attention, qkv.view(-1, w, w, qkv.shape[1])).flatten(0, 2)
        return attention.proj(out.index_select(0, layout.places))


def cast(model: nn.Module, device: str, precision: str) -> None:
    """Have a model compute on a device, such as cuda, and in one of `PRECISIONS`.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        model.to(device, getattr(torch, precision))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device}: {str(error).splitlines()[0]}") from None


def global_block(
    block: nn.Module, x: Float[Tensor, "n rows columns channels"]
) -> Float[Tensor, "n rows columns channels"]:
    """One of SAM's blocks with global attention."""
    x = x + block.attn.proj(attend(block.attn, block.attn.qkv(block.norm1(x))))
    return x + _mlp(block, x.flatten(0, 2)).view_as(x)


def _mlp(block: nn.Module, x: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows channels"]:
    """Its MLP on some tokens at a time: what lies between its two layers is four times as large."""
    parts = [block.mlp(block.norm2(some)) for some in x.split(TOGETHER)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
