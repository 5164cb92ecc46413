"""SAM's image encoder in other libraries' classes, brought into segment_anything's.

The split encoder takes segment_anything's ``ImageEncoderViT``. timm's ``VisionTransformerSAM``
(``samvit_base_patch16.sa1b`` and its like) has the same layers under other names; where its image
size is known and it has none of timm's further options, it is the same function.
"""

from functools import partial

from segment_anything.modeling import ImageEncoderViT
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

NAMES = {".mlp.fc1.": ".mlp.lin1.", ".mlp.fc2.": ".mlp.lin2."}  # timm's, segment_anything's


def as_sam_encoder(encoder: nn.Module) -> ImageEncoderViT:
    """The encoder as one of segment_anything, in eval mode, with the same parameters.

    Its output is that of timm's ``forward_features``.

    Raises:
        ValueError: another class; no image size, or no square one; options that segment_anything's
            class has not.
    """
    if isinstance(encoder, ImageEncoderViT):
        return encoder.eval()
    if not isinstance(encoder, VisionTransformerSAM):
        raise ValueError(
            f"encoder of class {type(encoder).__name__}: supported are segment_anything's "
            "ImageEncoderViT and timm's VisionTransformerSAM"
        )
    size, projection = encoder.patch_embed.img_size, encoder.patch_embed.proj
    if size is None or size[0] != size[1]:
        raise ValueError(f"encoder for images of {size}: a square image size is needed")
    first, windows = encoder.blocks[0], {block.window_size for block in encoder.blocks} - {0}
    weights = {
        name: value
        for name, value in encoder.state_dict(keep_vars=True).items()
        if not name.startswith("head.")
    }
    for theirs, ours in NAMES.items():
        weights = {name.replace(theirs, ours): value for name, value in weights.items()}
    sam = ImageEncoderViT(
        img_size=size[0],
        patch_size=projection.kernel_size[0],
        embed_dim=encoder.embed_dim,
        depth=len(encoder.blocks),
        num_heads=first.attn.num_heads,
        mlp_ratio=first.mlp.fc1.out_features / encoder.embed_dim,
        out_chans=encoder.num_features,
        qkv_bias=first.attn.qkv.bias is not None,
        norm_layer=partial(nn.LayerNorm, eps=first.norm1.eps),
        use_abs_pos=encoder.pos_embed is not None,
        use_rel_pos=first.attn.use_rel_pos,
        window_size=max(windows, default=0),
        global_attn_indexes=[k for k, b in enumerate(encoder.blocks) if b.window_size == 0],
    )
    other = sorted(weights.keys() ^ sam.state_dict().keys())
    if encoder.rope_global is not None:
        other.append("rotary positions")
    if not isinstance(first.mlp.act, nn.GELU) or first.mlp.act.approximate != "none":
        other.append(f"activation {first.mlp.act}")
    if other:
        raise ValueError(f"encoder that differs from segment_anything's: {', '.join(other[:3])}")
    sam.load_state_dict(weights, assign=True)
    return sam.eval()
