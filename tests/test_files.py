"""Files are written whole or not at all; fingerprints see every byte."""

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from paperlib.files import FileError, fingerprint, read_yaml, write_files


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_with_their_folders(tmp_path):
    write_files({tmp_path / "new/a": b"one", tmp_path / "new/b/c": b"two"})
    assert (tmp_path / "new/a").read_bytes() == b"one"
    assert (tmp_path / "new/b/c").read_bytes() == b"two"
    write_files({tmp_path / "new/a": b""})
    assert (tmp_path / "new/a").read_bytes() == b""
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "new"]


@contextlib.contextmanager
def full():
    """Files of this process can have 1000 bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_one_file_does_not_fit_the_old_ones_stay_and_nothing_else(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    write_files({first: b"old", second: b"old"})
    with full(), pytest.raises(FileError) as failed:
        write_files({first: b"new", second: bytes(2000)})
    assert str(failed.value) == f"{tmp_path}: cannot write b there: File too large"
    assert content(tmp_path) == {"a": b"old", "b": b"old"}


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "folder").write_bytes(b"file")
    with pytest.raises(FileError, match=r"folder/inner: cannot write x there: Not a directory"):
        write_files({tmp_path / "folder/inner/x": b""})
    assert content(tmp_path) == {"folder": b"file"}


def test_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(file):
        done.append(("synced", os.fstat(file).st_size))
        fsync(file)

    def replaced(old, new):
        done.append(("replaced", Path(old).stat().st_size))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_files({tmp_path / "a": b"123", tmp_path / "b": b"4567"})
    assert done == [("synced", 3), ("synced", 4), ("replaced", 3), ("replaced", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [", "not YAML: line 1"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "not YAML: line 4: 'c' stands twice"),
        (b"a: \xff", "not UTF-8 at byte 3"),
        (None, "No such file"),
    ],
)
def test_wrong_yaml_is_one_sentence(tmp_path, text, message):
    if text is not None:
        (tmp_path / "x.yaml").write_bytes(text)
    with pytest.raises(FileError, match=message) as failed:
        read_yaml(tmp_path / "x.yaml")
    assert str(failed.value).startswith(f"{tmp_path / 'x.yaml'}: ")
    assert "\n" not in str(failed.value)


def test_equal_content_has_the_same_fingerprint(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    copy = nn.Linear(3, 2)
    copy.load_state_dict(model.state_dict())
    assert fingerprint(model) == fingerprint(copy)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    for name in "ab":
        (tmp_path / name).write_bytes(b"content")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    x = torch.arange(12.0).view(3, 4)
    assert fingerprint(x.T) == fingerprint(x.T.contiguous())


ROWS = torch.arange(6.0).view(3, 2)


@dataclass
class Size:
    count: int


@dataclass
class OtherSize:
    count: int


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ROWS, ROWS.flip(0)),
        (ROWS, ROWS.flip(1)),
        (ROWS, ROWS.view(2, 3)),
        (ROWS, ROWS.double()),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        ([1, 2], [2, 1]),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ([b"ab", b"c"], [b"a", b"bc"]),
        (b"1", "1"),
        (1, 1.0),
        (1, True),
        (0, None),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"a": {"b": 1}}, {"a": {"c": 1}}),
        ([ROWS, [ROWS]], [ROWS, [ROWS.flip(0)]]),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (Size(1), Size(2)),
        (Size(1), OtherSize(1)),
        (nn.Linear(1, 1, bias=False), nn.Linear(2, 1, bias=False)),
    ],
    ids=repr,
)
def test_other_content_has_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_a_value_without_a_fingerprint_is_refused():
    with pytest.raises(TypeError, match="no fingerprint of a object"):
        fingerprint(object())


def test_a_file_s_fingerprint_is_its_content_and_not_its_name(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(b"conten")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    assert fingerprint(tmp_path / "a") != fingerprint(b"content")
