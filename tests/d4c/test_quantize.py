"""The command that quantizes one's own CLIP: every stage for real, at the smallest sizes."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from paperlib.d4c import methods, quantize
from paperlib.d4c.quantize import main, parser, run, task_of, transform
from paperlib.d4c.storage import load_quantized
from paperlib.data import LabelledImages
from paperlib.data.class_folders import load_class_folders
from paperlib.data.openmoji import draw_scenes, load_classes
from paperlib.models.clip import load_clip, preprocess

CLIP = "openmoji-clip-vit"
NO_IMAGES = torch.zeros(0, 3, 32, 32, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
SMALL = ["--count", "2", "--iterations", "1", "--reconstruction", "0", "--bits", "W8A8"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Three classes of OpenMoji scenes in folders, five images each, 64 px."""
    folder = tmp_path_factory.mktemp("photographs")
    names = [entry.name for entry in load_classes()]
    scenes = draw_scenes("test", range(2000), size=64, classes=load_classes(), balanced=True)
    for label in (3, 40, 90):
        place = folder / names[label].replace(" ", "_")
        place.mkdir()
        chosen = (scenes.labels[:, 0] == label).nonzero().flatten()[:5]
        for number, image in enumerate(scenes.images[chosen]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    return folder


def call(tmp_path, *more):
    return run(parser().parse_args(["--model", CLIP, "--work", str(tmp_path), *SMALL, *more]))


def test_from_synthesis_to_a_file_that_is_read_back(tmp_path, photographs, capsys):
    out = tmp_path / "small.safetensors"
    pairs = photographs / "pairs.csv"
    rows = [
        f"{file.relative_to(photographs)},{file.parent.name}"
        for file in photographs.glob("*/0.png")
    ]
    pairs.write_text("\n".join(["image,text", *rows]))
    measured = ["--data", str(photographs), "--pairs", str(pairs)]
    quantized, found = call(tmp_path, *measured, "--out", str(out))
    assert found.images == 15 and found.float_top1 > 0.6 and found.agreement > 0.6
    assert found.cosine > 0.5
    printed = capsys.readouterr().out
    for stage in ("calibration images: d4c:", "weights and text tower:", "image tower:"):
        assert f"{stage} " in printed
    assert "read back: equal features" in printed and "retrieval on 3 images, 3 texts" in printed
    chance, whole, few_bits = (
        float(re.search(rf"image to text .*?{name} +(\S+)", printed, re.DOTALL)[1])
        for name in ("by chance", "float", "quantized")
    )
    assert chance == 33.3 < min(whole, few_bits)
    images = torch.randn(2, 3, 64, 64)
    again = load_quantized(out, load_clip(CLIP)[0])
    assert torch.equal(again.encode_image(images), quantized.encode_image(images))


def test_folded_ranges_are_an_option_that_a_resnet_refuses_at_once(tmp_path, monkeypatch):
    quantized, _ = call(tmp_path, "--images", "spectrum", "--fold")
    layers = [layer for n, layer in quantized.layers() if n.startswith("clip.visual.")]
    assert len(layers) == 4 * 6 and all(layer.input.axis is None for layer in layers)
    monkeypatch.setattr(quantize, "calibration", lambda *_: pytest.fail("too late"))
    with pytest.raises(ValueError, match="no LayerNorms to fold ranges into"):
        call(tmp_path, "--fold", "--model", "openmoji-clip-resnet")


def test_images_of_a_folder_and_names_of_ones_own(tmp_path, photographs, monkeypatch):
    seen = {}
    original = quantize.quantize_text

    def record(model, tokenizer, settings, templates, names):
        seen.update(names=names, text=templates[0]("Hund"), prompts=settings.prompts)
        return original(model, tokenizer, settings, templates, names)

    monkeypatch.setattr(quantize, "quantize_text", record)
    monkeypatch.setattr(methods, "synthesise", lambda *_, **__: pytest.fail("nothing to make"))
    names = tmp_path / "names.txt"
    names.write_text("Hund\n\n Katze \n", encoding="utf-8")
    call(
        tmp_path,
        *("--images", str(photographs), "--names", str(names), "--template", "ein Foto von {}."),
    )
    assert seen == {"names": ("Hund", "Katze"), "text": "ein Foto von Hund.", "prompts": 2}


def test_images_without_classes_calibrate_and_are_compared(tmp_path, photographs, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(photographs.rglob("*.png"))):
        shutil.copy(file, flat / f"{number}.png")
    (flat / "._0.png").write_bytes(b"of another file system")
    (flat / "notes.txt").write_text("no image")
    _, measured = call(tmp_path, "--images", str(flat), "--data", str(flat))
    assert (measured.images, measured.top1, measured.float_top1) == (15, None, None)
    assert 0 < measured.agreement <= 1 and 0 < measured.cosine <= 1
    said = capsys.readouterr().out
    assert "15 images: agreement" in said and "on 170 names, cosine" in said
    words = tmp_path / "words.txt"
    words.write_text("dog\ncat\n", encoding="utf-8")
    given = ("--classes", str(words), "--test-images", "4")
    _, few = call(tmp_path, "--images", str(flat), "--data", str(flat), *given)
    assert few.images == 4 and "on 2 names" in capsys.readouterr().out


def test_other_words_give_other_images(tmp_path, tokenizer):
    clip, tokenizer = load_clip(CLIP)
    settings = methods.Settings(images=2, synthesis_iterations=1)

    def make(*words):
        return methods.calibration_images("d4c", clip, tokenizer, settings, None, tmp_path, *words)

    plain = make()
    assert torch.equal(make(methods.GENERIC_NAMES, methods.photo), plain)
    assert not torch.equal(make(["dog", "cat"]), plain)
    other = make(["dog", "cat"], lambda name: f"une photo de {name}")
    assert not torch.equal(other, make(["dog", "cat"]))


def test_the_temperature_reaches_the_synthesis(tmp_path, monkeypatch):
    taken = []

    def record(method, model, tokenizer, settings, *_):
        taken.append(settings.temperature)
        return torch.zeros(settings.images, 3, 64, 64)

    monkeypatch.setattr(quantize, "calibration_images", record)
    for more in ((), ("--temperature", "0.3"), ("--temperature", "own")):
        call(tmp_path, "--images", "d4c", *more)
    assert taken == [0.1, 0.3, pytest.approx(10 / load_clip(CLIP)[0].logit_scale.exp().item())]


def test_a_photograph_is_taken_as_clip_takes_it(vit):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    ours = transform(vit)(Image.fromarray(pixels))
    expected = preprocess(torch.from_numpy(pixels).permute(2, 0, 1)[None], 64)[0]
    torch.testing.assert_close(ours, expected)
    wide = Image.fromarray(np.tile(pixels, (1, 3, 1)))
    torch.testing.assert_close(transform(vit)(wide), expected)


def test_imagenet_s_names_are_open_clip_s(tmp_path):
    for number in range(1000):
        place = tmp_path / f"n{number:08}"
        place.mkdir()
        (place / "a.png").touch()
    cifar = task_of("cifar100", LabelledImages(*NO_IMAGES, ("a",) * 100, "CIFAR-100"), (), str)
    assert (cifar.names[0], len(cifar.names)) == ("apple", 100)
    task = task_of("a folder", load_class_folders(tmp_path), (), str)
    assert (task.names[0], task.names[999], len(task.templates)) == ("tench", "toilet paper", 80)
    own = task_of(
        "a folder", load_class_folders(tmp_path), [f"class {k}" for k in range(1000)], str
    )
    assert own.names[999] == "class 999" and len(own.templates) == 1
    (tmp_path / "n00000999/a.png").unlink()
    (tmp_path / "n00000999").rmdir()
    with pytest.raises(ValueError, match="999 folders with WordNet numbers.*--classes"):
        task_of("a folder", load_class_folders(tmp_path), (), str)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "RN5"], "name='RN5': valid are our checkpoints"),
        (["--bits", "W4"], "name='W4': valid are W2A2 to W8A8"),
        (["--images", "d5c"], "--images d5c: valid are gaussian, bns, .* and a folder"),
        (["--data", "stl10"], "--data stl10: valid are cifar10, cifar100, openmoji, and a folder"),
        (["--count", "0"], "images=0: whole numbers from 1"),
        (["--template", "a photo"], "--template 'a photo': valid is a text with one {}"),
        (["--temperature", "hot"], "temperature 'hot': valid are a number and 'own'"),
        (["--temperature", "-1"], "temperature=-1.0"),
        (["--names", "missing.txt"], "No such file or directory: 'missing.txt'"),
        (["--images", "bns", "--start", "spectrum"], "--images bns: --start and --fourier go with"),
        (["--images", "gaussian", "--fourier"], "--images gaussian: --start and --fourier go with"),
        (["--out", "model.pt"], "--out model.pt: valid is a name that ends in .safetensors"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_sentence(tmp_path, options, said):
    given = ["--model", CLIP, "--work", str(tmp_path), *SMALL, *options]
    with pytest.raises(SystemExit) as stop:
        main(given)
    assert re.search(said, str(stop.value.code))
