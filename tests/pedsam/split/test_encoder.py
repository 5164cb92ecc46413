"""The partitioned encoder equals segment_anything's, whatever the size, and takes its place."""

from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import ImageEncoderViT
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from paperlib.models.sam import build_small_sam
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.attention import _distances
from paperlib.pedsam.split.encoder import LocalCompute, PartitionedEncoder
from paperlib.pedsam.split.partition import _layout
from paperlib.pedsam.split.schedule import Round, rounds
from paperlib.pedsam.split.worker import WindowBlocks

VIT = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "at": (2, 5, 8, 11)},
    "vit_l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "at": (5, 11, 17, 23)},
    "vit_h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "at": (7, 15, 23, 31)},
}


def make(img_size=64, window=3, depth=3, at=(1,), **more):
    """An encoder whose positions are not the zeros of initialisation."""
    torch.manual_seed(0)
    settings = {"patch_size": 8, "embed_dim": 16, "num_heads": 2, "out_chans": 8} | more
    encoder = ImageEncoderViT(
        img_size=img_size,
        depth=depth,
        window_size=window,
        global_attn_indexes=at,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        **({"use_rel_pos": True} | settings),
    )
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name or name.endswith("bias"):
                parameter.normal_(std=0.3)
    return encoder.eval()


@torch.inference_mode()
def difference(encoder, schedule="exact", images=1):
    torch.manual_seed(1)
    x = torch.randn(images, 3, encoder.img_size, encoder.img_size)
    return (PartitionedEncoder(encoder, schedule=schedule)(x) - encoder(x)).abs().max().item()


@pytest.mark.parametrize("window", [1, 2, 3, 5, 7, 8, 11])
def test_windows_that_divide_the_map_or_not(window):
    assert difference(make(window=window), images=2) < 1e-4


@pytest.mark.parametrize(
    "more",
    [
        {"img_size": 72, "window": 4},
        {"img_size": 200, "window": 14, "depth": 2},  # 625 tokens: positions inside the product
        {"at": (0,)},
        {"at": (0, 1)},
        {"at": ()},
        {"at": (2,)},
        {"use_rel_pos": False},
        {"use_abs_pos": False},
        {"qkv_bias": False},
    ],
)
def test_other_encoders(more):
    assert difference(make(**more)) < 1e-4


@pytest.mark.parametrize(
    ("name", "depth", "at"), [("vit_b", 12, None), ("vit_l", 3, (1,)), ("vit_h", 3, (1,))]
)
def test_full_width_at_1024_pixels(name, depth, at):
    size = VIT[name]
    encoder = make(
        1024,
        14,
        depth,
        at or size["at"],
        patch_size=16,
        out_chans=256,
        embed_dim=size["embed_dim"],
        num_heads=size["num_heads"],
    )
    assert difference(encoder) <= 1e-4


def test_rounds_of_the_published_sizes():
    with torch.device("meta"):
        encoders = {
            name: ImageEncoderViT(
                depth=size["depth"],
                window_size=14,
                global_attn_indexes=size["at"],
                embed_dim=16,
                num_heads=2,
            )
            for name, size in VIT.items()
        }
    exact = {name: rounds(encoder, "exact") for name, encoder in encoders.items()}
    assert exact["vit_b"] == (
        Round((0, 1), (2,), True),
        Round((3, 4), (5,), False),
        Round((6, 7), (8,), False),
        Round((9, 10), (11,), False),
    )
    for name, turns in exact.items():
        assert len(turns) == 4
        assert tuple(turn.edge_blocks[0] for turn in turns) == VIT[name]["at"]
    (once,) = rounds(encoders["vit_l"], "pixels_once")
    assert once.pixels and once.edge_blocks == VIT["vit_l"]["at"] and len(once.server_blocks) == 20
    with pytest.raises(ValueError, match="valid are exact and pixels_once"):
        rounds(encoders["vit_b"], "once")


@torch.inference_mode()
def test_pixels_once_runs_windowed_blocks_first():
    encoder = make(depth=5, at=(1, 3), window=3)
    x = torch.randn(1, 3, 64, 64)
    tokens = encoder.patch_embed(x) + encoder.pos_embed
    for k in (0, 2, 4, 1, 3):
        tokens = encoder.blocks[k](tokens)
    expected = encoder.neck(tokens.permute(0, 3, 1, 2))
    ours = PartitionedEncoder(encoder, schedule="pixels_once")(x)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert (expected - encoder(x)).abs().max() > 0.01


