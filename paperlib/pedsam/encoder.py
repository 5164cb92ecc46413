"""SAM's image encoder with its windowed blocks computed elsewhere; a drop-in for the original.

``sam.image_encoder = PartitionedEncoder(sam.image_encoder, compute)`` and ``SamPredictor`` or
``SamAutomaticMaskGenerator`` work as before.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from paperlib.pedsam.partition import WindowGrid, patches
from paperlib.pedsam.schedule import rounds
from paperlib.pedsam.worker import WindowBlocks, global_block


@runtime_checkable
class ImageSession(Protocol):
    """The windowed blocks of one image, round after round."""

    def run(self, number: int, blocks: Sequence[int], pixels: bool, values: Tensor) -> Tensor:
        """Values of all windows, in their order, through `blocks`; (rows, channels)."""


@runtime_checkable
class Compute(Protocol):
    """Where windowed blocks are computed."""

    def begin(self) -> ImageSession:
        """Start an image."""


class LocalCompute:
    """Everything in this process."""

    def __init__(self, worker: WindowBlocks) -> None:
        self.worker = worker

    def begin(self) -> "LocalCompute":
        """Start an image; nothing is kept between images."""
        return self

    def run(self, number: int, blocks: Sequence[int], pixels: bool, values: Tensor) -> Tensor:
        """Values of all windows through `blocks`."""
        return self.worker(values, range(self.worker.grid.count), blocks, pixels)


class PartitionedEncoder(nn.Module):
    """Takes and gives what the ``ImageEncoderViT`` does that it is made from.

    Attributes:
        img_size: height and width of the images in pixels.
        rounds: exchanges that it makes for each image.
    """

    def __init__(
        self, encoder: ImageEncoderViT, compute: Compute | None = None, schedule: str = "exact"
    ) -> None:
        """Share the parameters of `encoder`.

        Args:
            encoder: of segment_anything, any size.
            compute: where windowed blocks run; in this process if None.
            schedule: exact equals `encoder`; pixels_once runs every windowed block first.
        """
        super().__init__()
        self.img_size = encoder.img_size
        self.encoder = encoder
        self.compute = compute or LocalCompute(WindowBlocks(encoder))
        self.grid = WindowGrid.from_encoder(encoder)
        self.rounds = rounds(encoder, schedule)

    def forward(
        self, x: Float[Tensor, "n 3 size size"]
    ) -> Float[Tensor, "n channels rows columns"]:
        """Image embeddings.

        Args:
            x: images, normalised and padded as ``Sam.preprocess`` does.

        Raises:
            ValueError: another size than `img_size`.
        """
        if x.shape[-2:] != (self.img_size, self.img_size):
            raise ValueError(f"images of {tuple(x.shape[-2:])}: the encoder takes {self.img_size}")
        patch = self.encoder.patch_embed.proj.kernel_size[0]
        return torch.cat([self._one(values) for values in patches(x, patch)])

    def _one(self, values: Tensor) -> Tensor:
        """Embedding of one image from its patches, (tokens², features)."""
        session, t = self.compute.begin(), self.grid.tokens
        order = self.grid.rows(range(self.grid.count))
        back = order.argsort()
        for number, turn in enumerate(self.rounds):
            values = session.run(number, turn.server_blocks, turn.pixels, values[order])[back]
            tokens = values.view(1, t, t, -1)
            for block in turn.edge_blocks:
                tokens = global_block(self.encoder.blocks[block], tokens)
            values = tokens.view(t * t, -1)
        return self.encoder.neck(tokens.permute(0, 3, 1, 2))
