"""SAM's image encoder in other libraries' classes, brought into segment_anything's.

The split encoder takes segment_anything's ``ImageEncoderViT``. timm's ``VisionTransformerSAM``
(``samvit_base_patch16.sa1b`` and its like) and transformers' ``SamVisionEncoder`` (that of
``facebook/sam-vit-base`` and its like, ``SamModel.vision_encoder``) have the same layers under
other names; where the image size is known and none of their further options is used, they are the
same function. HQ-SAM (Ke et al., arXiv 2306.01567; package ``segment_anything_hq``) has its own
copy of segment_anything's class, which also gives the outputs of the global blocks. transformers is
needed by the tests alone, HQ-SAM by nothing: their encoders are known by the class's name and
module, and nothing is imported.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from segment_anything.modeling import ImageEncoderViT
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

# Parts of names: theirs, and segment_anything's.
TIMM = {".mlp.fc1.": ".mlp.lin1.", ".mlp.fc2.": ".mlp.lin2."}
TRANSFORMERS = {
    "layers.": "blocks.",
    ".layer_norm": ".norm",
    "patch_embed.projection.": "patch_embed.proj.",
    "neck.conv1.": "neck.0.",
    "neck.norm1.": "neck.1.",
    "neck.conv2.": "neck.2.",
    "neck.norm2.": "neck.3.",
}


def as_sam_encoder(encoder: nn.Module) -> ImageEncoderViT:
    """The encoder as one of segment_anything, in eval mode, with the same parameters.

    Its output is that of timm's ``forward_features``, of transformers' ``last_hidden_state``, and
    the first of HQ-SAM's two; split with ``between=True`` it gives both.

    Raises:
        ValueError: another class; no image size, or no square one; options that segment_anything's
            class has not.
    """
    if isinstance(encoder, ImageEncoderViT):
        return encoder.eval()
    if isinstance(encoder, VisionTransformerSAM):
        return _of_timm(encoder)
    kind = type(encoder)
    if kind.__name__ == "SamVisionEncoder" and kind.__module__.startswith("transformers."):
        return _of_transformers(encoder)
    if kind.__name__ == "ImageEncoderViT" and kind.__module__.startswith("segment_anything_hq."):
        return _of_hq(encoder)
    raise ValueError(
        f"encoder of class {kind.__module__}.{kind.__name__}: supported are segment_anything's and "
        "HQ-SAM's ImageEncoderViT, timm's VisionTransformerSAM and transformers' SamVisionEncoder"
    )


def _of_timm(encoder: VisionTransformerSAM) -> ImageEncoderViT:
    size = encoder.patch_embed.img_size
    if size is None or size[0] != size[1]:
        raise ValueError(f"encoder for images of {size}: a square image size is needed")
    rotary = ["rotary positions"] if encoder.rope_global is not None else []
    return _with_parameters(
        encoder,
        TIMM,
        [*rotary, *_other_activation(encoder)],
        img_size=size[0],
        embed_dim=encoder.embed_dim,
        mlp_ratio=encoder.blocks[0].mlp.fc1.out_features / encoder.embed_dim,
        out_chans=encoder.num_features,
        **_sizes_in_common(encoder),
    )


def _of_transformers(encoder: nn.Module) -> ImageEncoderViT:
    config, first = encoder.config, encoder.layers[0]
    act = config.hidden_act
    return _with_parameters(
        encoder,
        TRANSFORMERS,
        [] if act == "gelu" else [f"activation {act}"],
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.hidden_size,
        num_heads=config.num_attention_heads,
        mlp_ratio=first.mlp.lin1.out_features / config.hidden_size,
        out_chans=config.output_channels,
        qkv_bias=config.qkv_bias,
        norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
        use_abs_pos=config.use_abs_pos,
        use_rel_pos=config.use_rel_pos,
        **_windows(encoder.layers),
    )


def _of_hq(encoder: nn.Module) -> ImageEncoderViT:
    width = encoder.patch_embed.proj.out_channels
    return _with_parameters(
        encoder,
        {},
        _other_activation(encoder),
        img_size=encoder.img_size,
        embed_dim=width,
        mlp_ratio=encoder.blocks[0].mlp.lin1.out_features / width,
        out_chans=encoder.neck[0].out_channels,
        **_sizes_in_common(encoder),
    )


def _sizes_in_common(encoder: nn.Module) -> dict[str, Any]:
    """What timm and HQ-SAM keep where segment_anything does."""
    first = encoder.blocks[0]
    return _windows(encoder.blocks) | {
        "patch_size": encoder.patch_embed.proj.kernel_size[0],
        "num_heads": first.attn.num_heads,
        "qkv_bias": first.attn.qkv.bias is not None,
        "norm_layer": partial(nn.LayerNorm, eps=first.norm1.eps),
        "use_abs_pos": encoder.pos_embed is not None,
        "use_rel_pos": first.attn.use_rel_pos,
    }


def _windows(blocks: Iterable[nn.Module]) -> dict[str, Any]:
    """How many blocks there are, which of them are global, and the window of the others."""
    sizes = [block.window_size for block in blocks]
    return {
        "depth": len(sizes),
        "window_size": max(sizes, default=0),
        "global_attn_indexes": [k for k, size in enumerate(sizes) if size == 0],
    }


def _other_activation(encoder: nn.Module) -> list[str]:
    """In what the activation differs, in words; in nothing if it is the exact GELU."""
    act = encoder.blocks[0].mlp.act
    exact = isinstance(act, nn.GELU) and act.approximate == "none"
    return [] if exact else [f"activation {act}"]


def _with_parameters(
    encoder: nn.Module, names: Mapping[str, str], other: list[str], **sizes: Any
) -> ImageEncoderViT:
    """segment_anything's encoder of these sizes, with the parameters of another one.

    Args:
        encoder: the other one.
        names: parts of its parameters' names, and what stands there in segment_anything's.
        other: in what it is known to differ, in words.
        sizes: of the encoder.

    Raises:
        ValueError: it differs.
    """
    weights = {
        name: value
        for name, value in encoder.state_dict(keep_vars=True).items()
        if not name.startswith("head.")
    }
    for theirs, ours in names.items():
        weights = {name.replace(theirs, ours): value for name, value in weights.items()}
    sam = ImageEncoderViT(**sizes)
    if other := [*sorted(weights.keys() ^ sam.state_dict().keys()), *other]:
        raise ValueError(f"encoder that differs from segment_anything's: {', '.join(other[:3])}")
    sam.load_state_dict(weights, assign=True)
    return sam.eval()
