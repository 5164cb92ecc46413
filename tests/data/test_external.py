"""Files that were read are named with their checksums, and compared where they are."""

import hashlib

import pytest

from paperlib.data import external


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(external, "_noted", {})
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAPERLIB_COCO", raising=False)


def write(path, content=b"content"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_argument_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    assert external.given("coco") is None
    assert external.place("coco") == tmp_path / "cache" / "coco"
    monkeypatch.setenv("PAPERLIB_COCO", "~/coco")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert external.given("coco") == external.place("coco") == tmp_path / "coco"
    assert external.given("coco", tmp_path / "here") == tmp_path / "here"


def test_what_was_read_has_names_below_the_place_and_checksums(monkeypatch, tmp_path):
    monkeypatch.setenv("PAPERLIB_COCO", str(tmp_path / "coco"))
    inside = write(tmp_path / "coco" / "val" / "1.jpg", b"one")
    outside = write(tmp_path / "elsewhere" / "2.jpg", b"two")
    external.note("coco", [inside])
    external.note("coco", [outside, inside])
    external.note("photographs", [outside])
    assert external.read() == {
        "coco": {
            "val/1.jpg": hashlib.sha256(b"one").hexdigest(),
            "2.jpg": hashlib.sha256(b"two").hexdigest(),
        },
        "photographs": {"2.jpg": hashlib.sha256(b"two").hexdigest()},
    }


def test_a_copy_is_compared_wherever_it_is(monkeypatch, tmp_path):
    files = [write(tmp_path / "one" / "coco" / name) for name in ("a/1.jpg", "2.jpg", "3.jpg")]
    monkeypatch.setenv("PAPERLIB_COCO", str(tmp_path / "one" / "coco"))
    external.note("coco", files)
    recorded = external.read()
    assert external.changed(recorded) == {"coco": []}
    (tmp_path / "one").rename(tmp_path / "two")
    assert external.changed(recorded) == {}  # it is not here
    monkeypatch.setenv("PAPERLIB_COCO", str(tmp_path / "two" / "coco"))
    assert external.changed(recorded) == {"coco": []}
    write(tmp_path / "two" / "coco" / "a" / "1.jpg", b"other")
    (tmp_path / "two" / "coco" / "3.jpg").unlink()
    assert external.changed(recorded) == {"coco": ["3.jpg", "a/1.jpg"]}


def test_a_variable_that_names_the_file_itself(monkeypatch, tmp_path):
    path = write(tmp_path / "weights.pt")
    monkeypatch.setenv("PAPERLIB_SAM", str(path))
    external.note("sam", [path])
    recorded = external.read()
    assert list(recorded["sam"]) == ["weights.pt"]
    assert external.changed(recorded) == {"sam": []}
    write(path, b"other content")
    assert external.changed(recorded) == {"sam": ["weights.pt"]}
