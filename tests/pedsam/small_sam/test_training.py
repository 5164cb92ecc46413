"""What the small SAM is trained on and with, and the committed networks."""

import copy
import sys
from dataclasses import replace

import pytest
import torch

from paperlib.models.checkpoints import load_card
from paperlib.models.resume import Resume
from paperlib.models.sam import DEPTH, IMAGE, MEAN, SMALL, WINDOW, build_small_sam, load_sam
from paperlib.pedsam.small_sam import training
from paperlib.pedsam.small_sam.training import (
    RECIPES,
    Recipe,
    decode,
    distillation_loss,
    mask_loss,
    measured_iou,
)
from paperlib.pedsam.small_sam.training_data import (
    PADDING,
    Pool,
    Prompts,
    in_cells,
    load_pool,
    pick_objects,
    random_boxes,
    random_points,
    vary,
)

FEW = Recipe(steps=4, learning_rate=1e-3, images=2, scenes=6)


@pytest.fixture(scope="module")
def pool():
    return load_pool(6, 0)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_small_sam()


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def squares(*corners):
    """Masks of one square of 8 × 8 cells each, at (row, column)."""
    shares = torch.zeros(len(corners), 64, 64)
    for mask, (row, column) in zip(shares, corners, strict=True):
        mask[row : row + 8, column : column + 8] = 1
    return shares


