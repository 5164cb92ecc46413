import pytest
import torch
from open_clip.model import CLIP
from torch import nn

RESNET = {"layers": (1, 1, 2, 1), "width": 16, "head_width": 64, "image_size": 64}
VIT = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
TEXT = {"context_length": 12, "vocab_size": 50, "width": 32, "heads": 4, "layers": 2}


def tiny_clip(vision):
    """An untrained CLIP whose norms and biases are not the identity."""
    torch.manual_seed(0)
    model = CLIP(embed_dim=24, vision_cfg=vision, text_cfg=TEXT).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_bias, std=0.2)
    return model


@pytest.fixture(params=["resnet", "vit"])
def clip(request):
    """A ModifiedResNet and a ViT of a few layers, 64 px."""
    return tiny_clip(RESNET if request.param == "resnet" else VIT)


@pytest.fixture
def vit():
    """The ViT alone."""
    return tiny_clip(VIT)


@pytest.fixture
def inputs():
    """Normalised images (12, 3, 64, 64) with some structure, and tokens (16, 12)."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(12, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, 64, mode="bilinear")
    return images, torch.randint(1, 50, (16, 12), generator=generator)
