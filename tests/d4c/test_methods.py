"""Calibration images by method, and what decides those that are kept."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from paperlib.d4c import methods, optimiser, synthesis
from paperlib.d4c.methods import (
    ABLATION,
    METHODS,
    calibration_images,
    data_free_baseline,
    settings_of,
)
from paperlib.d4c.plots import PALETTE
from paperlib.d4c.settings import Settings
from paperlib.d4c.zero_shot import load_images
from paperlib.models.clip import build_small_clip, denormalise, preprocess
from paperlib.models.resume import Resume
from paperlib.paths import ROOT

FAST = Settings(images=3, synthesis_iterations=2, synthesis_batch=2)


def test_the_rows_of_the_ablation_differ_in_scg_and_pae():
    on = {m: settings_of(m, FAST) for m in ABLATION}
    assert [(s.structural, s.perturbation is not None) for s in on.values()] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert list(on) == ["pgsi", "pgsi_scg", "pgsi_pae", "d4c"]
    assert settings_of("d4c", replace(FAST, perturbation=None)).perturbation is not None
    with pytest.raises(ValueError, match="method='bns': valid are 'pgsi'"):
        settings_of("bns", FAST)


def test_methods_are_told_apart_and_readable_on_white():
    colours = np.array([to_rgb(colour) for colour in PALETTE])
    far = np.abs(colours[:, None] - colours[None]).max(-1)
    assert (far[~np.eye(len(colours), dtype=bool)] > 0.15).all()
    assert (colours.mean(1) < 0.72).all()
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_every_method_gives_images_of_its_own(model, tokenizer):
    baseline = data_free_baseline(model)
    assert baseline == ("bns" if hasattr(model.visual, "attnpool") else "pse")
    data = load_images("openmoji", "train", 5, FAST.seed)
    found = {}
    controls = ("spectrum", "leaves", "scrambled")
    for method in ("real", "gaussian", baseline, *ABLATION, *controls):
        images = calibration_images(method, model, tokenizer, FAST, data)
        assert images.shape == (3, 3, 64, 64) and images.isfinite().all()
        assert all(not torch.equal(images, other) for other in found.values())
        found[method] = images
    clipped = denormalise(calibration_images("d4c_clipped", model, tokenizer, FAST))
    torch.testing.assert_close(clipped, denormalise(found["d4c"]).clamp(0, 1))
    assert torch.equal(found["real"], preprocess(data.images[:3], 64))
    for few in (None, data.subset(torch.arange(2))):
        for method in ("real", "scrambled"):
            with pytest.raises(ValueError, match="this method needs 3 real images"):
                calibration_images(method, model, tokenizer, FAST, few)
    for method in controls:
        pixels = denormalise(found[method])
        assert pixels.min() > -1e-6 and pixels.max() < 1 + 1e-6
    other = "pse" if baseline == "bns" else "bns"
    with pytest.raises(ValueError, match=f"{other.upper()} needs an image tower"):
        calibration_images(other, model, tokenizer, FAST)
    with pytest.raises(ValueError, match="method='noise': valid are 'real'"):
        calibration_images("noise", model, tokenizer, FAST)


def test_a_method_is_one_row(model, tokenizer, monkeypatch):
    row = methods.Method("grey", lambda wanted: torch.zeros(wanted.settings.images, 3, 4, 4))
    monkeypatch.setitem(METHODS, "grey", row)
    assert calibration_images("grey", model, tokenizer, FAST).shape == (3, 3, 4, 4)


def test_kept_images_are_those_of_the_same_method_settings_and_weights(
    model, tokenizer, tmp_path, monkeypatch
):
    def make(method="d4c", settings=FAST, net=model):
        return calibration_images(method, net, tokenizer, settings, folder=tmp_path)

    first = make()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".safetensors"]

    def refused(*arguments, **options):
        raise RuntimeError("made again")

    monkeypatch.setattr(synthesis, "optimise", refused)
    assert torch.equal(make(), first)
    assert torch.equal(make(settings=replace(FAST, weight_bits=2, prompts=9)), first)
    changed = build_small_clip("vit", tokenizer.vocab_size)
    for changes in ({"settings": replace(FAST, seed=1)}, {"method": "pgsi"}, {"net": changed}):
        with pytest.raises(RuntimeError, match="made again"):
            make(**changes)


def test_reversed_rows_of_a_weight_are_other_weights(model, tokenizer, tmp_path):
    def names():
        return {path.name for path in tmp_path.glob("*.safetensors")}

    none = replace(FAST, synthesis_iterations=0)
    calibration_images("pgsi", model, tokenizer, none, folder=tmp_path)
    before, weight = names(), model.visual.conv1.weight
    weight.data.copy_(weight.flip(0))
    calibration_images("pgsi", model, tokenizer, none, folder=tmp_path)
    weight.data.copy_(weight.flip(0))
    assert len(names() - before) == 1


KEYS = """
import sys
from pathlib import Path
import torch
from paperlib.d4c.methods import calibration_images
from paperlib.d4c.plots import PALETTE
from paperlib.d4c.settings import Settings
from paperlib.models.captions import make_tokenizer
from paperlib.models.clip import build_small_clip
tokenizer = make_tokenizer()
for tower, method in (("resnet", "bns"), ("vit", "pse"), ("vit", "d4c")):
    torch.manual_seed(0)
    model = build_small_clip(tower, tokenizer.vocab_size).eval()
    settings = Settings(images=1, synthesis_iterations=0)
    calibration_images(method, model, tokenizer, settings, folder=Path(sys.argv[1]))
