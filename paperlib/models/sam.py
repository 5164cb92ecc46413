"""Segment Anything by name: the published sizes, and a small one that a laptop trains.

All are segment_anything's own classes (Kirillov et al., arXiv 2304.02643). The small one has the
parts that matter for splitting the encoder: windows that need padding, and global blocks between
windowed ones.

| name                  | image | tokens  | window | depth | global blocks | width |
|-----------------------|-------|---------|--------|-------|---------------|-------|
| sam-small (two)       | 320   | 20 × 20 | 6      | 6     | 2, 5          | 160   |
| sam-small-photographs | 512   | 32 × 32 | 7      | 6     | 2, 5          | 160   |
| vit_b                 | 1024  | 64 × 64 | 14     | 12    | 2, 5, 8, 11   | 768   |
| vit_l                 | 1024  | 64 × 64 | 14     | 24    | 5, 11, 17, 23 | 1024  |
| vit_h                 | 1024  | 64 × 64 | 14     | 32    | 7, 15, 23, 31 | 1280  |

``sam-small`` was trained on drawn scenes, ``sam-small-photographs`` went on from it on photographs
too, of which it sees more detail; its prompt encoder is `DrawnBoxes`. ``sam-small-pixels_once`` is
distilled for a schedule in which all windowed blocks run before the global ones; its encoder's own
forward pass, in SAM's order, is of no use.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from segment_anything import sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

from paperlib.data.download import RemoteFile, find
from paperlib.models.checkpoints import load_weights, read_weights
from paperlib.paths import CHECKPOINTS
from paperlib.runtime import giving_back

IMAGE, PATCH, WINDOW = 320, 16, 6
PHOTOGRAPH_IMAGE, PHOTOGRAPH_WINDOW = 512, 7  # of sam-small-photographs
WIDTH, DEPTH, HEADS, GLOBAL_BLOCKS = 160, 6, 5, (2, 5)
CHANNELS = 128  # of the image embedding and of the prompts
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # SAM's, of pixels 0 to 255


def _published(name: str, size: int, checksum: str) -> RemoteFile:
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{name}"
    return RemoteFile("sam", name, url, size, checksum)


SMALL = ("sam-small", "sam-small-pixels_once", "sam-small-photographs")
PUBLISHED = {
    "vit_b": _published(
        "sam_vit_b_01ec64.pth",
        375042383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": _published(
        "sam_vit_l_0b3195.pth",
        1249524607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": _published(
        "sam_vit_h_4b8939.pth",
        2564550879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}
SAMS = (*SMALL, *PUBLISHED)


class DrawnBoxes(PromptEncoder):
    """SAM's prompt encoder, with the same weights, which takes a box for a mask too.

    The corners of a box reach the decoder as positions alone; what lies between them is easier to
    find where it is drawn. Points and masks are taken as by SAM.
    """

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Float[Tensor, "*prompts 4"] | None,
        masks: Float[Tensor, "n 1 rows columns"] | None,
    ) -> tuple[Float[Tensor, "n _ channels"], Float[Tensor, "n channels _ _"]]:
        """Sparse and dense embeddings of prompts, boxes in pixels x0, y0, x1, y1, all inside."""
        if boxes is not None and masks is None:
            masks = self.drawn(boxes.reshape(-1, 4))
        return super().forward(points, boxes, masks)

    def drawn(self, boxes: Float[Tensor, "prompts 4"]) -> Float[Tensor, "prompts 1 rows columns"]:
        """Boxes as masks: the share of each cell that they cover, as -1 to 1."""
        sides = []
        for axis in (0, 1):  # across, down
            cells = self.mask_input_size[1 - axis]
            cell = self.input_image_size[1 - axis] / cells  # pixels
            start = cell * torch.arange(cells, device=boxes.device)
            first, last = boxes[:, axis, None], boxes[:, axis + 2, None] + 1
            covered = torch.minimum(last, start + cell) - torch.maximum(first, start)
            sides.append(covered.clamp(min=0) / cell)
        across, down = sides
        shares = down[:, None, :, None] * across[:, None, None, :]
        return (2 * shares - 1).to(self.no_mask_embed.weight)


def build_sam(name: str) -> Sam:
    """A SAM of `SAMS` with random weights, in eval mode.

    Raises:
        ValueError: unknown name, with the valid ones.
    """
    if name == "sam-small-photographs":
        return build_small_sam(PHOTOGRAPH_IMAGE, PHOTOGRAPH_WINDOW, drawn_boxes=True)
    if name in SMALL:
        return build_small_sam()
    if name in PUBLISHED:
        return sam_model_registry[name]()
    raise ValueError(f"SAM {name!r} is unknown: valid are {', '.join(SAMS)}")


class RandomSams(Mapping[str, Sam]):
    """SAMs with random weights by name, built at every look, so that none stays in memory.

    What one has had goes back to the system once it is not used any more.
    """

    def __init__(self, names: Iterable[str], seed: int) -> None:
        """Of `SAMS`; the weights are the same at every look."""
        self.names, self.seed = tuple(names), seed

    def __getitem__(self, name: str) -> Sam:
        torch.manual_seed(self.seed)
        with giving_back():
            return build_sam(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def prepared(sam: Sam, images: UInt8[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 size size"]:
    """Square RGB images, 0 to 255, at a SAM's own size, normalised as it does."""
    size = sam.image_encoder.img_size
    scaled = F.interpolate(images.float(), size, mode="bilinear")
    return sam.preprocess(scaled)


