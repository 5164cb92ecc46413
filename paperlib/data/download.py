"""One way to fetch a file: download it, check it, and only then give it its name.

pooch downloads into a temporary file beside the target, compares the checksum and renames, so
that a file under its final name is always whole. Every failure says which file is wanted, how
large it is, where it comes from, where it belongs, and how to do without the network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from paperlib.runtime import progress


class DownloadError(FileNotFoundError):
    """A file is not on this machine, whole, and could not be fetched."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody else publishes.

    Attributes:
        name: its name, also on this machine.
        url: where it comes from (http or https).
        size: in bytes.
        checksum: "sha256:…" or "md5:…", in hexadecimal.
        environment: the variable that names a folder with a local copy.
    """

    name: str
    url: str
    size: int
    checksum: str
    environment: str

    def help(self, folder: Path) -> str:
        """What a user can do who has no network: one line a fact."""
        return (
            f"  file  {self.name}, {self.size:,} bytes ({self.size / 1e6:.0f} MB)\n"
            f"  from  {self.url}\n"
            f"  to    {folder / self.name}\n"
            f"Without a network, copy the file there, or name the folder that holds it: "
            f"{self.environment}=/path/to/folder"
        )


def check_file(path: Path, remote: RemoteFile) -> None:
    """Compare the file at `path` with the published one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, or its checksum differs.
    """
    _check_size(path, path, remote)
    algorithm, checksum = remote.checksum.split(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found != checksum:
        raise ValueError(
            f"{path} is not the published {remote.name}: its {algorithm} is {found} "
            f"instead of {checksum}"
        )


def fetch(remote: RemoteFile, folder: Path) -> Path:
    """Path of the file in `folder`, downloaded if it is not there whole.

    Raises:
        DownloadError: no network, a truncated download, a wrong checksum, or no place to write.
    """
    path = folder / remote.name
    present = ""
    if path.exists():
        try:
            check_file(path, remote)
            return path
        except ValueError as error:
            present = f" (the present file cannot be used: {error})"
    pooch.get_logger().setLevel("ERROR")  # its messages would end up in the notebooks
    try:
        pooch.retrieve(
            remote.url, remote.checksum, remote.name, folder, downloader=_Downloader(remote)
        )
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{remote.name} could not be downloaded: {error}{present}\n{remote.help(folder)}"
        ) from error
    return path


class _Downloader:
    """pooch's HTTP download with our progress bar, refusing a file of the wrong size."""

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote

    def __call__(self, url: str, output_file: str, pooch_object: Any) -> None:
        bar = progress([], f"downloading {self.remote.name}", total=self.remote.size)
        bar.unit, bar.unit_scale = "B", True
        download = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16)
        try:
            download(url, output_file, pooch_object)
        finally:
            bar.close()
        _check_size(Path(output_file), self.remote.url, self.remote)


def _check_size(path: Path, name: Path | str, remote: RemoteFile) -> None:
    size = path.stat().st_size
    if size != remote.size:
        trouble = "truncated" if size < remote.size else "too long"
        raise ValueError(f"{name} is {trouble}: {size:,} bytes instead of {remote.size:,}")
