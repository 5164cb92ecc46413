"""What the machine has and what it lacks, told by the standard library alone."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from paperlib.data import cifar, external
from paperlib.models import sam
from paperlib.names import DATASETS, PROFILES, ROOT
from paperlib.pedsam import sizes
from paperlib.runs import doctor, graph, outside
from paperlib.runs.table import read_table

ALONE = ("runs/doctor.py", "runs/outside.py", "paths.py", "names.py", "__init__.py")


def run(*words, **more):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PAPERLIB_")}
    return subprocess.run(
        [sys.executable, *words, "-m", "paperlib.runs.doctor"],
        cwd=ROOT,
        env=kept | more,
        capture_output=True,
        text=True,
        check=False,
    )


def lines(done):
    return {line[3:].split()[0]: line for line in done.stdout.splitlines()}


def test_it_answers_where_nothing_is_installed(tmp_path):
    done = run("-S", PAPERLIB_CACHE=str(tmp_path / "cache"))
    assert done.stderr == ""
    said = lines(done)
    assert said["Python"].startswith("ok  Python")
    assert said["packages"].startswith("--  packages")
    assert "missing" in said["packages"] and "./run_all.sh installs them" in said["packages"]
    assert "torch is installed" in said["device"]
    assert {*PROFILES, *outside.OUTSIDE, "cores", "memory", "disk", "cache"} <= {*said}
    assert "CIFAR-10, 170 MB: not in " in said["cifar10"]
    assert "cifar10 is to be downloaded for 01, 02, " in said["paper"]
    assert "coco is missing for 07" in said["paper"]
    assert "for" not in said["smoke"].split() and "for" not in said["default"].split()
    for name in ALONE:
        text = (ROOT / "paperlib" / name).read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 9))


def test_what_is_here_is_found(tmp_path):
    (tmp_path / "data/annotations").mkdir(parents=True)
    (tmp_path / "data/annotations/instances_val2017.json").touch()
    (tmp_path / "sam_vit_b_01ec64.safetensors").touch()
    given = {"PAPERLIB_COCO": str(tmp_path / "data"), "PAPERLIB_SAM": str(tmp_path)}
    said = lines(run(**given, PAPERLIB_CACHE=str(tmp_path / "cache")))
    assert said["packages"].endswith("as requirements-cpu.lock says")
    assert said["coco"].startswith("ok ") and said["sam"].startswith("ok ")
    assert said["photographs"].startswith("-- ")
    assert "coco is" not in said["paper"] and "photographs is missing for 06, 08" in said["paper"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("cifar10", "data/test-00000-of-00001.parquet"),
        ("cifar10", "test/cat/1.png"),
        ("photographs", "1.JPG"),
        ("photographs", "images/test/1.png"),
        ("photographs", "1.jpeg"),
    ],
)
def test_every_layout_that_a_loader_takes_is_found(tmp_path, name, file):
    given = {outside.variable(name): str(tmp_path)}
    assert not outside.found(name, given)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert outside.found(name, given)


def test_packages_are_compared_by_version_alone():
    pins = {"a": ("1.0", ""), "b": ("2.0", "sys_platform == 'nowhere'"), "c": ("3.0", "")}
    assert doctor.differing(pins, {"a": "1.0+cpu", "c": "3.0"}) == []
    assert doctor.differing(pins, {"a": "1.0.1"}) == [
        "a 1.0.1 (lock: 1.0)",
        "c missing (lock: 3.0)",
    ]
    text = "# words\na-b==1.0\nc==2.0 ; os_name == 'nt'\n"
    assert doctor.locked(text) == {"a-b": ("1.0", ""), "c": ("2.0", "os_name == 'nt'")}


def test_what_it_says_of_the_project_is_what_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = SpecifierSet(project["requires-python"])
    minors = [minor for minor in range(30) if f"3.{minor}" in allowed]
    assert ((3, minors[0]), (3, minors[-1])) == (doctor.FIRST, doctor.LAST)
    assert f"3.{minors[0]} to 3.{minors[-1]}" == doctor.SPAN
    table = read_table()
    for profile in PROFILES:
        most = max(entry.row.memory[profile] for entry in table.values())
        assert doctor.memory_needed()[profile] == most
        taken = doctor.datasets()[profile]
        for name, entry in table.items():
            own = entry.dataset(profile)
            assert taken[name][:1] == ((own,) if own in outside.OUTSIDE else ())
    assert set(DATASETS) - set(outside.OUTSIDE) == {"openmoji"}


def test_what_is_downloaded_is_what_its_loader_names():
    remote = {"cifar10": cifar.EDITIONS["cifar10"].archive, "sam": sam.PUBLISHED["vit_b"]}
    assert {name for name, one in outside.OUTSIDE.items() if one.fetched} == set(remote)
    for name, file in remote.items():
        assert graph.remote(name) == file
        assert (outside.OUTSIDE[name].source, file.dataset) == (file.url, name)
        assert outside.OUTSIDE[name].megabytes == round(file.size / 1e6)
        assert outside.variable(name) == external.variable(name)
    for profile in PROFILES:
        published = sizes.SIZES["07_segmentation"][profile].sam in sam.PUBLISHED
        needs = outside.needed("07_segmentation", profile, "openmoji")
        assert needs == (["sam"] if published else [])


def test_missing_data_is_told_before_anything_runs(project):
    words = ("--profile", "paper", "--only", "01_one")
    project.edit("paperlib/toy/sizes.py", '"cifar10"', '"photographs"')
    done = project.python("paperlib.runs.graph", *words, PAPERLIB_PHOTOGRAPHS="nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "nothing was run; what it takes is missing:\nphotographs: not in "
    )
    assert "PAPERLIB_PHOTOGRAPHS=/path/to/folder" in done.stderr
    assert not [*(project / "outputs").rglob("01_one*")]
    project.edit("paperlib/toy/sizes.py", '"photographs"', '"cifar10"')
    done = project.python("paperlib.runs.graph", *words, PAPERLIB_CIFAR10=str(project.folder))
    assert done.returncode == 2
    assert "CIFAR-10, 170 MB: not in " in done.stderr
    assert "from  https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in done.stderr