def load_sam(name: str, source: Path | None = None) -> Sam:
    """A SAM of `SAMS` with its trained weights, in eval mode.

    Args:
        name: small ones come from ``data/checkpoints``, the others from the published files.
        source: folder of the published files, or one such file (or another of the same keys and
            shapes, as safetensors or in PyTorch's format); else ``$PAPERLIB_SAM``, else the cache
            of downloads, which fetches the file if it has none. For small ones the folder of
            checkpoints.

    Raises:
        ValueError: unknown name, with the valid ones.
        CheckpointError: weights that are damaged, or of another SAM.
        DownloadError: no file in `source`, or none and no network; with its name, size and place.
    """
    if name not in PUBLISHED:
        return load_weights(name, build_sam(name), source or CHECKPOINTS)
    with torch.device("meta"):  # without random weights, which would be in memory too
        sam = build_sam(name)
    return read_weights(sam, find(PUBLISHED[name], source))


def build_small_sam(image: int = IMAGE, window: int = WINDOW, drawn_boxes: bool = False) -> Sam:
    """The small SAM with random weights, in eval mode.

    Args:
        image: side of the images in pixels, a multiple of `PATCH`.
        window: side of a window in tokens.
        drawn_boxes: whether its prompt encoder is `DrawnBoxes`.
    """
    tokens = image // PATCH
    encoder = ImageEncoderViT(
        img_size=image,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        out_chans=CHANNELS,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=GLOBAL_BLOCKS,
    )
    kind = DrawnBoxes if drawn_boxes else PromptEncoder
    prompts = kind(CHANNELS, (tokens, tokens), (image, image), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=8, mlp_dim=512)
    decoder = MaskDecoder(
        transformer_dim=CHANNELS, transformer=transformer, iou_head_hidden_dim=CHANNELS
    )
    return Sam(encoder, prompts, decoder, MEAN, STD).eval()


def resize_sam(sam: Sam, image: int, window: int) -> Sam:
    """A small SAM for another size of images and windows: positions are interpolated.

    Absolute ones bicubically, relative ones linearly, as segment_anything does with them.
    """
    resized, weights = build_small_sam(image, window), sam.state_dict()
    for key, value in resized.state_dict().items():
        if key.endswith("pos_embed"):  # (1, rows, columns, width)
            places = weights[key].permute(0, 3, 1, 2)
            moved = F.interpolate(places, value.shape[1:3], mode="bicubic", align_corners=False)
            weights[key] = moved.permute(0, 2, 3, 1)
        elif "rel_pos" in key:  # (2 size - 1, head width)
            places = weights[key].T[None]
            weights[key] = F.interpolate(places, len(value), mode="linear")[0].T
    resized.load_state_dict(weights)
    return resized
