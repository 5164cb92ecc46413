"""Scenes that no training has seen, and draws of test images."""

import numpy as np
import pytest
import torch
from PIL import Image

from paperlib.data.photographs import ENVIRONMENT
from paperlib.pedsam.small_sam import scenes
from paperlib.pedsam.small_sam.scenes import load_draws, scale, split_classes, unseen_scenes


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder of five photographs, each of one colour."""
    for number in range(5):
        colour = np.full((8, 8, 3), 50 * number, np.uint8)
        Image.fromarray(colour).save(tmp_path / f"{number}.png")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))


def colours(images):
    return {int(image[0, 0, 0]) for image in images}


def test_classes_are_split_without_overlap():
    seen, held_out = split_classes(False), split_classes(True)
    names = {entry.name for entry in seen}
    assert names.isdisjoint(entry.name for entry in held_out)
    drawings = {sprite for entry in seen for sprite in entry.sprites}
    assert drawings.isdisjoint(sprite for entry in held_out for sprite in entry.sprites)
    assert len(seen) + len(held_out) == 443
    assert len(held_out) == 88


def test_scenes_do_not_depend_on_the_chunks(monkeypatch):
    expected = unseen_scenes(3, seed=4)
    monkeypatch.setattr(scenes, "CHUNK", 2)
    assert torch.equal(unseen_scenes(3, seed=4), expected)


def test_a_test_scene_shows_classes_that_training_has_not(monkeypatch):
    asked = []
    real = scenes.draw_scenes

    def watched(split, indices, **how):
        asked.append((split, how["classes"]))
        return real(split, indices, **how)

    monkeypatch.setattr(scenes, "draw_scenes", watched)
    for split in ("train", "test"):
        list(scenes.draw_in_parts(split, 1, 0, size=32))
    assert asked == [("train", split_classes(False)), ("test", split_classes(True))]


def test_drawn_scenes_of_two_draws_or_seeds_are_others():
    first, other = (load_draws("openmoji", 2, 2, seed) for seed in (0, 1))
    images = torch.cat([*first.images, *other.images])
    assert len({image.numpy().tobytes() for image in images}) == 8


@pytest.mark.usefixtures("photographs")
def test_photographs_are_shared_as_little_as_can_be():
    apart = load_draws("photographs", 2, 2, seed=0)
    assert colours(apart.images[0]).isdisjoint(colours(apart.images[1]))
    assert apart.scale == "2 images, 2 draws"
    shared = load_draws("photographs", 4, 2, seed=0)
    assert [len(colours(images)) for images in shared.images] == [4, 4]
    assert len(colours(shared.images[0]) & colours(shared.images[1])) == 3
    assert shared.scale == "4 images, 2 draws that share 75 %"
    with pytest.raises(ValueError, match="count=6: .* has 5 photographs"):
        load_draws("photographs", 6, 1, seed=0)


def test_unknown_data_is_told_the_valid_ones():
    with pytest.raises(ValueError, match="dataset 'voc' is unknown: valid are openmoji"):
        load_draws("voc", 1, 1, 0)


def test_the_scale_in_words():
    assert scale(1, 1) == "1 image"
    assert scale(30, 3) == "30 images, 3 draws"
