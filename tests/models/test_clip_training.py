import json
import sys
from dataclasses import replace

import pytest
import torch
from open_clip.transformer import PatchDropout
from torch import nn

from paperlib.d4c.zero_shot import load_images
from paperlib.data.cifar import CIFAR10_CLASSES
from paperlib.data.openmoji import SceneClass
from paperlib.models import clip_training
from paperlib.models.captions import TEMPLATES, CaptionedImages, make_tokenizer
from paperlib.models.checkpoints import load_card
from paperlib.models.clip import (
    TOWERS,
    build_small_clip,
    encode_images,
    image_size,
    load_clip,
    preprocess,
)
from paperlib.models.clip_training import (
    RECIPES,
    DropPatches,
    Recipe,
    contrastive_loss,
    train_clip,
)
from paperlib.models.resume import Resume
from paperlib.paths import CHECKPOINTS

CLASSES = (SceneClass("cat", "a", ("c",)), SceneClass("apple", "an", ("a",)))
SHORT = Recipe(steps=6, learning_rate=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def small(monkeypatch):
    """Towers of a fraction of the size, for the loop and not for the learning."""
    vit = TOWERS["vit"] | {"width": 64, "layers": 2}
    monkeypatch.setitem(TOWERS, "vit", vit)
    monkeypatch.setitem(TOWERS, "deep_vit", vit | {"layers": 3})
    monkeypatch.setitem(TOWERS, "resnet", TOWERS["resnet"] | {"width": 16, "layers": [1] * 4})


def coloured(n=64, seed=0):
    """Images of one colour for each of two classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n, 1), generator=generator)
    noise = torch.randint(60, (n, 3, 64, 64), generator=generator)
    images = noise + torch.tensor([[190, 0, 0], [0, 0, 190]])[labels[:, 0], :, None, None]
    labels = torch.cat([labels, torch.full((n, 1), -1)], dim=1)
    return CaptionedImages(images.to(torch.uint8), labels, CLASSES, "colours")


def test_loss_against_the_plain_sum():
    logits = torch.randn(5, 5)
    objects = torch.tensor([[0, 1], [2, -1], [1, 0], [2, -1], [0, 2]])
    groups = [{0, 2}, {1, 3}, {0, 2}, {1, 3}, {4}]
    loss = 0.0
    for z in (logits, logits.T):
        for i, group in enumerate(groups):
            loss -= sum(z[i].log_softmax(0)[j] for j in group) / len(group) / 5 / 2
    torch.testing.assert_close(contrastive_loss(logits, objects), loss)


def test_loss_of_different_captions_is_open_clip_s():
    from open_clip.loss import ClipLoss

    images, texts = torch.randn(2, 6, 4)
    theirs = ClipLoss()(images, texts, torch.tensor(3.0))
    ours = contrastive_loss(3 * images @ texts.T, torch.arange(6)[:, None])
    torch.testing.assert_close(ours, theirs)


def test_loss_of_taught_images_against_the_plain_sum():
    logits, objects = torch.randn(4, 4), torch.tensor([[0, -1], [1, -1], [0, -1], [0, 1]])
    taught = torch.tensor([[0.6, 0.3, 0.6, 0.0], [0.2, 0.7, 0.2, 0.0]])
    taught = torch.cat([taught, torch.full((2, 4), torch.nan)])
    shown = torch.tensor([[0.8, 0.15, 0.8, 0], [0.1, 0.85, 0.1, 0], [1, 0, 1, 0], [0, 0, 0, 1.0]])
    texts = torch.tensor([2.0, 1, 2, 1])  # that say the same
    loss = 0.0
    for z, weights in ((logits, shown / texts), (logits.T, shown.T)):
        for row, weight in zip(z, weights, strict=True):
            loss -= (row.log_softmax(0) * weight).sum() / weight.sum() / 4 / 2
    torch.testing.assert_close(contrastive_loss(logits, objects, taught), loss)


def test_loss_of_mixed_images_against_the_plain_sum():
    logits, objects = torch.randn(3, 3), torch.tensor([[0], [1], [2]])
    other, share = torch.tensor([1, 2, 2]), torch.tensor([0.25, 0.5, 0.0])
    shown = torch.tensor([[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1.0]])
    loss = 0.0
    for z, weights in ((logits, shown), (logits.T, shown.T)):
        for row, weight in zip(z, weights, strict=True):
            loss -= (row.log_softmax(0) * weight).sum() / weight.sum() / 3 / 2
    torch.testing.assert_close(contrastive_loss(logits, objects, None, (other, share)), loss)


def test_dropped_patches_are_those_of_open_clip_in_number_and_kind():
    tokens = torch.arange(2 * 17.0).view(2, 17, 1)
    drop = DropPatches(0.25)
    torch.manual_seed(0)
    kept = drop(tokens)
    assert kept.shape == PatchDropout(0.25)(tokens).shape == (2, 13, 1)
    assert torch.equal(kept[:, :1], tokens[:, :1])
    for row, all_of in zip(kept[:, :, 0].tolist(), tokens[:, :, 0].tolist(), strict=True):
        assert len(set(row)) == 13 and set(row) <= set(all_of)
    assert set(kept[0, :, 0].tolist()) != {value - 17 for value in kept[1, :, 0].tolist()}
    assert drop.eval()(tokens) is tokens


def test_a_teacher_says_what_photographs_show():
    names = ["apple", *CIFAR10_CLASSES]
    classes = tuple(SceneClass(name, "a", ("x",)) for name in names)
    labels = torch.tensor([[3, -1], [0, -1], [3, 1], [4, -1]])  # bird; apple; two; cat
    data = CaptionedImages(torch.zeros(4, 3, 64, 64, dtype=torch.uint8), labels, classes, "", 3)

    class Teacher(nn.Module):
        def forward(self, images):
            assert images.shape == (4, 3, 32, 32)
            return 20 * images[:, :1, 0, :10].flatten(1)  # the first pixels of the first row

    images = torch.zeros(4, 3, 64, 64)
    images[0, 0, :2, 4:6] = 1  # CIFAR-10's third class, bird
    taught = clip_training.teach(Teacher(), images, data, torch.arange(4))
    p = torch.softmax(torch.tensor([10.0, *[0.0] * 9]), 0)
    torch.testing.assert_close(
        taught[0], torch.stack([p[0], p[1] * 0, p[1] * 0, p[1]]), atol=1e-2, rtol=0
    )
    torch.testing.assert_close(taught[1, [0, 3]], torch.tensor([0.1, 0.1]))
    assert taught[3].isnan().all() and not taught[:3].isnan().any()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("tower", "matrix_rate"), [("resnet", 0.0), ("vit", 0.0), ("vit", 0.02)])
def test_two_colours_are_learned(tower, matrix_rate, tokenizer):
    torch.manual_seed(0)
    model = build_small_clip(tower, tokenizer.vocab_size)
    recipe = Recipe(60, 2e-3, matrix_rate, batch_size=16, patch_dropout=0.5 * (tower == "vit"))
    train_clip(model, tokenizer, coloured(), recipe, seed=0)
    assert not model.training
    held_out = coloured(64, seed=1)
    texts = clip_training.class_features(model, tokenizer, ["cat", "apple"], TEMPLATES)
    top1 = clip_training.zero_shot_top1(model, texts, held_out.images, held_out.labels[:, 0])
    assert top1 > 0.95


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("tower", TOWERS)
def test_a_run_goes_on_from_its_state(tower, tokenizer, tmp_path):
    recipe = replace(SHORT, matrix_rate=0.02, patch_dropout=0.5) if tower == "vit" else SHORT

    def run(resume=None):
        torch.manual_seed(0)
        model = build_small_clip(tower, tokenizer.vocab_size)
        return train_clip(model, tokenizer, coloured(20), recipe, 0, resume)

    whole, path = run(), tmp_path / "run.pt"
    resume = Resume(path, {}, every=0)
    kept = []
    resume.save = lambda state: kept.append(None) or (len(kept) == 4 and Resume.save(resume, state))
    run(resume)
    continued = run(Resume(path, {}))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, continued.state_dict()[key]), key


@pytest.mark.usefixtures("small")
def test_patches_are_dropped_until_the_last_steps(tokenizer, monkeypatch):
    kinds = []

    def watched(*arguments):
        kinds.append(type(model.visual.patch_dropout))
        return contrastive_loss(*arguments)

    monkeypatch.setattr(clip_training, "contrastive_loss", watched)
    model = build_small_clip("vit", tokenizer.vocab_size)
    keys = set(model.state_dict())
    recipe = replace(SHORT, steps=5, patch_dropout=0.5, whole=0.4)
    train_clip(model, tokenizer, coloured(20), recipe, 0)
    assert kinds == [DropPatches] * 3 + [nn.Identity] * 2 and set(model.state_dict()) == keys


def test_the_deep_vit_grew_no_outliers_in_its_residual_stream():
    clip, _ = load_clip("tiny_imagenet-clip-deep_vit")
    images = preprocess(load_images("openmoji", "test", 32, 0).images, image_size(clip))

    def largest():
        """Over all blocks: the channel of the largest root mean square, by the median channel."""
        seen = []
        for block in clip.visual.transformer.resblocks:
            block.register_forward_hook(lambda *of: seen.append(of[-1].square().mean((0, 1))))
        encode_images(clip, images)
        return max((power.max() / power.median()).sqrt().item() for power in seen)

    assert largest() < 3
    with torch.no_grad():  # an outlier of the kind that large CLIPs have
        clip.visual.transformer.resblocks[0].mlp.c_proj.bias[0] = 20
    assert largest() > 10


@pytest.mark.usefixtures("small")
def test_images_are_mixed_until_the_last_steps(tokenizer, monkeypatch):
    kinds = []

    def watched(logits, objects, taught, mixed):
        kinds.append(bool(mixed))
        return contrastive_loss(logits, objects, taught, mixed)

    monkeypatch.setattr(clip_training, "contrastive_loss", watched)
    model = build_small_clip("deep_vit", tokenizer.vocab_size)
    recipe = replace(SHORT, steps=5, shift=0, whole=0.4)
    train_clip(model, tokenizer, coloured(20), recipe, 0)
    assert kinds == [True] * 3 + [False] * 2


@pytest.mark.usefixtures("small")
def test_steps_are_as_many_as_the_time_allows(tokenizer, monkeypatch):
    spent = [0.0]

    def trained(model, tokenizer, data, recipe, seed):
        assert len(data.images) == 16
        spent[0] += 5 + recipe.steps * (4 if recipe.whole == 1 else 2)  # 5 seconds to begin
        return model

    monkeypatch.setattr(clip_training, "train_clip", trained)
    monkeypatch.setattr(clip_training.time, "monotonic", lambda: spent[0])
    model = build_small_clip("vit", tokenizer.vocab_size)
    recipe = replace(SHORT, whole=0.5)
    assert clip_training.steps_in(10, model, tokenizer, coloured(20), recipe) == 200  # 3 s a step


def test_muon_gets_the_matrices_of_the_image_transformer(tokenizer):
    model = build_small_clip("vit", tokenizer.vocab_size)
    adam, muon = clip_training.optimisers(model, RECIPES["openmoji", "vit"])
    sizes = [p.numel() for o in (adam, muon) for g in o.param_groups for p in g["params"]]
    assert sum(sizes) == sum(p.numel() for p in model.parameters())
    assert len(muon.param_groups[0]["params"]) == 6 * 4
    decayed, plain = adam.param_groups
    assert plain["weight_decay"] == 0 and all(p.ndim <= 1 for p in plain["params"])
    assert decayed["weight_decay"] > 0 and muon.param_groups[0]["lr"] == 0.02


@pytest.mark.usefixtures("small")
def test_the_command_saves_a_clip_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(clip_training, "evaluate", lambda *a: {"ten names": 0.5})
    monkeypatch.setitem(RECIPES, ("openmoji", "vit"), SHORT)
    command = "clip_training --tower vit --data openmoji --steps 2 --scenes 24 --folder"
    monkeypatch.setattr(sys, "argv", [*command.split(), str(tmp_path)])
    clip_training.main()
    card = json.loads((tmp_path / "openmoji-clip-vit.json").read_text())
    assert card["zero_shot_top1"] == {"ten names": 0.5} and card["recipe"]["steps"] == 2
    for words in ("--tower vit", "--data openmoji", "--steps 2", "--scenes 24", "--seed 0"):
        assert words in card["command"]
    model, tokenizer = load_clip("openmoji-clip-vit", folder=tmp_path)
    assert model.encode_text(tokenizer(["a cat"])).shape == (1, 128)
    assert "zero_shot_top1" in capsys.readouterr().out
    Resume(tmp_path / "training" / "openmoji-clip-vit-seed0.pt", {}, every=0).save(dict)
    with pytest.raises(ValueError, match="of another run"):
        clip_training.main()


def test_a_pair_without_a_recipe_is_refused(monkeypatch, capsys):
    words = "clip_training --tower resnet --data tiny_imagenet"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit):
        clip_training.main()
    assert "no recipe for resnet of tiny_imagenet: there are" in capsys.readouterr().err


def test_wrong_values_are_named(tokenizer):
    with pytest.raises(ValueError, match="20 images: batch_size=256"):
        train_clip(
            build_small_clip("vit", tokenizer.vocab_size),
            tokenizer,
            coloured(20),
            RECIPES["openmoji", "vit"],
            0,
        )


def test_a_card_names_every_earlier_stage(monkeypatch, tmp_path):
    """A CLIP trained on is trained on again: commands and data of both stages stay known."""
    name = "openmoji-clip-vit"
    for ending in ("json", "safetensors"):
        (tmp_path / f"{name}.{ending}").write_bytes((CHECKPOINTS / f"{name}.{ending}").read_bytes())
    monkeypatch.setattr(clip_training, "train_clip", lambda *arguments: None)
    monkeypatch.setattr(clip_training, "evaluate", lambda *arguments: {})
    first = load_card(name, tmp_path)
    for seed in (1, 2):
        words = f"x --tower vit --data openmoji --scenes 20 --start {name} --seed {seed}"
        words += f" --steps 1 --folder {tmp_path} --work {tmp_path}"
        monkeypatch.setattr("sys.argv", words.split())
        clip_training.main()
    last = load_card(name, tmp_path)
    assert last["start"]["start"]["command"] == first["command"] != last["start"]["command"]
    assert last["start"]["start"]["data"] == first["data"] != last["start"]["data"]
    assert "--seed 2 " in last["command"] and "--seed 1 " in last["start"]["command"]
