"""Downloads that go well and badly, against a real server on this machine."""

import hashlib
import http.server
import socket
import threading
from pathlib import Path

import pytest

from paperlib.data import download
from paperlib.data.download import DownloadError, RemoteFile, check_file, fetch

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


def remote(url: str) -> RemoteFile:
    return RemoteFile(
        name="some-data.bin",
        url=url,
        size=len(CONTENT),
        checksum="sha256:" + hashlib.sha256(CONTENT).hexdigest(),
        environment="PAPERLIB_SOME_DATA",
    )


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_whole_file_is_downloaded_once(address, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PAPERLIB_BATCH", "1")  # as in a notebook that nobody watches
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        assert fetch(remote(address + "/whole"), folder) == folder / "some-data.bin"
    assert (folder / "some-data.bin").read_bytes() == CONTENT
    assert Handler.requests == ["/whole"]
    assert files_below(tmp_path) == [folder / "some-data.bin"]
    assert capfd.readouterr() == ("", "")


def test_md5_checksums_work_too(address, tmp_path):
    file = remote(address + "/whole")
    checksum = "md5:" + hashlib.md5(CONTENT).hexdigest()
    file = RemoteFile(file.name, file.url, file.size, checksum, file.environment)
    assert fetch(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/cut", "1000 bytes read"),
        ("/short", "is truncated: 1,000 bytes instead of 256,000"),
        ("/long", "is too long: 256,001 bytes instead of 256,000"),
        ("/changed", "does not match the known hash"),
        ("/missing", "404"),
    ],
)
def test_a_bad_download_leaves_nothing_and_says_what_to_do(address, tmp_path, path, message):
    file = remote(address + path)
    with pytest.raises(DownloadError) as caught:
        fetch(file, tmp_path)
    text = str(caught.value)
    assert message in text
    assert "some-data.bin could not be downloaded" in text
    assert "256,000 bytes" in text
    assert file.url in text
    assert str(tmp_path / "some-data.bin") in text
    assert "PAPERLIB_SOME_DATA=/path/to/folder" in text
    assert files_below(tmp_path) == []


def test_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:  # bound, not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/whole"
        with pytest.raises(DownloadError, match="could not be downloaded") as caught:
            fetch(remote(url), tmp_path)
    assert "Without a network, copy the file there" in str(caught.value)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("present", "trouble"),
    [(CONTENT[:500], "is truncated: 500 bytes"), (CONTENT[:-1] + b"?", "its sha256 is")],
)
def test_a_damaged_file_is_replaced_and_named_where_it_cannot_be(
    address, tmp_path, present, trouble
):
    target = tmp_path / "some-data.bin"
    target.write_bytes(present)
    with pytest.raises(DownloadError) as caught:
        fetch(remote(address + "/missing"), tmp_path)
    assert f"the present file cannot be used: {target}" in str(caught.value)
    assert trouble in str(caught.value)
    assert fetch(remote(address + "/whole"), tmp_path).read_bytes() == CONTENT


def test_interrupted_download_leaves_nothing(address, tmp_path, monkeypatch):
    class Bar:
        total = 1

        def update(self, count: int) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setattr(download, "progress", lambda *args, **kwargs: Bar())
    with pytest.raises(KeyboardInterrupt):
        fetch(remote(address + "/whole"), tmp_path)
    assert files_below(tmp_path) == []


def test_a_folder_that_cannot_be_written_to(address, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"could not be downloaded: .*Not a directory"):
        fetch(remote(address + "/whole"), tmp_path / "file")


def test_check_file(tmp_path):
    file = remote("http://unused")
    path = tmp_path / "copy"
    with pytest.raises(FileNotFoundError, match="copy"):
        check_file(path, file)
    path.write_bytes(CONTENT)
    check_file(path, file)
