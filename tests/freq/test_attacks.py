import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from paperlib.freq import robustness
from paperlib.freq.attacks import ATTACKS, attack
from paperlib.freq.dct import dct2
from paperlib.freq.robustness import predict, robust_images

EPSILONS = {name: 0.1 if ATTACKS[name].norm == "linf" else 1.5 for name in ATTACKS}
STEPS = {"hopskipjump": 5, "square": 400, "simba_pixel": 400, "simba_dct": 400, "cw_l2": 20}
EPSILONS |= {"simba_pixel": 0.3, "simba_dct": 0.3, "hopskipjump": 2.5}


@pytest.fixture
def eight(colours):
    return colours[0][:8], colours[1][:8]


@pytest.fixture(params=ATTACKS)
def attacked(request, trained, eight):
    name = request.param
    return name, attack(name, trained, *eight, EPSILONS[name], STEPS.get(name), seed=3)


def sizes(name, clean, adversarial):
    change = (adversarial - clean).flatten(1)
    return change.abs().amax(1) if ATTACKS[name].norm == "linf" else change.norm(dim=1)


def test_bounds_and_effect(attacked, trained, eight):
    name, adversarial = attacked
    clean, labels = eight
    assert adversarial.shape == clean.shape and adversarial.dtype == torch.float32
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    bound = EPSILONS[name]
    if name.startswith("simba"):
        bound *= STEPS[name] ** 0.5
    assert sizes(name, clean, adversarial).max() <= bound + 1e-5
    assert (predict(trained, clean) == labels).all()
    assert (predict(trained, adversarial) == labels).float().mean() < 0.7


def test_same_seed_same_images(attacked, trained, eight):
    name, adversarial = attacked
    random.seed(11), np.random.seed(11), torch.manual_seed(11)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    again = attack(name, trained, *eight, EPSILONS[name], STEPS.get(name), seed=3)
    assert torch.equal(again, adversarial)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


def test_seeds_differ(trained, eight):
    first, second = (attack("pgd_linf", trained, *eight, seed=seed) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_model_is_left_as_it_was(attacked, trained):
    assert trained.training
    assert all(p.requires_grad and p.grad is None for p in trained.parameters())


def test_attacks_are_silent(trained, eight, capfd, recwarn, monkeypatch):
    monkeypatch.setenv("PAPERLIB_BATCH", "1")
    monkeypatch.delenv("PAPERLIB_TTY", raising=False)
    for name in ("cw_l2", "square", "simba_dct"):
        attack(name, trained, *eight, EPSILONS[name], 5)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_import_needs_no_git(tmp_path):
    environment = os.environ | {"PATH": str(tmp_path)}
    environment.pop("GIT_PYTHON_REFRESH", None)
    command = [sys.executable, "-c", "import paperlib.freq.attacks"]
    subprocess.run(command, env=environment, check=True)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(48, 2)

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_fgsm_on_a_linear_model_in_closed_form():
    torch.manual_seed(0)
    model, x, y = Linear(), torch.rand(6, 3, 4, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    towards = model.layer.weight[1 - y] - model.layer.weight[y]
    expected = (x + 0.05 * towards.sign().view_as(x)).clamp(0, 1)
    torch.testing.assert_close(attack("fgsm", model, x, y, 0.05), expected.detach())
    pgd = attack("pgd_linf", model, x, y, 0.05, steps=10)
    torch.testing.assert_close(pgd, expected.detach())


def test_unbounded_cw_finds_the_boundary_of_a_linear_model():
    torch.manual_seed(0)
    model, x = Linear(), torch.rand(6, 3, 4, 4) / 2 + 0.25
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(1)
    normal = (model.layer.weight[0] - model.layer.weight[1]).norm()
    distance = ((logits[:, 0] - logits[:, 1]).abs() / normal).detach()
    adversarial = attack("cw_l2", model, x, y, steps=200)
    assert (predict(model, adversarial) != y).all()
    found = (adversarial - x).flatten(1).norm(dim=1)
    assert (found >= distance - 1e-4).all()
    torch.testing.assert_close(found, distance, rtol=0.2, atol=0.01)


@pytest.mark.parametrize("name", ["cw_l2", "hopskipjump"])
def test_images_that_nothing_fools_come_back_unchanged(name, eight):
    class Stubborn(nn.Module):
        def forward(self, x):
            return torch.tensor([[9.0, 0, 0, 0]]).expand(len(x), 4) + 0 * x.mean()

    images = eight[0]
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0])  # the fourth is wrong before any attack
    adversarial = attack(name, Stubborn(), images, labels, steps=5)
    torch.testing.assert_close(adversarial, images)


