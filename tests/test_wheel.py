"""A built wheel holds its data: it works in a new environment, in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from paperlib.names import ROOT

PROGRAMS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
)
WHERE = "import paperlib; assert 'site-packages' in paperlib.__file__, paperlib.__file__\n"


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


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of a new environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    # the packages of the lock are those of this environment, without its paperlib
    (packages / "lock.pth").write_text(sysconfig.get_path("purelib"))
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(packages), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    return folder / "bin/python"


def test_readme_has_a_short_program_a_paper():
    papers = [re.findall(r"paperlib\.(freq|pedsam|d4c)\b", program) for program in PROGRAMS]
    assert [{*found} for found in papers] == [{"freq"}, {"pedsam"}, {"d4c"}]
    for program in PROGRAMS:
        steps = [line for line in program.splitlines() if line and not line.startswith("from ")]
        assert len(steps) <= 10


@pytest.mark.parametrize(
    ("program", "said"),
    list(
        zip(
            PROGRAMS,
            (
                r"natural 0\.\d+\npgd 0\.\d+\n",
                r"tensor\(\d\.\d+e-0[5-9]\)\n.* share\n(.* 0\.3\d+\n){3}",
                r"gaussian [01]\.\d+\nspectrum [01]\.\d+\nd4c [01]\.\d+\n",
            ),
            strict=True,
        )
    ),
    ids=("freq", "pedsam", "d4c"),
)
def test_the_programs_of_readme_run_in_an_empty_folder(python, tmp_path, program, said):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", WHERE + program],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(said, done.stdout), done.stdout
    assert [*tmp_path.iterdir()] == []