def test_the_pool_is_kept_and_drawn_again_if_it_is_damaged(pool, tmp_path, capsys):
    assert pool.images.shape == (6, 3, IMAGE, IMAGE) and pool.objects.max() <= 4
    for damaged in (False, False, True):
        if damaged:
            (path,) = tmp_path.glob("*.safetensors")
            content = path.read_bytes()
            path.write_bytes(content[:-1000] + b"\xff" * 1000)
        again = load_pool(6, 0, tmp_path)
        assert torch.equal(again.images, pool.images) and torch.equal(again.objects, pool.objects)
        assert ("is damaged" in capsys.readouterr().out) == damaged
    load_pool(6, 1, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_boxes_may_ask_for_more_objects_than_points(pool, draw):
    recipe = replace(FEW, targets=1, boxed=2)
    _, asked = training._batch(recipe, pool, draw)
    (boxes, boxed), (one, pointed), (three, again) = asked
    assert boxes.boxes.shape == (6, 4) and len(boxed) == 6
    assert one.points.shape == (2, 1, 2) and three.points.shape == (2, 3, 2)
    assert torch.equal(pointed, boxed[::3]) and torch.equal(again, pointed)


def test_muon_takes_the_matrices_of_blocks_and_layers_and_adamw_the_rest(sam):
    learning = {id(p): name for name, p in sam.named_parameters() if p.requires_grad}
    (alone,) = training.optimisers(sam, FEW)
    both = training.optimisers(sam, replace(FEW, muon=True))
    names = [
        sorted(learning[id(p)] for group in each.param_groups for p in group["params"])
        for each in (alone, *both)
    ]
    assert names[0] == sorted(names[1] + names[2]) == sorted(learning.values())
    encoder = [name for name in names[2] if name.startswith("image_encoder.")]
    assert len(encoder) == 4 * DEPTH and len(names[2]) > len(encoder)
    assert not any("pos" in name or name.endswith("bias") for name in names[2])


def test_images_and_masks_move_together(draw):
    objects = torch.zeros(8, IMAGE, IMAGE, dtype=torch.uint8)
    objects[:, 40:120, 60:180] = 2
    pool = Pool(255 * (objects > 0)[:, None].repeat(1, 3, 1, 1).to(torch.uint8), objects)
    images, moved = vary(pool, torch.arange(8), draw)
    assert images.min() >= 0 and images.max() <= 255
    assert moved.unique().tolist() == [0, 2]
    agree = ((images.mean(1) > 128) == (moved == 2)).float().mean((1, 2))
    assert agree.min() > 0.98
    assert len({tuple(mask.sum(0).tolist()) for mask in moved}) == 8


def test_padding_stays_what_sam_pads_with(draw):
    objects = torch.full((8, IMAGE, IMAGE), PADDING, dtype=torch.uint8)
    objects[:, :200] = 1
    images, moved = vary(
        Pool(torch.zeros_like(objects)[:, None].repeat(1, 3, 1, 1), objects), torch.arange(8), draw
    )
    assert moved.unique().tolist() == [1, PADDING]
    outside = images.permute(0, 2, 3, 1)[moved == PADDING]
    torch.testing.assert_close(outside, torch.tensor(MEAN).expand_as(outside))
    assert images.permute(0, 2, 3, 1)[moved == 1].max() < 30


def test_small_objects_are_no_targets(draw):
    objects = torch.zeros(1, 256, 256, dtype=torch.uint8)
    objects[0, :32, :32] = 2
    objects[0, 40:44, 40:44] = 7
    objects[0, 100:] = PADDING
    chosen = pick_objects(objects, 1 / 256, 50, draw)
    assert torch.equal(in_cells(chosen), squares((0, 0)).expand(50, -1, -1))
    chosen = pick_objects(objects, 1 / 5000, 50, draw)
    assert {mask.sum().item() for mask in chosen} == {32**2, 16}
    empty = torch.zeros_like(objects)  # then any: an empty mask
    assert pick_objects(empty, 1 / 256, 3, draw).sum() == 0


def test_two_pools_together(pool):
    other = Pool(pool.images[:2], pool.objects[:2], 1 / 5000)
    both = pool + other
    assert len(both.images) == len(both.objects) == 8 and both.smallest == 1 / 5000
    assert torch.equal(both.images[6:], pool.images[:2])


def test_boxes_lie_around_their_objects(draw):
    """To the pixel but for the noise, which is a share of the side: small ones have little."""
    masks = torch.zeros(400, 256, 256, dtype=torch.bool)
    masks[:200, 41:73, 83:115] = True
    masks[200:, 0:4, 253:256] = True
    boxes = random_boxes(masks, 0.05, draw).boxes
    assert boxes.min() >= 0 and boxes.max() <= 255
    exact = torch.tensor([83.0, 41, 114, 72])
    assert (boxes[:200] - exact).abs().max() < 3.21 and boxes[:200].std(0).min() > 1
    assert (boxes[:200].mean(0) - exact).abs().max() < 0.4
    assert (boxes[200:] - torch.tensor([253.0, 0, 255, 3])).abs().max() < 0.41
    assert (random_boxes(masks[:1], 0, draw).boxes == exact).all()
    whole = random_boxes(torch.zeros(50, 256, 256, dtype=torch.bool), 0.05, draw).boxes
    assert (whole[:, 2:] - whole[:, :2]).mean() > 200


@pytest.mark.parametrize("count", [1, 3])
def test_points_lie_inside_their_objects(draw, count):
    points = random_points(squares(*[(10, 20)] * 300), count, draw).points
    assert points.shape == (300, count, 2)
    low, high = torch.tensor([80, 40]) - 0.5, torch.tensor([112, 72]) - 0.5
    assert ((points >= low) & (points <= high)).all()
    spread = points.flatten(0, 1).std(0)
    assert (spread < 9).all() if count == 1 else (spread > 8).all()  # the middle, or anywhere


@torch.inference_mode()
def test_decoding_many_prompts_is_sams_decoder_on_each(sam):
    torch.manual_seed(1)
    embeddings, points = torch.randn(2, 128, 20, 20), IMAGE * torch.rand(6, 3, 2)
    logits, scores = decode(sam, embeddings, Prompts(points, None))
    for k, embedding in enumerate(embeddings):
        mine = slice(3 * k, 3 * k + 3)
        sparse, dense = sam.prompt_encoder((points[mine], torch.ones(3, 3)), None, None)
        expected = sam.mask_decoder.predict_masks(
            embedding[None], sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        torch.testing.assert_close(logits[mine], expected[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[mine], expected[1], atol=1e-4, rtol=1e-4)


def test_the_loss_of_a_perfect_mask():
    shares = squares((3, 5), (40, 40))
    logits = (200 * shares - 100)[:, None].repeat(1, 4, 1, 1)
    assert mask_loss(logits, torch.ones(2, 4), shares) < 1e-4
    one_of_three = logits.clone()
    one_of_three[:, 1:3] *= -1  # the best of the three counts
    scores = torch.tensor([1.0, 0, 0, 1]).expand(2, 4)
    assert mask_loss(one_of_three, scores, shares) < 1e-4
    assert mask_loss(-logits, torch.zeros(2, 4), shares) > 100


def test_distillation_trains_the_encoder_alone(sam, pool):
    student = copy.deepcopy(sam)
    student.prompt_encoder.requires_grad_(False)
    student.mask_decoder.requires_grad_(False)
    distillation_loss(student, sam, FEW, pool, torch.Generator().manual_seed(0)).backward()
    trained = {name for name, value in student.named_parameters() if value.grad is not None}
    assert trained == {f"image_encoder.{name}" for name, _ in sam.image_encoder.named_parameters()}
    assert all(value.grad is None for value in sam.parameters())


def test_distillation_recovered_quality():
    card = load_card("sam-small-pixels_once")
    for prompt, before in card["test_mean_iou_before"].items():
        assert card["test_mean_iou"][prompt] > before + 0.02


def test_the_commands_write_networks_and_cards(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "RECIPES", dict.fromkeys(RECIPES, FEW))
    places = ["--folder", str(tmp_path), "--work", str(tmp_path), "--test-images", "2"]

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["training", *words, *places])
        training.main()

    run("--name", "sam-small", "--steps", "2", "--image", "256", "--window", "5")
    first = load_card("sam-small", tmp_path)
    assert first["recipe"]["steps"] == 2 and "start" not in first
    run("--name", "sam-small", "--start", "sam-small")
    second = load_card("sam-small", tmp_path)
    assert second["start"]["sha256"] == first["sha256"] != second["sha256"]
    assert second["start"]["command"] == first["command"]
    assert "--image 256 --window 5" in first["command"]
    assert f"--image {IMAGE} --window {WINDOW}" in second["command"]
    assert "--start sam-small" in second["command"]
    run("--name", "sam-small-pixels_once")
    once = load_card("sam-small-pixels_once", tmp_path)
    assert once["schedule"] == "pixels_once" and set(once["test_mean_iou"]) == {
        *("box", "1 point", "3 points")
    }
    for other in (["--start", "sam-small"], ["--image", "256"], ["--coco", "folder"]):
        with pytest.raises(SystemExit):
            run("--name", "sam-small-pixels_once", *other)
    with pytest.raises(SystemExit):
        run("--name", "sam-small-photographs", "--start", "sam-small", "--coco", "folder")
    assert not list(tmp_path.glob("*.pt"))
    Resume(tmp_path / "sam-small-seed0.pt", {}, every=0).save(dict)
    with pytest.raises(ValueError, match="of another run"):
        run("--name", "sam-small")


@pytest.mark.parametrize("name", SMALL)
def test_committed_networks_are_what_their_cards_say(name):
    card = load_card(name)
    found = measured_iou(load_sam(name), card["schedule"], 20, seed=0)
    for prompt, value in card["test_mean_iou"].items():
        assert abs(found[prompt] - value) < 0.08  # of 20 images, where the card has 200


def test_of_photographs_it_finds_what_is_no_small_object():
    """Small ones it finds worse than the filled box does, and its card says so."""
    found = load_card("sam-small-photographs")["test_photographs"]
    assert found["all"]["box"] > found["all"]["filled box"]
    for size in ("medium", "large"):
        assert found[size]["box"] > found[size]["filled box"] + 0.05
    assert sum(found[size]["objects"] for size in ("small", "medium", "large")) == 1408


def test_the_small_sam_segments():
    found = load_card("sam-small")["test_mean_iou"]
    assert found["box"] >= 0.85 and found["1 point"] > 0.75
