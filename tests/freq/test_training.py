import json
import re
import sys

import pytest
import torch

from paperlib.data.openmoji import openmoji10
from paperlib.freq import training, variants
from paperlib.freq.attacks import attack
from paperlib.freq.dct import dct2
from paperlib.models import checkpoints
from paperlib.models.cnn import build_cnn
from paperlib.models.resume import Resume
from paperlib.models.training import Recipe


@pytest.fixture(scope="module")
def data():
    return openmoji10("train", 130)


def seen(variant, data, model=None):
    """What the model sees of a batch in training."""
    torch.manual_seed(0)
    x = data.floats()[:10]
    return x, training.PREPARE[variant](model, x, data.labels[:10])


def test_every_variant_is_named_and_trained():
    assert list(training.PREPARE) == list(variants.VARIANTS)


def test_low_and_high_pass_keep_their_components(data):
    x, low = seen("low_pass", data)
    outside = dct2(low)[..., variants.LOW_CUTOFF :, :].abs().mean()
    assert outside < 0.1 * dct2(x)[..., variants.LOW_CUTOFF :, :].abs().mean()  # clipping only
    x, high = seen("high_pass", data)
    corner = slice(0, variants.HIGH_CUTOFF)
    left = dct2(high - 0.5)[..., corner, corner].abs().mean()
    assert left < 0.1 * dct2(x - 0.5)[..., corner, corner].abs().mean()


def test_noise_has_its_size(data):
    x, noisy = seen("gaussian", data)
    inside = (x > 0.4) & (x < 0.6)  # not clipped
    assert (noisy - x)[inside].std() == pytest.approx(training.NOISE, rel=0.05)


@pytest.mark.parametrize("variant", ["fgsm_rs", "pgd"])
def test_attacked_images_stay_in_the_ball_and_hurt(data, variant):
    torch.manual_seed(1)
    model = training.train_variant("linear", "natural", data, Recipe(20, 0.01))
    model.train()
    x, attacked = seen(variant, data, model)
    assert (attacked - x).abs().max() <= variants.EPSILON + 1e-6
    assert attacked.min() >= 0 and attacked.max() <= 1
    loss = torch.nn.functional.cross_entropy
    labels = data.labels[:10]
    assert loss(model(attacked), labels) > loss(model(x), labels) + 0.5
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_an_unknown_variant_is_refused(data):
    with pytest.raises(ValueError, match="variant 'pdg' is unknown: valid are natural, low_pass"):
        training.train_variant("linear", "pdg", data, Recipe(1, 0.1))


def test_start_is_trained_further_not_replaced(data):
    start = build_cnn("resnet20")
    before = start.conv1.weight.clone()
    model = training.train_variant("resnet20", "natural", data, Recipe(1, 1e-6), start=start)
    assert model is start
    torch.testing.assert_close(model.conv1.weight, before, atol=1e-4, rtol=0)


def test_start_is_a_variant_or_a_file(tmp_path):
    variant = training.load_start("openmoji", "linear", "natural")
    path = tmp_path / "published.pth"
    torch.save(variant.state_dict(), path)
    file = training.load_start("openmoji", "linear", str(path))
    torch.testing.assert_close(file.linear.weight, variant.linear.weight)


def test_the_command_trains_and_writes_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(variants, "OPENMOJI_IMAGES", {"train": 256, "test": 1000})
    words = "--dataset openmoji --architecture linear --variant natural --epochs 1 --seed 3"
    work = ["--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["training", *words.split(), "--folder", str(tmp_path), *work])
    training.main()
    card = json.loads((tmp_path / "openmoji-linear-natural-seed3.json").read_text())
    for word in re.findall("--[a-z]+ [a-z0-9]+", words):
        assert word in card["command"]
    assert card["data"] == "OpenMoji-10 (drawn), 256 training images"
    assert card["recipe"]["epochs"] == 1
    assert 0 <= card["pgd20_accuracy_first_1000"] <= card["test_accuracy"] <= 1
    model = checkpoints.load_checkpoint("openmoji-linear-natural-seed3", tmp_path)
    assert f"'test_accuracy': {card['test_accuracy']}" in capsys.readouterr().out
    assert model.linear.weight.abs().sum() > 0
    Resume(tmp_path / "openmoji-linear-natural-seed3-seed3.pt", {}, every=0).save(dict)
    with pytest.raises(ValueError, match="of another run"):
        training.main()


def test_what_has_no_recipe_is_one_line(monkeypatch, capsys):
    words = "training --dataset openmoji --architecture resnet14 --variant natural"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit):
        training.main()
    assert "no recipe for resnet14 of openmoji: there are resnet20 of" in capsys.readouterr().err


def test_linf_pgd_in_training(trained, colours):
    x, y = colours[0][:8], colours[1][:8]
    torch.manual_seed(5)
    first = training.linf_pgd(trained, x, y, 0.03, 0.0375, 1)
    assert trained.training and not first.requires_grad
    torch.manual_seed(5)
    assert torch.equal(training.linf_pgd(trained, x, y, 0.03, 0.0375, 1), first)
    assert (first - x).abs().max() <= 0.03 + 1e-6
    fixed = training.linf_pgd(trained, x, y, 0.03, 0.03, 1, random_start=False)
    torch.testing.assert_close(fixed, attack("fgsm", trained, x, y, 0.03))
    low = training.linf_pgd(trained, x, y, 0.03, 0.01, 3, autocast=True)
    assert low.dtype == torch.float32 and (low - x).abs().max() <= 0.03 + 1e-6
