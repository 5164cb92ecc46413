"""A version of paperlib gets one tag, on the first commit that has it."""

import shutil
import subprocess

import pytest
import yaml

from paperlib.paths import ROOT


@pytest.fixture
def clone(tmp_path):
    """A clone of an empty repository, with what is needed to tag it."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q", "--bare", tmp_path / "origin"], check=True)
    subprocess.run([*git, "clone", "-q", tmp_path / "origin", tmp_path / "clone"], check=True)
    clone = tmp_path / "clone"
    for folder in (".ci", "paperlib"):
        (clone / folder).mkdir()
    shutil.copy(ROOT / ".ci/tag", clone / ".ci/tag")
    release(clone, "1.2.0")
    return clone


def release(clone, version):
    (clone / "paperlib/__init__.py").write_text(f'"""Words."""\n\n__version__ = "{version}"\n')
    git = ["git", "-C", clone, "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", version], check=True)


def tag(clone):
    return subprocess.run([clone / ".ci/tag"], capture_output=True, text=True)


def tags(clone):
    """Names of the tags at origin, and the commit of each."""
    line = ["git", "-C", clone, "ls-remote", "--tags", "origin"]
    said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return {name: commit for commit, name in map(str.split, said.splitlines())}


def test_a_version_is_tagged_once_where_it_first_stood(clone):
    assert tag(clone).stdout == "v1.2.0 is tagged\n"
    first = tags(clone)
    assert list(first) == ["refs/tags/v1.2.0"]
    release(clone, "1.2.0")
    assert tag(clone).stdout == "v1.2.0 has a tag\n"
    assert tags(clone) == first
    release(clone, "1.3.0")
    assert tag(clone).stdout == "v1.3.0 is tagged\n"
    assert list(tags(clone)) == ["refs/tags/v1.2.0", "refs/tags/v1.3.0"]


def test_without_a_version_nothing_is_tagged(clone):
    (clone / "paperlib/__init__.py").write_text("")
    said = tag(clone)
    assert said.returncode == 1 and "paperlib/__init__.py: no line" in said.stderr
    assert tags(clone) == {}


def test_the_workflow_tags_after_the_tests():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    job = jobs["tag"]
    assert job["needs"] == "test" and job["permissions"] == {"contents": "write"}
    assert job["steps"][-1]["run"] == ".ci/tag"
