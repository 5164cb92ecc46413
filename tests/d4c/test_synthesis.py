from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from paperlib.d4c import optimiser, synthesis
from paperlib.d4c.methods import settings_of
from paperlib.d4c.optimiser import Part
from paperlib.d4c.perturbation import draw_perturbation, perturb
from paperlib.d4c.prompts import GENERIC_NAMES
from paperlib.d4c.settings import Settings
from paperlib.d4c.synthesis import (
    backgrounds,
    draw_boxes,
    foregrounds,
    synthesis_logits,
    synthesise,
    synthesise_parts,
    total_variation,
)
from paperlib.models.clip import CompactTokenizer, build_small_clip, class_features
from paperlib.models.resume import Resume

NAMES = ("cat", "fire engine", "apple", "mountain")
BOXES = [[0, 10, 43, 43], [15, 0, 44, 44], [10, 0, 50, 50], [19, 4, 41, 41]]
CROPS = [[-1.1458, 0.5689, -0.5709, 0.5621], [-157.5027, -46.6253, -114.8135, -0.1861]]
SHORT = Settings(images=6, synthesis_batch=4, synthesis_iterations=3)


@pytest.fixture(scope="module")
def tokenizer():
    return CompactTokenizer.of(["a photo of a.", *NAMES])


@pytest.fixture(scope="module", params=["resnet", "vit"])
def model(request, tokenizer):
    torch.manual_seed(0)
    model = build_small_clip(request.param, tokenizer.vocab_size).eval()
    for module in model.visual.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)  # the last of a block starts at 0
    return model


