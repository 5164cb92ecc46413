"""A built wheel holds its data: it works in a new environment, in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from paperlib.names import ROOT

PAPERS = """
import torch

import paperlib
from paperlib.freq.dct import dct2, idct2
from paperlib.freq.variants import load_variant
from paperlib.models.clip import load_clip
from paperlib.models.sam import load_sam

assert "site-packages" in paperlib.__file__, paperlib.__file__
images = torch.rand(2, 3, 32, 32)
assert torch.allclose(idct2(dct2(images)), images, atol=1e-4)
assert load_variant("openmoji", "resnet20", "natural")(images).shape == (2, 10)
clip, tokenizer = load_clip("openmoji-clip-vit")
assert clip.encode_text(tokenizer(["a cat"])).shape[0] == 1
assert load_sam("sam-small").image_encoder.img_size > 0
print("fine")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what it is made of."""
    source, made = (tmp_path_factory.mktemp(name) for name in ("source", "made"))
    for name in ("paperlib", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), "."]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=source, check=True)
    (file,) = made.glob("*.whl")
    return file


def test_it_works_in_a_new_environment_in_an_empty_folder(wheel, tmp_path):
    venv.create(tmp_path / "new", with_pip=False)
    python = tmp_path / "new/bin/python"
    (packages,) = (tmp_path / "new/lib").glob("python*/site-packages")
    # the packages of the lock are those of this environment, without its paperlib
    (packages / "lock.pth").write_text(sysconfig.get_path("purelib"))
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(packages), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [python, "-c", PAPERS],
        cwd=tmp_path / "empty",
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
