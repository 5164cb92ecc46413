"""Files are written whole or not at all; fingerprints see every byte; caches by content."""

import contextlib
import functools
import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from paperlib import code
from paperlib.files import FileError, cached, fingerprint, read_yaml, write_files


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


MAKER = """import torch

from paperlib.low import FACTOR


def make():
    made.append(1)
    return {"x": FACTOR * torch.arange(3.0), "y": torch.tensor(2, dtype=torch.uint8)}
"""


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """A project with a module that makes tensors with what another module gives."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    code._imports_of.cache_clear()  # it is by text, whatever the project
    (tmp_path / "paperlib").mkdir()
    file = tmp_path / "paperlib/maker.py"

    class Maker:
        folder = tmp_path / "cache"

        def write(self, more="", factor=2):
            (tmp_path / "paperlib/low.py").write_text(f"FACTOR = {factor}\n")
            file.write_text(MAKER + more)

        def take(self, *decides):
            """What the cache gives, and whether it was made for that."""
            names = {"made": [], "FACTOR": 2}
            text = file.read_text().replace("from paperlib.low import FACTOR", "")
            exec(compile(text, file, "exec"), names)
            return cached(self.folder, names["make"], *decides), bool(names["made"])

        def file(self):
            (found,) = self.folder.glob("make-*.safetensors")
            return found

    project = Maker()
    project.write()
    yield project
    code._imports_of.cache_clear()


def test_what_is_made_once_is_kept(maker):
    first, made = maker.take(1, "x")
    assert made
    assert first["x"].tolist() == [0, 2, 4]
    again, made = maker.take(1, "x")
    assert not made
    assert {name: (one.dtype, one.tolist()) for name, one in again.items()} == {
        name: (one.dtype, one.tolist()) for name, one in first.items()
    }
    assert maker.file().is_file()


def test_without_a_folder_nothing_is_kept(maker):
    maker.folder = None
    assert maker.take(1)[1]
    assert maker.take(1)[1]


@pytest.mark.parametrize(
    "other",
    [(1, "y"), (2, "x"), ("x", 1), (1, "x", None), (1, nn.Linear(1, 1)), (1, torch.zeros(2))],
    ids=str,
)
def test_settings_and_weights_make_another(maker, other):
    maker.take(1, "x")
    assert maker.take(*other)[1]
    assert not maker.take(1, "x")[1]


def test_code_of_the_making_module_and_of_what_it_imports_makes_another(maker):
    maker.take()
    maker.write(more="\nX = 1\n")
    assert maker.take()[1]
    maker.write(factor=3)
    assert maker.take()[1]
    maker.write()
    assert not maker.take()[1]
    maker.write(more="\n# words\n")
    assert not maker.take()[1]


DAMAGES = {
    "cut": lambda whole: whole[:-10],
    "cut in its header": lambda whole: whole[:20],
    "empty": lambda whole: b"",
    "other bytes": lambda whole: whole[:-12] + bytes(12),
    "not a number": lambda whole: whole[:-12] + b"\x00\x00\xc0\x7f" * 3,
    "HTML": lambda whole: b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "without its fingerprint": lambda whole: safetensors.torch.save({"x": torch.zeros(3)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_made_again(maker, capsys, damage):
    whole, _ = maker.take()
    file = maker.file()
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    again, made = maker.take()
    assert made
    assert f"{file} is damaged: it is made again" in capsys.readouterr().out
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert not maker.take()[1]


def noise():
    return {"x": torch.rand(1000, generator=torch.Generator().manual_seed(0))}


def test_a_hundred_replaced_bytes_are_seen(tmp_path, capsys):
    first = cached(tmp_path, noise)
    (file,) = tmp_path.glob("noise-*.safetensors")
    whole = bytearray(file.read_bytes())
    whole[2000:2100] = b"\x7f" * 100
    file.write_bytes(whole)
    assert torch.equal(cached(tmp_path, noise)["x"], first["x"])
    assert f"{file} is damaged" in capsys.readouterr().out


def slow(log):
    with open(log, "a") as file:
        file.write("begun\n")
        file.flush()
        time.sleep(1)
        file.write("ended\n")
    return {"x": torch.ones(1)}


def take_slowly(folder, log, barrier):
    barrier.wait()
    cached(folder, functools.partial(slow, log), "same")


def test_two_processes_that_want_the_same_wait_for_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [
        context.Process(target=take_slowly, args=(tmp_path / "cache", tmp_path / "log", barrier))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "begun\nended\n"
