"""Downloads that go well and badly, against a real server on this machine."""

import hashlib
import http.server
import json
import socket
import threading
from pathlib import Path

import pytest

from paperlib.data import download, external
from paperlib.data.download import DownloadError, RemoteFile, check_file, fetch, find

CONTENT = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT whole, or with the fault that the path names."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        body, announced = CONTENT, len(CONTENT)
        if self.path == "/cut":  # the connection breaks
            body = CONTENT[:1000]
        elif self.path == "/short":  # the server itself has half of it
            body, announced = CONTENT[:1000], 1000
        elif self.path == "/long":  # a page of a hotel's network, say
            body, announced = CONTENT + b"!", len(CONTENT) + 1
        elif self.path == "/changed":
            body = CONTENT[:-1] + b"!"
        elif self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No log on stderr."""


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Where the file belongs in an empty cache."""
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("PAPERLIB_SOME_DATA", raising=False)
    monkeypatch.setattr(external, "_noted", {})
    return tmp_path / "some_data"


def remote(url: str) -> RemoteFile:
    return RemoteFile(
        dataset="some_data",
        name="some-data.bin",
        url=url,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_whole_file_is_downloaded_once(address, folder, capfd, monkeypatch):
    monkeypatch.setenv("PAPERLIB_BATCH", "1")  # as in a notebook that nobody watches
    for _ in range(2):
        assert fetch(remote(address + "/whole")) == folder / "some-data.bin"
    assert (folder / "some-data.bin").read_bytes() == CONTENT
    assert Handler.requests == ["/whole"]
    assert files_below(folder) == [folder / "some-data.bin", folder / "some-data.bin.json"]
    assert capfd.readouterr() == ("", "")


def test_address_and_checksum_stand_beside_the_file_and_it_is_noted(address, folder):
    digest = hashlib.sha256(CONTENT).hexdigest()
    fetch(remote(address + "/whole"))
    origin = json.loads((folder / "some-data.bin.json").read_text())
    assert (origin["url"], origin["sha256"]) == (address + "/whole", digest)
    assert external.read() == {"some_data": {"some-data.bin": digest}}


def test_a_local_copy_is_found_where_the_user_says(monkeypatch, tmp_path):
    """As a file of any name, or in a folder under the published name or as safetensors."""
    file, place = remote("http://unused"), tmp_path / "mine"
    place.mkdir()
    with pytest.raises(DownloadError, match="mine has no some-data.bin(.|\n)*256,000 bytes"):
        find(file, place)
    for name in ("some-data.safetensors", "some-data.bin"):
        (place / name).write_bytes(b"another copy")
        assert find(file, place) == place / name
    monkeypatch.setenv("PAPERLIB_SOME_DATA", str(place))
    assert find(file) == place / "some-data.bin"
    (place / "other").write_bytes(b"")
    assert find(file, str(place / "other")) == place / "other"
    assert external.read()["some_data"].keys() == {
        "some-data.safetensors",
        "some-data.bin",
        "other",
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/cut", "1000 bytes read"),
        ("/short", "does not match the known hash"),
        ("/long", "does not match the known hash"),
        ("/changed", "does not match the known hash"),
        ("/missing", "404"),
    ],
)
def test_a_bad_download_leaves_nothing_and_says_what_to_do(address, folder, path, message):
    file = remote(address + path)
    with pytest.raises(DownloadError) as caught:
        fetch(file)
    text = str(caught.value)
    assert message in text
    assert "some-data.bin could not be downloaded" in text
    assert "256,000 bytes" in text
    assert file.url in text
    assert str(folder / "some-data.bin") in text
    assert "PAPERLIB_SOME_DATA=/path/to/folder" in text
    assert files_below(folder) == []


def test_without_a_network(monkeypatch, folder):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:  # bound, not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/whole"
        with pytest.raises(DownloadError, match="could not be downloaded") as caught:
            fetch(remote(url))
    assert "Without a network, copy the file there" in str(caught.value)
    assert files_below(folder) == []


@pytest.mark.parametrize(
    ("present", "trouble"),
    [
        (CONTENT[:500], "it has 500 bytes instead of 256,000"),
        (b"", "it has 0 bytes"),
        (CONTENT[:-1] + b"?", "the sha256"),
        (b"<html>".ljust(len(CONTENT)), "the sha256"),
    ],
    ids=["cut", "empty", "one byte", "HTML of that size"],
)
def test_a_damaged_file_is_replaced_and_named_where_it_cannot_be(address, folder, present, trouble):
    target = folder / "some-data.bin"
    folder.mkdir()
    target.write_bytes(present)
    with pytest.raises(DownloadError) as caught:
        fetch(remote(address + "/missing"))
    assert f"the present file cannot be used: {target}" in str(caught.value)
    assert trouble in str(caught.value)
    assert fetch(remote(address + "/whole")).read_bytes() == CONTENT


def test_interrupted_download_leaves_nothing(address, folder, monkeypatch):
    class Bar:
        total = 1

        def update(self, count: int) -> None:
            raise KeyboardInterrupt

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            """Nothing to close."""

    monkeypatch.setattr(download, "progress", lambda *args, **kwargs: Bar())
    with pytest.raises(KeyboardInterrupt):
        fetch(remote(address + "/whole"))
    assert files_below(folder) == []


def test_a_folder_that_cannot_be_written_to(address, folder):
    folder.write_text("in the way")
    with pytest.raises(DownloadError, match=r"could not be downloaded: .*Not a directory"):
        fetch(remote(address + "/whole"))


def test_check_file(tmp_path):
    file = remote("http://unused")
    path = tmp_path / "copy"
    with pytest.raises(FileNotFoundError, match="copy"):
        check_file(path, file)
    path.write_bytes(CONTENT)
    check_file(path, file)