def test_steps_of_hopskipjump_do_not_shrink_with_the_batch(trained, colours):
    x, y = colours[0][:16], colours[1][:16]
    alone, together = (
        (attack("hopskipjump", trained, x, y, steps=4, batch_size=b) - x).flatten(1).norm(dim=1)
        for b in (1, 16)
    )
    assert together.mean() < 1.3 * alone.mean()  # foolbox's own: 1.7 times as far


def test_the_path_of_hopskipjump_ends_where_it_ends_and_begins_farther_out(trained, eight):
    path = []
    found = attack("hopskipjump", trained, *eight, steps=4, batch_size=5, path=path)
    assert [norms.shape for norms in path] == [(5, 5), (5, 3)]
    norms = torch.cat(path, 1)
    size = (found - eight[0]).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms[-1], size)
    assert norms[0].mean() > 1.2 * norms[-1].mean()
    assert torch.equal(found, attack("hopskipjump", trained, *eight, steps=4, batch_size=5))
    shorter = []
    attack("hopskipjump", trained, *eight, steps=2, batch_size=5, path=shorter)
    assert torch.equal(shorter[0], path[0][:3])  # fewer steps are the first of more


def test_the_path_says_where_nothing_was_found(eight):
    class Stubborn(nn.Module):
        def forward(self, x):
            return torch.tensor([[9.0, 0, 0, 0]]).expand(len(x), 4) + 0 * x.mean()

    path = []
    labels = torch.tensor([0, 1])
    attack("hopskipjump", Stubborn(), eight[0][:2], labels, steps=2, path=path)
    assert path[0][:, 0].isnan().all() and not path[0][:, 1].isnan().any()


def test_simba_walks_along_pixels_or_cosines(trained, eight):
    x, y = eight
    for name, transform in (("simba_pixel", torch.clone), ("simba_dct", dct2)):
        change = transform(attack(name, trained, x, y, 0.02, steps=5) - x).flatten(1)
        touched = change.abs() > 1e-3
        assert touched.any() and touched.sum(1).max() <= 5
        torch.testing.assert_close(
            change[touched].abs(), torch.full((touched.sum(),), 0.02), atol=1e-5, rtol=0
        )


def test_simba_favours_no_frequency(trained, eight):
    change = dct2(attack("simba_dct", trained, *eight, 0.3, steps=60) - eight[0])
    touched = (change.abs() > 0.1).any(1)  # (images, u, v)
    high = torch.zeros(16, 16, dtype=torch.bool)
    high[8:], high[:, 8:] = True, True
    assert touched.sum() > 100
    assert (touched & high).sum() / touched.sum() > 0.6  # a share of 0.75 of all components


def test_an_image_is_robust_if_the_worst_attack_fails(monkeypatch):
    """Each attack fools one image of its own; the model reads the class from a pixel."""

    class Reads(nn.Module):
        def forward(self, x):
            return torch.stack([1 - x[:, 0, 0, 0], x[:, 0, 0, 0]], 1)

    def fools_one(name, model, images, labels, *rest):
        moved = images.clone()
        fooled = images[:, 1, 0, 0] == {"fgsm": 0.25, "pgd_linf": 0.5, "square": 0.75}[name]
        moved[fooled, 0, 0, 0] = 1 - moved[fooled, 0, 0, 0]
        return moved

    monkeypatch.setattr(robustness, "attack", fools_one)
    labels = torch.tensor([0, 1, 0, 1, 0])
    images = torch.zeros(5, 3, 4, 4)
    images[:, 0, 0, 0] = torch.tensor([0.0, 1, 0, 1, 1])  # the last is wrong without an attack
    images[:, 1, 0, 0] = torch.tensor([0.25, 0.5, 0.75, 1, 1])
    robust = robust_images(Reads(), images, labels)
    assert robust.tolist() == [False, False, False, True, False]
    assert robust_images(Reads(), images, labels, ("square",)).tolist() == [1, 1, 0, 1, 0]


def test_robust_means_that_no_attack_succeeds(trained, colours):
    x, y = colours[0][:16], colours[1][:16].clone()
    y[0] = (y[0] + 1) % 4  # wrong already without an attack
    stands = predict(trained, attack("fgsm", trained, x, y, 0.06)) == y
    expected = stands & (predict(trained, x) == y)
    assert 0 < expected.sum() < 15
    one = robust_images(trained, x, y, ("fgsm",), epsilon=0.06)
    assert torch.equal(one, expected)
    several = robust_images(trained, x, y, ("pgd_linf", "fgsm"), epsilon=0.06)
    assert not (several & ~expected).any()
    assert robust_images(trained, x, y, ("fgsm",), epsilon=1e-4).sum() == 15