"""


def kept_by(project, folder):
    """Names of the images that the code of a project keeps."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-c", KEYS, str(folder)]
    subprocess.run(command, cwd=project, env=environment, check=True)
    return {path.name for path in folder.glob("*.safetensors")}


def test_one_flipped_sign_in_the_normalisation_changes_every_key(tmp_path):
    ours = kept_by(ROOT, tmp_path / "ours")
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "paperlib", copy / "paperlib")
    (copy / "data").symlink_to(ROOT / "data")
    file = copy / "paperlib" / "models" / "clip.py"
    text = file.read_text()
    file.write_text(text.replace('    """Pixels in [0, 1] to', '    # a comment\n    """Pixels to'))
    looks = copy / "paperlib" / "d4c" / "methods.py"
    looks.write_text(looks.read_text().replace(f'"{METHODS["d4c"].title}"', '"ours"'))
    assert kept_by(copy, tmp_path / "other words") == ours
    right = "return (images - _channels(OPENAI_DATASET_MEAN"
    assert text.count(right) == 1
    file.write_text(text.replace(right, right.replace("-", "+")))
    broken = kept_by(copy, tmp_path / "broken")
    assert len(broken) == len(ours) == 3 and not broken & ours


def test_images_that_another_is_making_are_waited_for(model, tokenizer, tmp_path, monkeypatch):
    made, whole = [], synthesis.optimise

    def slow(*arguments, **options):
        time.sleep(0.5)
        made.append(1)
        return whole(*arguments, **options)

    def make(bits):
        settings = replace(FAST, weight_bits=bits)
        return calibration_images("d4c", model, tokenizer, settings, folder=tmp_path)

    monkeypatch.setattr(synthesis, "optimise", slow)
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(make, (2, 4, 8)))
    assert len(made) == 1 and all(torch.equal(images, found[0]) for images in found)


def test_an_interrupted_synthesis_continues_at_other_bit_widths(
    model, tokenizer, tmp_path, monkeypatch
):
    def make(bits):
        settings = replace(FAST, weight_bits=bits)
        return calibration_images("d4c", model, tokenizer, settings, folder=tmp_path)

    class Interrupted(Resume):
        def save(self, state):
            super().save(state)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "Resume", partial(Interrupted, every=0))
        with pytest.raises(KeyboardInterrupt):
            make(2)
    assert list(tmp_path.glob("*.pt"))
    assert torch.equal(make(8), calibration_images("d4c", model, tokenizer, FAST))
    assert not list(tmp_path.glob("*.pt"))
