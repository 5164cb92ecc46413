"""One way to a file that somebody else publishes: a local copy, the cache, or the network.

pooch downloads into a temporary file beside the target, compares the checksum and renames, so
that a file under its final name is always whole; its address and checksum are kept beside it. What
is in the cache is checked whenever it is used, and fetched again if it is damaged. Every failure
says which file is wanted, how large it is, where it comes from, where it belongs, and how to do
without the network.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pooch

from paperlib.data import external
from paperlib.files import write_files
from paperlib.runtime import progress


class DownloadError(FileNotFoundError):
    """A file is not on this machine, whole, and could not be fetched."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody else publishes.

    Attributes:
        dataset: what it belongs to; names the folder in the cache and the variable for a copy.
        name: its name, also on this machine.
        url: where it comes from (http or https).
        size: in bytes.
        sha256: in hexadecimal.
    """

    dataset: str
    name: str
    url: str
    size: int
    sha256: str

    def help(self, folder: Path) -> str:
        """What a user can do who has no network: one line a fact."""
        return (
            f"  file  {self.name}, {self.size:,} bytes ({self.size / 1e6:.0f} MB)\n"
            f"  from  {self.url}\n"
            f"  to    {folder / self.name}\n"
            f"Without a network, copy the file there, or name the folder that holds it: "
            f"{external.variable(self.dataset)}=/path/to/folder"
        )


def find(remote: RemoteFile, source: Path | str | None = None) -> Path:
    """The file that `source` or the variable names, or lies in the folder so named; else `fetch`.

    A local copy may be another file of that content: it may end in .safetensors or .bin, and its
    checksum is not compared.

    Raises:
        DownloadError: no file there, or none at all and no network; with what to do.
    """
    place = external.given(remote.dataset, source)
    if place is None:
        return fetch(remote)
    stem = place / remote.name
    tried = (place, stem, stem.with_suffix(".safetensors"), stem.with_suffix(".bin"))
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        raise DownloadError(f"{place} has no {remote.name}:\n{remote.help(place)}")
    external.note(remote.dataset, [path])
    return path


def fetch(remote: RemoteFile) -> Path:
    """Path of the file in the cache, downloaded if it is not there whole.

    Raises:
        DownloadError: no network, a truncated download, a wrong checksum, or no place to write.
    """
    folder = external.place(remote.dataset)
    path, present = folder / remote.name, ""
    if path.exists():
        try:
            check_file(path, remote)
        except ValueError as error:
            present = f" (the present file cannot be used: {error})"
    if present or not path.exists():
        pooch.get_logger().setLevel("ERROR")  # its messages would end up in the notebooks
        try:
            with progress([], f"downloading {remote.name}", total=remote.size) as bar:
                bar.unit, bar.unit_scale = "B", True
                http = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16)
                pooch.retrieve(remote.url, remote.sha256, remote.name, folder, downloader=http)
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            origin = json.dumps(asdict(remote), indent=2) + "\n"
            write_files({path.with_name(f"{path.name}.json"): origin.encode()})
        except (OSError, ValueError) as error:
            raise DownloadError(
                f"{remote.name} could not be downloaded: {error}{present}\n{remote.help(folder)}"
            ) from error
    external.note(remote.dataset, [path])
    return path


def check_file(path: Path, remote: RemoteFile) -> None:
    """Compare the file at `path` with the published one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its content differs.
    """
    found = external.sha256(path)
    if found != remote.sha256:
        raise ValueError(
            f"{path} is not the published {remote.name}: it has {path.stat().st_size:,} bytes "
            f"instead of {remote.size:,}, and the sha256 {found} instead of {remote.sha256}"
        )