class Wide(nn.Module):
    """Half of the contrast over columns in one logit: grey images of any size."""

    def forward(self, x):
        z = (x[..., ::2, 1::2] - x[..., ::2, ::2]).flatten(1).sum(1)
        return torch.stack([-z, z], 1)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "hopskipjump"])
def test_grey_images_that_are_no_squares(name):
    x = 0.5 + 0.01 * torch.randn(2, 1, 6, 10, generator=torch.Generator().manual_seed(0))
    y = predict(Wide(), x)
    adversarial = attack(name, Wide(), x, y, steps=60)
    assert adversarial.shape == x.shape
    assert (predict(Wide(), adversarial) != y).all()


def test_simba_takes_cosines_of_a_rectangle():
    x = torch.full((1, 1, 6, 10), 0.5) + 0.1 * torch.arange(10) % 2 / 10
    y = predict(Wide(), x)
    change = dct2(attack("simba_dct", Wide(), x, y, 1e-3, steps=40) - x)
    touched = change.abs() > 5e-4
    assert 10 < touched.sum() <= 40 and touched[..., 6:].any()
    torch.testing.assert_close(
        change[touched].abs(), torch.full((touched.sum(),), 1e-3), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_attacks_work_where_gradients_are_off(off, trained, eight):
    expected = attack("pgd_linf", trained, *eight, 0.05, steps=3)
    with off():
        assert torch.equal(attack("pgd_linf", trained, *eight, 0.05, steps=3), expected)
        assert torch.equal(attack("pgd_linf", trained, *(t + 0 for t in eight), 0.05, 3), expected)
    assert not torch.equal(expected, eight[0])


def test_bytes_are_images_too(trained, eight):
    x, y = (255 * eight[0]).round().to(torch.uint8), eight[1]
    found = attack("fgsm", trained, x, y, 0.05)
    assert torch.equal(found, attack("fgsm", trained, x.float() / 255, y, 0.05))


def test_a_label_that_the_model_lacks_is_no_wrong_image(trained, eight):
    with pytest.raises(ValueError, match="from 7 to 7, but the model has 4 logits"):
        robust_images(trained, eight[0], torch.full((8,), 7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "fgms"}, "'fgms' is unknown: valid are fgsm, pgd_linf, pgd_l2, cw_l2, square"),
        ({"images": torch.rand(8, 16, 16)}, r"shape \(8, 16, 16\): \(n, channels, height, width\)"),
        ({"images": torch.rand(8, 3, 16, 16) * 255}, "floats from 0 to 1 are valid"),
        ({"images": torch.zeros(8, 3, 16, 16, dtype=torch.int32)}, "images are torch.int32"),
        ({"images": torch.full((8, 3, 16, 16), torch.nan)}, "8 of 8 images hold NaN"),
        ({"labels": torch.zeros(7, dtype=torch.int64)}, r"int64 of shape \(8,\) is valid"),
        ({"labels": torch.zeros(8)}, "labels are torch.float32"),
        ({"labels": torch.full((8,), 4)}, "from 4 to 4, but the model has 4 logits: 0 to 3"),
        ({"labels": torch.full((8,), -1)}, "from -1 to -1, but the model has 4 logits"),
        ({"epsilon": 0.0}, "epsilon=0.0: numbers above 0"),
        ({"steps": 0}, "steps=0: whole numbers from 1"),
        ({"batch_size": 0}, "batch_size=0: whole numbers from 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_values_are_named(change, message, trained, eight):
    options = {"name": "fgsm", "images": eight[0], "labels": eight[1]} | change
    with pytest.raises(ValueError, match=message):
        attack(model=trained, **options)


def test_robustness_needs_one_norm_and_a_bound(trained, eight):
    with pytest.raises(ValueError, match="one norm"):
        robust_images(trained, *eight, ("fgsm", "pgd_l2"))
    with pytest.raises(ValueError, match="cw_l2 has no bound"):
        robust_images(trained, *eight, ("pgd_l2", "cw_l2"))
    with pytest.raises(ValueError, match="simba_dct has no bound"):
        robust_images(trained, *eight, ("simba_dct",), epsilon=1.0)
    with pytest.raises(ValueError, match="'pgd' is unknown"):
        robust_images(trained, *eight, steps={"pgd": 3})
