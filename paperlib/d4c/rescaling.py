r"""An axis of difficulty: the same function with channels of very different sizes.

A small CLIP loses little when it is quantized; one of full size has channels whose sizes differ by
orders, which a range a tensor serves badly. Where nothing but a linear map, or one that commutes
with positive factors, lies between two layers, channels can be rescaled without changing what the
network computes: what the first layer gives is multiplied by $s > 0$, what the second one takes
is divided by it, with $\log s \sim \mathcal N(0, \sigma^2)$ for every channel. That is the inverse
of cross-layer equalization (Nagel et al., arXiv 1906.04721), which chooses $s$ so that sizes agree.

| tower       | from                                     | to                                      |
|-------------|------------------------------------------|-----------------------------------------|
| ResNet      | BatchNorm 1 and 2 of a bottleneck        | the convolution that follows its ReLU   |
| both        | q of an attention                        | k of it, which is divided               |
| both        | v of an attention                        | its output projection                   |

GELU forbids it between the layers of a ViT's MLP.
"""

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Float
from open_clip.modified_resnet import AttentionPool2d, Bottleneck
from torch import Tensor, nn

from paperlib.seeds import generator


@torch.no_grad()
def rescaled(clip: nn.Module, spread: float, seed: int) -> nn.Module:
    """A copy of a CLIP whose image tower has rescaled channels and computes the same.

    Args:
        clip: of open_clip, with a ResNet or a ViT.
        spread: σ above, at least 0.
        seed: of the factors.

    Raises:
        ValueError: a negative spread, or an image tower of another family.
    """
    if spread < 0:
        raise ValueError(f"spread={spread}: valid are 0 and more")
    clip, draw = copy.deepcopy(clip), generator(seed, "rescaling")
    pairs = list(_pairs(clip.visual))
    if not pairs:
        raise ValueError(f"{type(clip.visual).__name__}: valid are ResNets and ViTs of open_clip")
    for larger, smaller in pairs:
        factors = torch.randn(len(larger[0]), generator=draw).mul(spread).exp().to(larger[0])
        for weights in larger:
            weights.mul_(factors.view(-1, *[1] * (weights.ndim - 1)))
        for weights in smaller:
            weights.div_(factors.view(-1, *[1] * (weights.ndim - 1)))
    return clip


# What is multiplied and what is divided; the first axis of each is that of the channels.
Pair = tuple[list[Float[Tensor, "channels *_"]], list[Float[Tensor, "channels *_"]]]


def _pairs(tower: nn.Module) -> Iterator[Pair]:
    for part in tower.modules():
        if isinstance(part, Bottleneck):
            for norm, conv in ((part.bn1, part.conv2), (part.bn2, part.conv3)):
                yield [norm.weight, norm.bias], [conv.weight.transpose(0, 1)]
        elif isinstance(part, AttentionPool2d):
            q, k, v = ([each.weight, each.bias] for each in (part.q_proj, part.k_proj, part.v_proj))
            yield from [(q, k), (v, [part.c_proj.weight.T])]
        elif isinstance(part, nn.MultiheadAttention):
            halves = zip(part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3), strict=True)
            q, k, v = map(list, halves)
            yield from [(q, k), (v, [part.out_proj.weight.T])]
