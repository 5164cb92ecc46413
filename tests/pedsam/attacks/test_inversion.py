"""The tokens of round two, as segment_anything's own blocks make them."""

import pytest
import torch

from paperlib.models.sam import GLOBAL_BLOCKS, IMAGE, WIDTH, build_small_sam
from paperlib.pedsam.attacks.inversion import second_round_tokens

TOKENS = 20


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sam = build_small_sam()
    torch.nn.init.normal_(sam.image_encoder.pos_embed)
    return sam


@pytest.fixture(scope="module")
def images():
    size = (3, 3, IMAGE, IMAGE)
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, size, dtype=torch.uint8, generator=draw)


def test_tokens_are_what_the_block_after_the_first_global_one_gets(sam, images):
    got = {}
    hook = sam.image_encoder.blocks[GLOBAL_BLOCKS[0] + 1].register_forward_pre_hook(
        lambda block, inputs: got.update(tokens=inputs[0])
    )
    with torch.no_grad():
        sam.image_encoder(sam.preprocess(images.float()))
    hook.remove()
    tokens = second_round_tokens(sam, images)
    torch.testing.assert_close(tokens, got["tokens"].permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)
    assert tokens.shape == (3, WIDTH, TOKENS, TOKENS) and not tokens.is_inference()


def test_tokens_know_of_other_windows(sam, images):
    """The leak in question: a change in the last window reaches the tokens of the first."""
    other = images.clone()
    other[:, :, -16:, -16:] = 255 - other[:, :, -16:, -16:]
    change = second_round_tokens(sam, other) - second_round_tokens(sam, images)
    assert change[:, :, :3, :3].abs().max() > 1e-4