def images(n=5, size=16, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def encoder(images):
    """Unit features that depend on every pixel, in a simple way."""
    weights = torch.randn(images[0].numel(), 8, generator=torch.Generator().manual_seed(7))
    return F.normalize(images.flatten(1).tanh() @ weights, dim=-1)


@pytest.mark.parametrize(
    "box", [(0, 0, 16, 16), (0, 0, 11, 11), (5, 5, 11, 11), (0, 6, 10, 10), (3, 1, 12, 9)]
)
def test_foreground_is_a_crop_and_resize(box):
    top, left, height, width = box
    crop = images()[:, :, top : top + height, left : left + width]
    expected = F.interpolate(crop, size=(16, 16), mode="bilinear", align_corners=False)
    ours = foregrounds(images(), torch.tensor([box] * 5))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_foregrounds_of_different_boxes():
    x = images(40, 64)
    boxes = draw_boxes(40, 64, (0.1, 1.0), torch.Generator().manual_seed(0))
    ours = foregrounds(x, boxes)
    for image, (top, left, height, width), view in zip(x, boxes.tolist(), ours, strict=True):
        crop = image[None, :, top : top + height, left : left + width]
        expected = F.interpolate(crop, size=(64, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(view[None], expected, atol=1e-5, rtol=0)


def test_backgrounds_have_their_box_at_zero():
    boxes = torch.tensor(
        [[0, 0, 4, 4], [3, 5, 7, 11], [6, 6, 10, 10], [0, 0, 16, 16], [2, 0, 1, 3]]
    )
    for image, box, ours in zip(
        images(), boxes.tolist(), backgrounds(images(), boxes), strict=True
    ):
        expected = image.clone()
        expected[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = 0
        assert torch.equal(ours, expected)


def test_boxes_have_the_wanted_areas_and_places():
    boxes = draw_boxes(4000, 100, (0.4, 0.7), torch.Generator().manual_seed(0))
    top, left, height, width = boxes.T
    assert torch.equal(height, width)
    share = height * width / 1e4
    assert 0.39 < share.min() < 0.41 and 0.69 < share.max() < 0.71
    assert abs(share.mean() - 0.55) < 0.01
    assert top.min() == left.min() == 0
    assert ((top + height).max(), (left + width).max()) == (100, 100)
    place = top / (100 - height).float()
    assert abs(place.mean() - 0.5) < 0.02


def test_boxes_and_crops_are_those_of_the_published_sets():
    """Values that the sets in data/ were made with: other code would make other sets."""
    boxes = draw_boxes(4, 64, (0.4, 0.7), torch.Generator().manual_seed(2026))
    assert boxes.tolist() == BOXES
    front = foregrounds(images(4, 64), boxes)
    found = [
        front[:, 0, 31, 17].tolist(),
        backgrounds(images(4, 64), boxes).sum((1, 2, 3)).tolist(),
    ]
    assert found == [pytest.approx(row, abs=2e-3) for row in CROPS]


def test_total_variation_is_the_plain_sum():
    x = images(2, 5).double()
    vertical = [
        (x[i, c, h + 1, w] - x[i, c, h, w]) ** 2
        for i in range(2)
        for c in range(3)
        for h in range(4)
        for w in range(5)
    ]
    horizontal = [
        (x[i, c, h, w + 1] - x[i, c, h, w]) ** 2
        for i in range(2)
        for c in range(3)
        for h in range(5)
        for w in range(4)
    ]
    expected = sum(vertical) / len(vertical) + sum(horizontal) / len(horizontal)
    torch.testing.assert_close(total_variation(x).mean(), expected)


def test_logits_one_by_one():
    """Prompts first, then the backgrounds of all images, all over τ."""
    settings = Settings(perturbation=None, temperature=0.2)
    boxes = draw_boxes(5, 16, (0.4, 0.7), torch.Generator().manual_seed(1))
    texts = F.normalize(torch.randn(7, 8), dim=-1)
    noise = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    ours = synthesis_logits(encoder, images(), boxes, texts, settings, [generator])
    assert ours.shape == (5, 7 + 5)
    for i in range(5):
        front = encoder(foregrounds(images()[[i]], boxes[[i]]))[0]
        row = [front @ text / 0.2 for text in texts]
        for j in range(5):
            behind = backgrounds(images()[[j]], boxes[[j]]) + 0.1 * noise[[j]]
            row.append(front @ encoder(behind)[0] / 0.2)
        torch.testing.assert_close(ours[i], torch.stack(row))


def test_perturbation_is_of_the_foreground_alone():
    boxes = draw_boxes(5, 16, (0.4, 0.7), torch.Generator().manual_seed(1))
    seen = []

    def encode(x):
        seen.append(x)
        return encoder(x)

    texts = F.normalize(torch.randn(7, 8), dim=-1)
    generator = torch.Generator().manual_seed(2)
    synthesis_logits(encode, images(), boxes, texts, Settings(), [generator])
    (together,) = seen  # foregrounds and backgrounds in one forward pass
    draw = torch.Generator().manual_seed(2)
    drawn = draw_perturbation(5, 16, Settings().perturbation, draw)
    torch.testing.assert_close(together[:5], perturb(foregrounds(images(), boxes), drawn))
    noise = 0.1 * torch.randn(5, 3, 16, 16, generator=draw)
    torch.testing.assert_close(together[5:], backgrounds(images(), boxes) + noise)


@pytest.mark.parametrize("perturbed", [False, True])
def test_without_scg_the_whole_image_is_encoded(perturbed):
    settings = replace(Settings(), structural=False)
    if not perturbed:
        settings = replace(settings, perturbation=None)
    boxes = torch.zeros(5, 4, dtype=torch.long)
    texts = F.normalize(torch.randn(7, 8), dim=-1)
    generator = torch.Generator().manual_seed(2)
    ours = synthesis_logits(encoder, images(), boxes, texts, settings, [generator])
    views = images()
    if perturbed:
        draw = torch.Generator().manual_seed(2)
        views = perturb(views, draw_perturbation(5, 16, settings.perturbation, draw))
    torch.testing.assert_close(ours, encoder(views) @ texts.T / 0.1)


def test_loss_of_a_first_step(model, tokenizer):
    """PGSI alone, from open_clip's own calls."""
    settings = replace(SHORT, structural=False, perturbation=None, synthesis_iterations=1)
    done = synthesise(model, tokenizer, settings, NAMES, snapshots=[0])
    texts = tokenizer([f"a photo of a {name}." for name in NAMES])
    start = done.snapshots[0]
    assert abs(start.std() - 1) < 0.02 and start.shape == (6, 3, 64, 64)
    for row, part in ((0, slice(0, 4)), (1, slice(4, 6))):
        with torch.no_grad():
            a, b, _ = model(start[part], texts)
        loss = F.cross_entropy(a @ b.T / 0.1, done.targets[part])
        loss += 0.1 * total_variation(start[part]).mean()
        torch.testing.assert_close(done.losses[row, 0], loss, atol=1e-4, rtol=0)


def test_first_step_is_adam_s(model, tokenizer):
    settings = replace(SHORT, images=4, synthesis_iterations=1)  # one mini-batch
    done = synthesise(model, tokenizer, settings, NAMES, snapshots=[0])
    change = (done.images - done.snapshots[0]).abs()
    assert change.max() <= 0.0101 and change.mean() > 0.009


@pytest.mark.parametrize("structural", [False, True])
def test_images_come_to_show_their_prompts(model, tokenizer, structural):
    settings = replace(SHORT, synthesis_iterations=25, structural=structural, perturbation=None)
    settings = replace(settings, synthesis_rate=0.05)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    done = synthesise(model, tokenizer, settings, NAMES, snapshots=[0])
    assert (done.losses[:, -1] < done.losses[:, 0] - 0.1).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    texts = class_features(model, tokenizer, NAMES, [lambda name: f"a photo of a {name}."])
    with torch.no_grad():
        whole = [
            F.cross_entropy(model.encode_image(x, normalize=True) @ texts.T / 0.1, done.targets)
            for x in (done.snapshots[0], done.images)
        ]
    assert structural or whole[1] < whole[0] - 1e-3  # random weights hardly tell texts apart


def test_texts_are_encoded_once(model, tokenizer, monkeypatch):
    calls, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda *a, **k: calls.append(1) or encode(*a, **k))
    synthesise(model, tokenizer, SHORT, NAMES)
    assert len(calls) == 1


def test_foreground_and_background_share_a_forward_pass(model, tokenizer, monkeypatch):
    calls, encode = [], model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda x: calls.append(len(x)) or encode(x))
    synthesise(model, tokenizer, SHORT, NAMES)
    assert calls == [8, 4] * 3


def test_seed_decides(model, tokenizer):
    first, again = (synthesise(model, tokenizer, SHORT, NAMES) for _ in range(2))
    other = synthesise(model, tokenizer, replace(SHORT, seed=1), NAMES)
    assert torch.equal(first.images, again.images) and torch.equal(first.losses, again.losses)
    assert not torch.equal(first.images, other.images)
    assert first.targets.tolist() != other.targets.tolist()


@pytest.mark.parametrize("together", [1, 2, 3, 8])
@pytest.mark.parametrize("method", ["d4c", "pgsi"])
def test_parts_of_several_sets_are_what_the_whole_sets_have(model, tokenizer, method, together):
    """The first mini-batches alone, many in one pass: nothing of an image depends on either."""
    settings = replace(settings_of(method, SHORT), images=8, synthesis_batch=2)
    parts = [Part(3, 4), Part(7, 2)]
    arguments = model, tokenizer, settings, parts, NAMES
    made = synthesise_parts(*arguments, snapshots=[2], together=together)
    for part, ours in zip(parts, made, strict=True):
        whole = synthesise(model, tokenizer, replace(settings, seed=part.seed), NAMES, None, [2])
        count = part.images
        torch.testing.assert_close(ours.images, whole.images[:count], atol=2e-3, rtol=0)
        torch.testing.assert_close(ours.snapshots[2], whole.snapshots[2][:count], atol=2e-3, rtol=0)
        torch.testing.assert_close(ours.losses, whole.losses[: count // 2], atol=1e-4, rtol=0)
        assert torch.equal(ours.targets, whole.targets[:count])
        assert torch.equal(ours.boxes, whole.boxes[:count])
        assert (whole.images[2:4] - whole.images[:2]).abs().mean() > 0.5  # no mini-batch is another


def test_a_part_ends_with_a_mini_batch(model, tokenizer):
    with pytest.raises(ValueError, match="whole number of mini-batches of 4"):
        synthesise_parts(model, tokenizer, replace(SHORT, images=12), [Part(0, 6)], NAMES)


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_an_interrupted_run_ends_as_a_whole_one(model, tokenizer, tmp_path, monkeypatch, stop):
    settings = replace(SHORT, synthesis_iterations=4)
    monkeypatch.setattr(optimiser, "Resume", partial(Resume, every=0))
    whole = synthesise(model, tokenizer, settings, NAMES, snapshots=[0, 2])
    file, variation, calls = tmp_path / "runs" / "run.pt", synthesis.total_variation, []

    def breaking(x):
        calls.append(1)
        if len(calls) > stop:
            raise KeyboardInterrupt
        return variation(x)

    monkeypatch.setattr(synthesis, "total_variation", breaking)
    with pytest.raises(KeyboardInterrupt):
        synthesise(model, tokenizer, settings, NAMES, file, [0, 2])
    with pytest.raises(ValueError, match="of another run"):
        synthesise(model, tokenizer, replace(settings, seed=5), NAMES, file, [0, 2])
    monkeypatch.setattr(synthesis, "total_variation", lambda x: calls.append(1) or variation(x))
    done = synthesise(model, tokenizer, settings, NAMES, file, [0, 2])
    assert len(calls) == 8 + stop % 2 + 1 and not file.exists()  # what broke off is done again
    assert torch.equal(done.images, whole.images) and torch.equal(done.losses, whole.losses)
    assert all(torch.equal(done.snapshots[k], whole.snapshots[k]) for k in (0, 2))


def test_half_precision_stays_close(model, tokenizer):
    settings = replace(SHORT, synthesis_iterations=1, perturbation=None)
    full = synthesise(model, tokenizer, settings, NAMES)
    half = synthesise(model, tokenizer, replace(settings, synthesis_autocast=True), NAMES)
    torch.testing.assert_close(half.losses, full.losses, atol=0.2, rtol=0)
    assert not torch.equal(half.losses, full.losses)


def test_wrong_values_are_named(model, tokenizer):
    with pytest.raises(ValueError, match="0 names"):
        synthesise(model, tokenizer, SHORT, [])
    with pytest.raises(ValueError, match=r"snapshots=\(9,\): 0 to 3 are valid"):
        synthesise(model, tokenizer, SHORT, NAMES, snapshots=[9])
    with pytest.raises(ValueError, match="model: Linear has no visual tower"):
        synthesise(torch.nn.Linear(2, 2), tokenizer, SHORT, NAMES)
    for change, message in (
        ({"images": 0}, "images=0: whole numbers from 1"),
        ({"temperature": 0}, "temperature=0: numbers above 0"),
        ({"foreground_area": (0.7, 0.4)}, "0 < least <= most <= 1"),
        ({"synthesis_iterations": -1}, "synthesis_iterations=-1: whole numbers from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SHORT, **change)


def test_the_paper_s_settings_are_the_defaults():
    assert (Settings().images, Settings().synthesis_batch) == (128, 16)
    assert (Settings().synthesis_iterations, Settings().synthesis_rate) == (3000, 0.01)
    assert (Settings().temperature, Settings().variation_weight) == (0.1, 0.1)
    assert 165 <= len(GENERIC_NAMES) == len(set(GENERIC_NAMES)) <= 175
