"""What the command measures on a tar: the same as on its folder; ImageNet's names without one."""

import re

import pytest
import torch
from PIL import Image
from torch import nn

from paperlib.d4c import quantize
from paperlib.d4c.quantize import main, parser, run, task_of
from paperlib.data.class_tars import KIT, load_class_tar
from paperlib.models.clip import load_clip
from tests.data.tars import development_kit, packed

CLIP = "openmoji-clip-vit"
SMALL = "--count 2 --images gaussian --reconstruction 0 --prompts 4 --bits W8A8".split()


@pytest.fixture
def folder(tmp_path):
    """Two classes with three images each."""
    for name, colour in (("red_square", "red"), ("blue_square", "blue")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for side in (64, 80, 96):
            Image.new("RGB", (64, side), colour).save(tmp_path / "set" / name / f"{side}.jpg")
    return tmp_path / "set"


def options(tmp_path, data, *more):
    given = ["--model", CLIP, "--work", str(tmp_path / "work"), *SMALL, "--data", str(data), *more]
    return parser().parse_args(given)


def test_a_tar_is_measured_on_as_its_folder_is(folder, tmp_path, capsys):
    tar, clip = packed(tmp_path / "set.tar", [("some/set", folder)]), load_clip(CLIP)[0]
    given = options(tmp_path, tar, "--test-images", "5")
    data, expected = (quantize.test_data(str(source), given, clip) for source in (tar, folder))
    pairs = zip(quantize.batches(data, clip), quantize.batches(expected, clip), strict=True)
    assert all(torch.equal(*both) for pair in pairs for both in zip(*pair, strict=True))
    assert data.classes == expected.classes == ("blue square", "red square")
    assert run(given)[1].images == 5
    assert "zero-shot Top-1 on set.tar: " in capsys.readouterr().out


def test_imagenet_s_validation_tar_gets_its_names_and_templates(folder, tmp_path):
    image, numbers = next(folder.glob("*/*")), [f"n{k:08}" for k in range(1000, 0, -1)]
    names = [f"ILSVRC2012_val_{k:08}.JPEG" for k in range(1, 1001)]
    tar = packed(tmp_path / "ILSVRC2012_img_val.tar", [(name, image) for name in names])
    development_kit(tmp_path / KIT, range(1000), numbers)
    given = options(tmp_path, tar, "--test-images", "3")
    data = quantize.test_data(str(tar), given, nn.Identity())
    assert len(data) == 3 and data.folders == tuple(sorted(numbers))
    task = task_of(str(tar), data, (), str)
    assert (task.names[0], task.names[999], len(task.templates)) == ("tench", "toilet paper", 80)
    last, label = load_class_tar(tar).samples[-1]  # the first image is of the last class
    assert (last.name.name, label) == (names[0], 999)


def test_what_is_neither_folder_nor_tar_is_said_in_a_sentence(tmp_path):
    words = tmp_path / "words.tar"
    words.write_text("words")
    for data, said in (
        (words, "ValueError: .*words.tar cannot be read as a tar: .*fetch or pack it again"),
        (tmp_path / "none.tar", "--data .*none.tar: valid are cifar10, .*and a folder or a tar"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["--model", CLIP, *SMALL, "--data", str(data)])
        assert re.search(said, str(stop.value.code)) and "\n" not in stop.value.code
