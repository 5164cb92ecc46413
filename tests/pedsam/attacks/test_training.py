import json
import math
import re
import sys
from dataclasses import replace

import pytest
import torch

from paperlib.models.checkpoints import CheckpointError, load_card
from paperlib.models.resume import Resume
from paperlib.models.sam import WIDTH, build_small_sam
from paperlib.pedsam.attacks import training as attack_training
from paperlib.pedsam.attacks.images import shrink, single_scenes
from paperlib.pedsam.attacks.networks import (
    GRID,
    NETWORKS,
    SIZE,
    build_attack,
    checkpoint_name,
    load_attack,
)
from paperlib.pedsam.attacks.training import (
    AttackRecipe,
    held_out_measures,
    mirrored,
    train_classifier,
    train_rebuilder,
)
from paperlib.pedsam.attacks.views import draw_mixed_views
from paperlib.pedsam.split.partition import SERVERS

FEW = AttackRecipe(scenes=8, epochs=2, learning_rate=1e-3, batch_size=4)


@pytest.fixture(scope="module")
def views():
    return draw_mixed_views(GRID, (2, 4), 12, seed=0)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_small_sam()


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    ("network", "channels", "pixels"),
    [("inpainting", 0, True), ("inversion", WIDTH, True), ("tokens", WIDTH, False)],
)
def test_each_network_gets_what_the_table_says(network, channels, pixels):
    model = build_attack(network)
    assert model.pixels == pixels
    assert (model.tokens.in_channels if model.tokens else 0) == channels


def test_the_three_rebuilders_differ_only_in_their_tokens():
    """The comparison of pixels with tokens is one of inputs, not of capacity."""
    shapes = {}
    for network in NETWORKS[:3]:
        state = build_attack(network).state_dict()
        shapes[network] = {k: v.shape for k, v in state.items() if not k.startswith("tokens.")}
    assert shapes["inpainting"] == shapes["inversion"] == shapes["tokens"]
    recipes = {attack_training.RECIPES[network] for network in NETWORKS[:3]}
    assert len(recipes) == 1


@pytest.mark.parametrize("network", NETWORKS[:3])
def test_rebuilders_train_and_leave_sam_alone(network, views, sam):
    scenes = torch.randint(256, (8, 3, 2 * SIZE, 2 * SIZE), dtype=torch.uint8)
    torch.manual_seed(0)
    model = build_attack(network)
    before, encoder = weights(model).clone(), weights(sam).clone()
    train_rebuilder(model, scenes, FEW, views, sam)
    assert not model.training and not torch.equal(weights(model), before)
    assert torch.equal(weights(sam), encoder)
    assert all(p.requires_grad and p.grad is None for p in sam.parameters())
    if model.tokens:
        assert model.tokens.weight.grad.abs().sum() > 0


def test_classifier_trains_and_is_measured(views):
    scenes = single_scenes("train", 8, 0)
    assert scenes.labels.tolist() == list(range(8))
    model = build_attack("classifier")
    before = weights(model).clone()
    train_classifier(model, scenes, FEW, views)
    assert not torch.equal(weights(model), before)
    measured = held_out_measures(model, views, None, seed=0)
    assert set(measured) == {"test_accuracy_views", "test_accuracy_whole"}
    assert all(0 <= value <= 1 for value in measured.values())


def test_mirrored_and_shrunk_by_hand():
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(64, 3, 4, 4)
    torch.manual_seed(0)
    turned = mirrored(images)
    same = (turned == images).flatten(1).all(1)
    assert (turned == images.flip(-1)).flatten(1).all(1)[~same].all() and 16 < same.sum() < 48
    small = shrink(images[:1], 2)[0, 0]
    torch.testing.assert_close(small, torch.tensor([[2.5, 4.5], [10.5, 12.5]]) / 255)


def test_the_command_writes_a_network_and_its_card(tmp_path, monkeypatch, capsys):
    few = {name: replace(FEW, epochs=1) for name in NETWORKS}
    monkeypatch.setattr(attack_training, "RECIPES", few)
    monkeypatch.setattr(attack_training, "VIEWS", 5)
    monkeypatch.setattr(attack_training, "TESTED", 3)
    command = ["--network", "classifier", "inpainting", "--seed", "7", "--folder", str(tmp_path)]
    command += ["--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["attack_training", *command])
    attack_training.main()
    assert "pedsam-inpainting.safetensors" in capsys.readouterr().out
    card = json.loads((tmp_path / "pedsam-inpainting.json").read_text())
    assert card["recipe"]["scenes"] == 8 and {"--network inpainting", "--seed 7"} == set(
        re.findall("--[a-z]+ [a-z0-9]+", card["command"])
    )
    assert math.isfinite(card["test_psnr_unseen"])
    for name in ("inpainting", "classifier"):
        model = load_attack(name, tmp_path)
        assert not model.training
        torch.testing.assert_close(weights(model), weights(model).half().float())
        state = tmp_path / f"{checkpoint_name(name)}-seed7.pt"
        assert not state.exists()
        Resume(state, {}, every=0).save(dict)
        with pytest.raises(ValueError, match="of another run"):
            attack_training.main()
        state.unlink()


def test_unknown_and_missing_networks_are_named(tmp_path):
    with pytest.raises(ValueError, match="network 'gan' is unknown: valid are inpainting"):
        build_attack("gan")
    with pytest.raises(CheckpointError, match="pedsam-tokens"):
        load_attack("tokens", tmp_path)


@pytest.mark.parametrize("network", NETWORKS)
def test_committed_networks_are_what_their_cards_say(network):
    """On a few held-out scenes: better than the mean fill, or than guessing."""
    name = checkpoint_name(network)
    model, card = load_attack(network), load_card(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == card["parameters"]
    views = draw_mixed_views(GRID, SERVERS, 40, seed=99)
    if network == "classifier":
        measured = held_out_measures(model, views, None, seed=99)
        assert measured["test_accuracy_whole"] > 0.7
        assert abs(measured["test_accuracy_views"] - card["test_accuracy_views"]) < 0.25
        return
    whole = attack_training.load_sam(attack_training.SAM) if network != "inpainting" else None
    measured = held_out_measures(model, views, whole, seed=99)
    assert measured["test_psnr_unseen"] > measured["test_psnr_unseen_mean_fill"] + 0.5
    if network != "inpainting":
        assert card["sam_sha256"] == load_card(attack_training.SAM)["sha256"]
