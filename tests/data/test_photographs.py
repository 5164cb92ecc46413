import numpy as np
import pytest
import torch
from PIL import Image

from paperlib.data.photographs import (
    ENVIRONMENT,
    FREE,
    find_photographs,
    free_photograph,
    free_squares,
    load_photographs,
)


def save(path, width, height, colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def test_crops_the_middle_and_averages(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :2], pixels[:, 6:] = 255, 255  # cut off
    pixels[0:2, 2:4] = [[[0] * 3, [80] * 3], [[160] * 3, [240] * 3]]
    pixels[2:4, 4:6, 0] = 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_photographs(1, 2, tmp_path)[0]
    assert image.dtype == torch.uint8
    assert image.tolist() == [[[120, 0], [0, 100]], [[120, 0], [0, 0]], [[120, 0], [0, 0]]]


def test_every_layout_and_mode(tmp_path, monkeypatch):
    save(tmp_path / "flat" / "b.JPG", 9, 7)
    save(tmp_path / "flat" / "a.png", 5, 6)
    (tmp_path / "flat" / "notes.txt").write_text("no image")
    (tmp_path / "flat" / "._a.png").write_text("of a file system")
    assert [path.name for path in find_photographs(tmp_path / "flat")] == ["a.png", "b.JPG"]
    save(tmp_path / "bsds" / "images" / "val" / "1.jpg", 20, 10)
    Image.new("L", (12, 30), 77).save(tmp_path / "bsds" / "images" / "grey.png")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "bsds"))
    assert load_photographs(2, 16).shape == (2, 3, 16, 16)


def test_seed_draws_without_replacement(tmp_path):
    for value in range(12):
        save(tmp_path / f"{value:02}.png", 8, 8, (value, 0, 0))
    drawn = [load_photographs(12, 8, tmp_path, seed)[:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0]) == sorted(drawn[2]) == list(range(12))


@pytest.mark.usefixtures("unchecked")
def test_errors_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(FileNotFoundError, match=f"{ENVIRONMENT}=/path/to/folder"):
        load_photographs(1, 8)
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        load_photographs(1, 8, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no .jpg"):
        load_photographs(1, 8, tmp_path)
    save(tmp_path / "a.png", 8, 8)
    with pytest.raises(ValueError, match="count=2: .* has 1 photographs"):
        load_photographs(2, 8, tmp_path)
    assert load_photographs(1, 1, tmp_path).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match="size=0"):
        load_photographs(1, 0, tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(ValueError, match="a.png: not a PNG, JPEG or WEBP"):
        load_photographs(1, 8, tmp_path)


def test_photographs_that_anyone_may_show_come_with_a_package():
    shapes = [free_photograph(name).shape for name in FREE]
    assert shapes == [(512, 512, 3), (300, 451, 3), (400, 600, 3), (427, 640, 3)]
    squares = free_squares(256)
    assert squares.shape == (4, 3, 256, 256) and squares.dtype == torch.uint8
    first = free_photograph("astronaut").reshape(256, 2, 256, 2, 3).mean((1, 3))
    np.testing.assert_allclose(squares[0].permute(1, 2, 0), first, atol=1)
    with pytest.raises(ValueError, match="valid are astronaut, chelsea"):
        free_photograph("lena")
