import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip

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


@pytest.fixture(scope="session")
def tiny():
    """A ModifiedResNet or a ViT of a few layers, 64 px, by "resnet" or "vit"."""
    return lambda kind: tiny_clip({"resnet": RESNET, "vit": VIT}[kind])


@pytest.fixture(params=["resnet", "vit"])
def clip(request, tiny):
    """Both."""
    return tiny(request.param)


@pytest.fixture
def vit(tiny):
    """The ViT alone."""
    return tiny("vit")


@pytest.fixture
def inputs():
    """Normalised images (12, 3, 64, 64) with some structure, and tokens (16, 12)."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(12, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, 64, mode="bilinear")
    return images, torch.randint(1, 50, (16, 12), generator=generator)


@pytest.fixture
def features():
    """Features of images and of tokens, as a function of a model and both."""

    def of(model, images, tokens):
        with torch.no_grad():
            return model.encode_image(images), model.encode_text(tokens)

    return of


class Toy(nn.Module):
    """A layer of a family that `STAGES` has no row for: a residual linear layer."""

    def __init__(self, width):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x):
        return x + self.mix(x).relu()


class ToyTower(nn.Module):
    """Patches of 16 pixels, three toy layers, the mean, a projection."""

    image_size = 64

    def __init__(self, width, outputs):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList(Toy(width) for _ in range(3))
        self.projection = nn.Linear(width, outputs)

    def forward(self, images):
        x = self.stem(images).flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return self.projection(x.mean(1))


@pytest.fixture
def toy_clip():
    """A CLIP whose image tower is a `ToyTower`."""
    clip = tiny_clip(VIT)
    clip.visual = ToyTower(32, 24)
    return clip.eval()


@pytest.fixture
def toy():
    """The type of a layer of `toy_clip`, of which `STAGES` has no row."""
    return Toy


@pytest.fixture(scope="module")
def tokenizer():
    """Of the small CLIPs."""
    return make_tokenizer()


@pytest.fixture(scope="module", params=["resnet", "vit"])
def model(tokenizer, request):
    """Small CLIPs as they are built, with a ResNet and with a ViT."""
    torch.manual_seed(0)
    return build_small_clip(request.param, tokenizer.vocab_size).eval()


@pytest.fixture(scope="module")
def vit_clip(tokenizer):
    """One small CLIP, untrained, by the name of its tower."""
    torch.manual_seed(0)
    return {"vit": (build_small_clip("vit", tokenizer.vocab_size).eval(), tokenizer)}


@pytest.fixture(scope="session")
def images():
    """Calibration images of a ViT by encoder, draw and method: two draws of two methods."""
    draw = torch.Generator().manual_seed(0)
    keys = [("vit", k, method) for k in range(2) for method in ("real", "d4c")]
    return {key: torch.randn(4, 3, 64, 64, generator=draw) for key in keys}
