"""A picture as a person sees it, whatever the file."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from paperlib.data.class_folders import load_class_folders
from paperlib.data.encoded import decode
from paperlib.data.own import load_own
from paperlib.data.photographs import load_photographs
from paperlib.data.picture import read_picture

HALVES = np.zeros((4, 6, 3), np.uint8)
HALVES[:, 3:] = 200  # dark left, light right


def written(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_pixels_are_those_of_the_file(tmp_path):
    np.testing.assert_array_equal(read_picture(written(tmp_path / "a.png", HALVES)), HALVES)
    grey = read_picture(written(tmp_path / "g.png", HALVES[..., 0]))
    np.testing.assert_array_equal(grey, HALVES)


def test_the_camera_says_what_is_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    found = read_picture(written(tmp_path / "a.png", HALVES, exif=exif))
    np.testing.assert_array_equal(found, HALVES[::-1, ::-1])


def test_sixteen_bits_of_grey_are_scaled(tmp_path):
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    found = read_picture(written(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(found[0, :, 0], [0, 100, 255])


def test_what_is_transparent_shows_white(tmp_path):
    alpha = np.full((4, 6, 1), 255, np.uint8)
    alpha[0] = 0
    found = read_picture(written(tmp_path / "a.png", np.concatenate([HALVES, alpha], 2)))
    assert (found[0] == 255).all()
    np.testing.assert_array_equal(found[1:], HALVES[1:])


def test_what_cannot_be_read_is_named(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(ValueError, match="text.png: not a PNG, JPEG or WEBP image"):
        read_picture(text)
    with pytest.raises(FileNotFoundError, match="none.png: no such file"):
        read_picture(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_image_is_called_so(tmp_path, name):
    draw = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = written(tmp_path / name, draw)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=rf"{name}: the image is truncated: its file ends too"):
        read_picture(path)


@pytest.mark.parametrize("most", [23, 11])  # Pillow warns of the first and refuses the second
def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch, most):
    path = written(tmp_path / "a.png", HALVES)
    path.write_bytes(path.read_bytes()[:-20])  # the header is whole, the rest is not asked for
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(ValueError, match="a.png: Image size .24 pixels. exceeds limit"):
        read_picture(path)


def test_a_size_is_checked_before_decoding():
    content = io.BytesIO()
    Image.fromarray(HALVES).save(content, "PNG")
    cut = content.getvalue()[:-20]
    with pytest.raises(ValueError, match="row 3: 6 x 4 RGB instead of 32 x 32 RGB"):
        decode([cut], ["row 3"], 32, "some")


def test_damaged_notes_of_the_camera_are_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = written(tmp_path / "a.png", HALVES, exif=exif)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"MM\x00*", b"\x1bM\x00*"))
    assert path.read_bytes() != whole
    with pytest.raises(ValueError, match="a.png: its EXIF data cannot be read|a.png: not a PNG"):
        read_picture(path)


def of_a_folder(folder):
    return load_class_folders(folder).batches(pil_to_tensor, 1).__next__()[0][0]


READERS = {
    "own": lambda folder: load_own(folder).images[0],
    "class folders": of_a_folder,
    "photographs": lambda folder: load_photographs(1, 4, folder / "one"),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_of_photographs_sees_the_same(reader, tmp_path, monkeypatch):
    def read(array, **options):
        written(tmp_path / "one" / "a.png", array, **options)
        return np.asarray(READERS[reader](tmp_path)).reshape(3, 4, 4).transpose(1, 2, 0)

    (tmp_path / "one").mkdir()
    square, exif = HALVES[:, 1:5], Image.Exif()
    exif[0x0112] = 3  # upside down
    np.testing.assert_array_equal(read(square, exif=exif), square[::-1, ::-1])
    deep = square[..., 0].astype(np.uint16) * 257
    np.testing.assert_array_equal(read(deep), square)
    clear = np.concatenate([square, np.zeros_like(square[..., :1])], 2)
    assert (read(clear) == 255).all()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(ValueError, match="a.png: Image size .16 pixels. exceeds limit"):
        read(square)
