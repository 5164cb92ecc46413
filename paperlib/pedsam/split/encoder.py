"""SAM's image encoder with its windowed blocks computed elsewhere; a drop-in for the original.

``sam.image_encoder = PartitionedEncoder(sam.image_encoder, compute)`` and ``SamPredictor`` or
``SamAutomaticMaskGenerator`` work as before. It keeps the names of the encoder's parameters. It may
be moved and cast apart from the rest of SAM, ``.half()`` or ``.to("cuda", torch.bfloat16)``: images
are brought to where it is, embeddings back. A trace would keep one picture's assignment for all,
and nothing differentiates through servers: both are refused.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from paperlib.pedsam.split.partition import WindowGrid, patches
from paperlib.pedsam.split.schedule import Round, rounds
from paperlib.pedsam.split.worker import WindowBlocks, global_block


@runtime_checkable
class Session(Protocol):
    """The windowed blocks of some images, round after round.

    Attributes:
        largest: size of tokens that can go into the next round.
    """

    largest: float

    def run(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """All tokens of the images, row by row, through the servers' blocks of round `number`."""

    def again(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """The same once more, believing nobody, as what followed from the first cannot be right."""


@runtime_checkable
class Compute(Protocol):
    """Where windowed blocks are computed.

    Attributes:
        batch: most images of a session.
    """

    batch: int

    def begin(self, images: Float[Tensor, "n 3 size size"]) -> Session:
        """Start with these images, as ``Sam.preprocess`` gives them."""


class LocalCompute:
    """Everything in this process."""

    largest = float("inf")

    def __init__(self, worker: WindowBlocks) -> None:
        self.worker, self.batch = worker, worker.grid.batch

    def begin(self, images: Float[Tensor, "n 3 size size"]) -> "LocalCompute":
        """Start with some images; nothing is kept between them."""
        return self

    def run(
        self, number: int, turn: Round, values: Float[Tensor, "n tokens features"]
    ) -> Float[Tensor, "n tokens channels"]:
        """All tokens of the images through the servers' blocks."""
        n, windows = len(values), [*range(self.worker.grid.count)]
        order = self.worker.grid.layout(windows, values.device).tokens
        rows = values[:, order].flatten(0, 1)
        out = self.worker(rows, n * windows, turn.server_blocks, turn.pixels)
        return out.unflatten(0, (n, -1))[:, order.argsort()]

    again = run


class PartitionedEncoder(nn.Module):
    """Takes and gives what the ``ImageEncoderViT`` does that it is made from.

    Attributes:
        img_size: height and width of the images in pixels.
        rounds: exchanges that it makes for each image.
    """

    def __init__(
        self,
        encoder: ImageEncoderViT,
        compute: Compute | None = None,
        schedule: str = "exact",
        between: bool = False,
    ) -> None:
        """Share the parameters of `encoder`.

        Args:
            encoder: of segment_anything, any size.
            compute: where windowed blocks run; in this process if None.
            schedule: exact equals `encoder`; pixels_once runs every windowed block first.
            between: give the outputs of the global blocks too, which HQ-SAM's decoder takes (Ke et
                al., arXiv 2306.01567); the edge computes those blocks, so that no server gets more.
        """
        super().__init__()
        self.img_size, self.patch = encoder.img_size, encoder.patch_embed.proj.kernel_size[0]
        self.patch_embed, self.pos_embed = encoder.patch_embed, encoder.pos_embed
        self.blocks, self.neck = encoder.blocks, encoder.neck
        self.compute = compute or LocalCompute(WindowBlocks(encoder))
        self.grid = WindowGrid.from_encoder(encoder)
        self.rounds, self.between = rounds(encoder, schedule), between

    @torch.compiler.disable  # what goes to whom is decided anew for each image
    def forward(
        self, x: Float[Tensor, "n 3 size size"]
    ) -> (
        Float[Tensor, "n channels rows columns"]
        | tuple[
            Float[Tensor, "n channels rows columns"],
            list[Float[Tensor, "n rows columns features"]],
        ]
    ):
        """Image embeddings; with `between` also the output of each global block, in order.

        Args:
            x: images, normalised and padded as ``Sam.preprocess`` does.

        Raises:
            ValueError: another size than `img_size`.
            RuntimeError: within ``torch.jit.trace``; gradients are asked for over servers.
        """
        necks, outputs = [], []
        for tokens, maps in self._walk(x, len(self.rounds)):
            necks.append(self.neck(tokens.permute(0, 3, 1, 2)))
            outputs.append(maps)
        embeddings = torch.cat(necks).to(x)
        if not self.between:
            return embeddings
        return embeddings, [torch.cat(parts).to(x) for parts in zip(*outputs, strict=True)]

    def received(
        self, x: Float[Tensor, "n 3 size size"], number: int
    ) -> Float[Tensor, "n channels tokens tokens"]:
        """The tokens that the servers together receive in round `number`, 1 upwards.

        Raises:
            ValueError: another size than `img_size`; no such round after the first.
        """
        if not 1 <= number < len(self.rounds):
            count = len(self.rounds)
            later = f"1 to {count - 1}" if count > 1 else "none: there is one round"
            raise ValueError(f"number={number}: rounds with tokens are {later}")
        tokens = torch.cat([tokens for tokens, _ in self._walk(x, number)])
        return tokens.permute(0, 3, 1, 2).to(x)

    def _walk(self, x: Tensor, rounds: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Tokens of the images after so many rounds, some images at a time; and `between`."""
        if x.shape[-2:] != (self.img_size, self.img_size):
            raise ValueError(f"images of {tuple(x.shape[-2:])}: the encoder takes {self.img_size}")
        if torch.jit.is_tracing():
            raise RuntimeError("a trace would keep which windows go where: call the encoder itself")
        t, learns = self.grid.tokens, any(each.requires_grad for each in (x, *self.parameters()))
        if torch.is_grad_enabled() and learns and not isinstance(self.compute, LocalCompute):
            raise RuntimeError("no gradients pass through servers: encode under torch.no_grad()")
        for images in x.to(self.patch_embed.proj.weight).split(self.compute.batch):
            session, values = self.compute.begin(images), patches(images, self.patch)
            maps: list[Tensor] = []
            for number, turn in enumerate(self.rounds[:rounds]):
                tokens, outputs = self._global(turn, session.run(number, turn, values))
                limit = session.largest
                if limit < float("inf") and not tokens.abs().amax() <= limit:  # nor if it is NaN
                    tokens, outputs = self._global(turn, session.again(number, turn, values))
                values = tokens
                maps += outputs
            yield tokens.unflatten(1, (t, t)), maps

    def _global(self, turn: Round, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens, row by row, through the edge's blocks of a round; and what is `between`."""
        maps, outputs = tokens.unflatten(1, (self.grid.tokens, self.grid.tokens)), []
        for block in turn.edge_blocks:
            maps = global_block(self.blocks[block], maps)
            if self.between:
                outputs.append(maps)
        return maps.flatten(1, 2), outputs
