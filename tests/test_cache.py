"""What is slow is made once; settings, weights and code decide; damaged files are made again."""

import functools
import multiprocessing
import time

import pytest
import safetensors.torch
import torch
from torch import nn

from paperlib import code
from paperlib.cache import cached

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
