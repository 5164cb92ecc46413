from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from paperlib.pedsam.attacks.inversion import received_tokens
from paperlib.pedsam.split.schedule import rounds


class Mean(nn.Module):
    """What `received_tokens` needs of a Sam: an encoder and its pixel scale."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = ImageEncoderViT(
            img_size=56,
            patch_size=8,
            embed_dim=24,
            depth=6,
            num_heads=2,
            out_chans=8,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(2, 4, 5),
        )
        nn.init.normal_(self.image_encoder.pos_embed)
        self.register_buffer("pixel_mean", torch.tensor([120.0, 110, 100]).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([50.0, 60, 70]).view(3, 1, 1))


@pytest.fixture(scope="module")
def sam():
    return Mean().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("number", "first_block"), [(1, 3), (2, 6)])
def test_tokens_are_what_the_next_block_gets(sam, images, number, first_block):
    """Round 1 starts before block 3; there is no round 2, as blocks 4 and 5 are both global."""
    schedule = rounds(sam.image_encoder, "exact")
    if number == len(schedule):
        with pytest.raises(ValueError, match="round_index=2: rounds with tokens are 1 to 1"):
            received_tokens(sam, schedule, number, images)
        return
    got = {}
    hook = sam.image_encoder.blocks[first_block].register_forward_pre_hook(
        lambda block, inputs: got.update(tokens=inputs[0])
    )
    with torch.no_grad():
        sam.image_encoder((255 * images - sam.pixel_mean) / sam.pixel_std)
    hook.remove()
    tokens = received_tokens(sam, schedule, number, images, batch=2)
    torch.testing.assert_close(tokens, got["tokens"].permute(0, 3, 1, 2))
    assert tokens.shape == (3, 24, 7, 7)


def test_tokens_know_of_other_windows(sam, images):
    """The leak in question: a change in the last window reaches the tokens of the first."""
    schedule = rounds(sam.image_encoder, "exact")
    other = images.clone()
    other[:, :, -8:, -8:] = 1 - other[:, :, -8:, -8:]
    change = received_tokens(sam, schedule, 1, other) - received_tokens(sam, schedule, 1, images)
    assert change[:, :, :3, :3].abs().max() > 1e-4


def test_images_are_resized(sam, images):
    schedule = rounds(sam.image_encoder, "exact")
    flat = images[:, :, :1, :1].expand(-1, -1, 56, 56)
    expected = received_tokens(sam, schedule, 1, flat)
    tokens = received_tokens(sam, schedule, 1, flat[:, :, :28, :28])
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("number", [0, 1])
def test_pixels_once_has_no_later_round(sam, images, number):
    with pytest.raises(ValueError, match="none: it has one round"):
        received_tokens(sam, rounds(sam.image_encoder, "pixels_once"), number, images)
