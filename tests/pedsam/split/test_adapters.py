"""Encoders of timm, transformers and HQ-SAM, split over servers, give what those give."""

import inspect
import types

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, image_encoder
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.adapters import as_sam_encoder
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.worker import WindowBlocks

SIZE = 72  # 9 × 9 tokens in windows of 4
SIZES = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
SIZES |= {"window_size": 4, "global_attn_indexes": (1, 3), "use_rel_pos": True}


def drawn(model):
    """With large random parameters, in eval mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def samvit(**changes):
    sizes = SIZES | {"neck_chans": 8, "num_classes": 0} | changes
    return drawn(VisionTransformerSAM(**sizes))


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rel_pos": False},
        {"qkv_bias": False, "mlp_ratio": 2.0},
        {"use_abs_pos": False},
        {"norm_layer": lambda size, **more: nn.LayerNorm(size, eps=0.1, **more)},
    ],
)
def test_over_servers_as_timm_computes_it(in_process, changes):
    model, x = samvit(**changes), torch.randn(1, 3, SIZE, SIZE)
    encoder = as_sam_encoder(model)
    addresses = [in_process(WindowService(WindowBlocks(encoder), Limits())) for _ in range(2)]
    with EdgeCompute(WindowBlocks(encoder), addresses, checks=1) as edge:
        ours = PartitionedEncoder(encoder, edge)(x)
    assert set(edge.table().status) == {"OK"}
    torch.testing.assert_close(ours, model.forward_features(x), atol=1e-4, rtol=1e-4)


def test_the_parameters_are_the_same_ones():
    model = samvit()
    encoder = as_sam_encoder(model)
    assert encoder.blocks[2].mlp.lin1.weight is model.blocks[2].mlp.fc1.weight


def of_transformers(**changes):
    sizes = {"image_size": SIZE, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 4}
    sizes |= {"num_attention_heads": 2, "output_channels": 8, "window_size": 4, "mlp_dim": 64}
    config = SamVisionConfig(**(sizes | {"global_attn_indexes": [1, 3]} | changes))
    return drawn(SamVisionEncoder(config))


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rel_pos": False},
        {"qkv_bias": False, "mlp_dim": 32},
        {"use_abs_pos": False},
        {"layer_norm_eps": 0.1},
        {"global_attn_indexes": [3], "window_size": 5},
    ],
)
def test_over_servers_as_transformers_computes_it(in_process, changes):
    model, x = of_transformers(**changes), torch.randn(1, 3, SIZE, SIZE)
    encoder = as_sam_encoder(model)
    assert encoder.neck[3].bias is model.neck.layer_norm2.bias
    addresses = [in_process(WindowService(WindowBlocks(encoder), Limits())) for _ in range(2)]
    with EdgeCompute(WindowBlocks(encoder), addresses, checks=1) as edge:
        ours = PartitionedEncoder(encoder, edge)(x)
    assert set(edge.table().status) == {"OK"}
    torch.testing.assert_close(ours, model(x).last_hidden_state, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (lambda: nn.Linear(2, 2), "encoder of class torch.nn.modules.linear.Linear: supported are"),
        (lambda: samvit(img_size=(72, 64)), "a square image size is needed"),
        (lambda: samvit(qk_norm=True), "differs from segment_anything's: blocks.0.attn.k_norm"),
        (lambda: samvit(init_values=0.1), "differs from segment_anything's: blocks.0.ls1"),
        (lambda: samvit(use_rope=True, use_rel_pos=False), "rotary positions"),
        (lambda: samvit(act_layer=nn.ReLU), "activation ReLU"),
        (lambda: of_transformers(hidden_act="relu"), "activation relu"),
        (lambda: of_hq(act_layer=nn.ReLU), "activation ReLU"),
    ],
)
def test_what_is_not_the_same_function_is_refused(encoder, words):
    with pytest.raises(ValueError, match=words):
        as_sam_encoder(encoder())


def of_hq(**changes):
    """segment_anything's class as HQ-SAM's package has it: its own copy, with a second output."""
    source = inspect.getsource(image_encoder)
    source = source.replace("from .common", "from segment_anything.modeling.common")
    copied = types.ModuleType("segment_anything_hq.modeling.image_encoder")
    exec(source, vars(copied))  # classes get the module's name

    def forward(self, x):
        x, between = self.patch_embed(x), []
        x = x if self.pos_embed is None else x + self.pos_embed
        for block in self.blocks:
            x = block(x)
            if block.window_size == 0:
                between.append(x)
        return self.neck(x.permute(0, 3, 1, 2)), between

    copied.ImageEncoderViT.forward = forward
    return drawn(copied.ImageEncoderViT(**(SIZES | {"out_chans": 8} | changes)))


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes",
    [{}, {"use_rel_pos": False, "use_abs_pos": False}, {"qkv_bias": False, "mlp_ratio": 2.0}],
)
def test_over_servers_as_hq_sam_computes_it(in_process, changes):
    model, x = of_hq(**changes), torch.randn(1, 3, SIZE, SIZE)
    assert type(model) is not ImageEncoderViT
    encoder = as_sam_encoder(model)
    addresses = [in_process(WindowService(WindowBlocks(encoder), Limits())) for _ in range(2)]
    with EdgeCompute(WindowBlocks(encoder), addresses, checks=1) as edge:
        embeddings, between = PartitionedEncoder(encoder, edge, between=True)(x)
    assert set(edge.table().status) == {"OK"}
    expected, outputs = model(x)
    torch.testing.assert_close(embeddings, expected, atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(between, outputs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_segment_anythings_own_stays_itself():
    own = ImageEncoderViT(img_size=64, depth=2, embed_dim=16, num_heads=2, window_size=2)
    assert as_sam_encoder(own) is own