def test_gradients_equal_those_of_the_original():
    encoder = make()
    x = torch.randn(1, 3, 64, 64)
    gradients = []
    for run in (encoder, PartitionedEncoder(encoder)):
        encoder.zero_grad()
        run(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_a_worker_on_some_windows_equals_the_whole():
    encoder = make(window=3)
    worker = WindowBlocks(encoder)
    values = torch.randn(64, 16)
    grid = worker.grid
    whole = worker(values[grid.rows(range(9))], range(9), [0, 2], pixels=False)
    for windows in ([4], [8, 2], [2, 5, 8, 0]):
        rows = torch.isin(grid.rows(range(9)), grid.rows(windows)).nonzero().squeeze(1)
        place = {int(t): k for k, t in enumerate(grid.rows(range(9)))}
        due = whole[[place[int(t)] for t in grid.rows(windows)]]
        torch.testing.assert_close(
            worker(values[grid.rows(windows)], windows, [0, 2], pixels=False), due
        )
        assert len(rows) == len(due)


@torch.inference_mode()
def test_windows_of_several_images_are_computed_together():
    worker = WindowBlocks(make(window=3))
    pixels = torch.randn(2, 64, 192)
    order = [(8, 2), (2, 5, 8)]
    parts = [x[worker.grid.rows(some)] for x, some in zip(pixels, order, strict=True)]
    due = [worker(*each, [0, 2], True) for each in zip(parts, order, strict=True)]
    together = worker(torch.cat(parts), [*order[0], *order[1]], [0, 2], True)
    torch.testing.assert_close(together, torch.cat(due), atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("schedule", ["exact", "pixels_once"])
def test_more_images_than_are_computed_at_once(schedule):
    encoder = make(window=3)
    x = torch.randn(70, 3, 64, 64)
    split = PartitionedEncoder(encoder, schedule=schedule)
    assert split.compute.batch == 64
    ours = split(x)
    torch.testing.assert_close(
        ours, torch.cat([split(some) for some in x.split(1)]), atol=1e-4, rtol=0
    )
    if schedule == "exact":
        torch.testing.assert_close(ours, encoder(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": [1]}, r"blocks \[1\]: windowed ones are 0, 2"),
        ({"windows": [0, 0]}, r"shape \(9, 16\): expected \(18, 16\)"),
        ({"windows": [9]}, "window 9: valid are 0 to 8"),
        ({"values": torch.zeros(8, 16)}, r"shape \(8, 16\): expected \(9, 16\)"),
        ({"pixels": True}, r"expected \(9, 192\)"),
    ],
)
def test_wrong_requests(change, message):
    request = {"values": torch.zeros(9, 16), "windows": [0], "blocks": [0], "pixels": False}
    with pytest.raises(ValueError, match=message):
        WindowBlocks(make())(**(request | change))


@torch.inference_mode()
def test_servers_receive_what_the_next_windowed_block_gets():
    """Round 1 starts before block 3; there is no round 2, as blocks 4 and 5 are both global."""
    encoder = make(depth=6, at=(2, 4, 5))
    x, got = torch.randn(70, 3, 64, 64), {}
    encoder.blocks[3].register_forward_pre_hook(lambda _, inputs: got.update(tokens=inputs[0]))
    encoder(x)
    tokens = PartitionedEncoder(encoder).received(x, 1)
    torch.testing.assert_close(tokens, got["tokens"].permute(0, 3, 1, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("schedule", "number", "later"),
    [("exact", 0, "1 to 1"), ("exact", 2, "1 to 1"), ("pixels_once", 1, "none: there is one")],
)
def test_rounds_without_tokens_are_named(schedule, number, later):
    split = PartitionedEncoder(make(depth=6, at=(2, 4, 5)), schedule=schedule)
    with pytest.raises(ValueError, match=f"number={number}: rounds with tokens are {later}"):
        split.received(torch.zeros(1, 3, 64, 64), number)


@torch.inference_mode()
@pytest.mark.parametrize(("largest", "rounds"), [(1e9, []), (1e-9, [0, 1])])
def test_tokens_that_cannot_travel_are_computed_again(largest, rounds):
    class Wary(LocalCompute):
        def again(self, number, turn, values):
            asked.append(number)
            return self.run(number, turn, values)

    encoder, asked = make(), []
    compute = Wary(WindowBlocks(encoder))
    compute.largest = largest
    x = torch.randn(1, 3, 64, 64)
    ours = PartitionedEncoder(encoder, compute)(x)
    torch.testing.assert_close(ours, encoder(x), atol=1e-4, rtol=0)
    assert asked == rounds


def test_wrong_image_size():
    with pytest.raises(ValueError, match="the encoder takes 64"):
        PartitionedEncoder(make())(torch.zeros(1, 3, 32, 32))


@pytest.fixture(scope="module")
def predictions():
    """Masks of the small SAM (random weights) with its own encoder and with the partitioned one."""
    torch.manual_seed(0)
    sam = build_small_sam()
    image = np.random.default_rng(0).integers(0, 256, (200, 256, 3), dtype=np.uint8)
    found = []
    for encoder in (sam.image_encoder, PartitionedEncoder(sam.image_encoder)):
        sam.image_encoder = encoder
        predictor = SamPredictor(sam)
        predictor.set_image(image)
        masks = predictor.predict(point_coords=np.array([[90, 90]]), point_labels=np.array([1]))
        generator = SamAutomaticMaskGenerator(
            sam, points_per_side=2, pred_iou_thresh=-1e9, stability_score_thresh=-1
        )
        found.append((masks, generator.generate(image)))
    return found


def test_sam_predictor_runs_on_it_unchanged(predictions):
    (own, _), (ours, _) = predictions
    np.testing.assert_allclose(ours[2], own[2], atol=1e-4)
    assert (ours[0] == own[0]).mean() > 0.999


def test_automatic_masks_run_on_it_unchanged(predictions):
    (_, own), (_, ours) = predictions
    assert len(ours) == len(own)


@torch.inference_mode()
@pytest.mark.parametrize(("precision", "off"), [(torch.float16, 0.005), (torch.bfloat16, 0.03)])
def test_in_half_precision(precision, off):
    """Nearly the same, and in the precision of what was given; of the encoder's own the same."""
    encoder, x = make(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    due, coarse = encoder(x), deepcopy(encoder).to(precision)
    ours = PartitionedEncoder(coarse)(x)
    assert ours.dtype == torch.float32
    assert 0 < (ours - due).norm() / due.norm() < off
    assert (ours - coarse(x.to(precision))).norm() / due.norm() < off
    assert PartitionedEncoder(coarse)(x.to(precision)).dtype == precision


@torch.no_grad()
@pytest.mark.parametrize("schedule", ["exact", "pixels_once"])
def test_everything_is_where_the_encoder_is(schedule):
    """On a GPU, or what torch knows of one without having one: it refuses to mix devices."""
    chosen = {"img_size": 200, "window": 14, "depth": 2}
    difference(make(**chosen), schedule)  # fills the caches
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            there = make(**chosen)
        out = PartitionedEncoder(there, schedule=schedule)(torch.ones(1, 3, 200, 200))
        assert out.device.type == "cpu" and out.shape == (1, 8, 25, 25)
    for cache in (_layout, _distances):
        cache.cache_clear()


def test_parameters_keep_their_names():
    encoder = make()
    split = PartitionedEncoder(encoder)
    assert list(split.state_dict()) == list(encoder.state_dict())
    split.load_state_dict(make(depth=3).state_dict())


@torch.inference_mode()
def test_a_copy_is_one_of_its_own():
    split, x = PartitionedEncoder(make()), torch.ones(1, 3, 64, 64)
    copy, before = deepcopy(split), split(x)
    torch.testing.assert_close(copy(x), before)
    for parameter in copy.parameters():
        parameter.zero_()
    torch.testing.assert_close(split(x), before)
    assert not torch.equal(copy(x), before)


@pytest.mark.filterwarnings("ignore")  # of torch, which leaves traces behind
def test_a_trace_is_refused():
    with pytest.raises(RuntimeError, match="a trace would keep which windows go where"):
        torch.jit.trace(PartitionedEncoder(make()), torch.ones(1, 3, 64, 64))


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")  # of torch.compile, about what it leaves as it is
def test_compiled_it_gives_the_same_here_and_over_servers(in_process):
    """Image after image: what the first one decided is not kept for the next."""
    encoder, worker = make(), WindowBlocks(make())
    addresses = [in_process(WindowService(worker, Limits())) for _ in range(2)]
    with EdgeCompute(worker, addresses) as edge:
        for split in (PartitionedEncoder(encoder), PartitionedEncoder(encoder, edge)):
            compiled = torch.compile(split, backend="aot_eager")
            for seed in range(3):
                x = torch.randn(1 + seed, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
                x[..., 40 + 8 * seed :, :] = 0  # filling, which no server gets
                torch.testing.assert_close(compiled(x), encoder(x), atol=1e-4, rtol=0)
        assert set(edge.table().status) == {"OK"}
        assert edge.ledger.exposure().image.nunique() == 6
    torch.compiler.reset()


def test_gradients_pass_here_and_are_refused_over_servers():
    split = PartitionedEncoder(make())
    split(torch.ones(1, 3, 64, 64)).sum().backward()
    assert all(each.grad is not None for each in split.blocks.parameters())

    class Remote:
        batch = 1

        def begin(self, images):
            raise AssertionError("an image would have been sent")

    with pytest.raises(RuntimeError, match="no gradients pass through servers"):
        PartitionedEncoder(make(), Remote())(torch.ones(1, 3, 64, 64))
    with pytest.raises(AssertionError), torch.no_grad():
        PartitionedEncoder(make(), Remote())(torch.ones(1, 3, 64, 64))


@torch.inference_mode()
def test_outputs_of_global_blocks_as_hq_sam_takes_them():
    """Those of the encoder's own blocks, of images that do not go together too."""
    encoder, x, due = make(depth=5, at=(1, 2, 4)), torch.randn(3, 3, 64, 64), []
    for block in encoder.blocks:
        if block.window_size == 0:
            block.register_forward_hook(lambda block, taken, output: due.append(output))
    own = encoder(x)
    split = PartitionedEncoder(encoder, between=True)
    split.compute.batch = 2
    embeddings, outputs = split(x)
    torch.testing.assert_close(embeddings, own, atol=1e-4, rtol=0)
    assert len(outputs) == len(due) == 3
    for ours, expected in zip(outputs, due, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
