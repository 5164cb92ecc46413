"""environment.yml, as Binder takes it: by repo2docker's own reader. Nothing is built or fetched."""

import shutil

import pytest
import yaml
from repo2docker.app import Repo2Docker
from repo2docker.buildpacks import CondaBuildPack

from paperlib.names import ROOT

PLATFORMS = ("linux/amd64", "linux/arm64")


def pack_of(folder, monkeypatch, platform="linux/amd64"):
    """The way of building that repo2docker chooses for a folder, which it reads in place."""
    monkeypatch.chdir(folder)
    app = Repo2Docker()
    packs = (kind(app.base_image) for kind in app.buildpacks)
    pack = next(pack for pack in packs if pack.detect())
    pack.platform = platform
    return pack


@pytest.fixture
def copy(tmp_path):
    """What repo2docker looks at, to change."""
    for name in ("environment.yml", "start", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("platform", PLATFORMS)
def test_binder_builds_it_with_conda_and_the_python_that_it_names(monkeypatch, platform):
    pack = pack_of(ROOT, monkeypatch, platform)
    assert type(pack) is CondaBuildPack
    assert pack.environment_yaml["channels"] == ["conda-forge", "nodefaults"]
    assert pack.python_version == "3.11"
    assert not pack.separate_kernel_env and not pack.uses_r
    assert pack.get_build_script_files()  # raises where it has no base for this Python
    assert pack.get_start_script() == "${REPO_DIR}/start"


def test_its_names_are_looked_up_where_the_repository_is_hosted():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    steps = jobs["environment"]["steps"]
    files = [step["with"].get("environment-file") for step in steps if "with" in step]
    assert files == ["environment.yml"]
    name = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["name"]
    assert any(
        f"micromamba run --name {name} ./run_all.sh" in step.get("run", "") for step in steps
    )


def order(pack):
    """Places in the Dockerfile where the repository is copied and where its packages come."""
    made = pack.render()
    assert made.count('env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"') == 1
    return made.index("COPY --chown=1000:1000 src/ ${REPO_DIR}"), made.index("env update -p")


def test_the_repository_is_there_before_its_packages(monkeypatch, copy):
    """They name a file of it, and itself; without the latter it would come later."""
    copied, installed = order(pack_of(ROOT, monkeypatch))
    assert copied < installed
    file = copy / "environment.yml"
    lines = [line for line in file.read_text().splitlines() if not line.endswith(("-e .", "lock"))]
    file.write_text("\n".join([*lines, "      - numpy"]))
    copied, installed = order(pack_of(copy, monkeypatch))
    assert installed < copied


def test_a_file_that_conda_does_not_take_is_refused(monkeypatch, copy):
    (copy / "environment.yml").write_text("- python=3.11\n")
    with pytest.raises(TypeError, match="should contain a dictionary"):
        _ = pack_of(copy, monkeypatch).python_version
