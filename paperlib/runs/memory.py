"""The memory that a run may use, what the system has killed for it, and what processes have in use.

A process belongs to a group of Linux (version 1 or 2, or both side by side), which lies in others;
each may have a limit, and what its processes use counts in all that it lies in. So the room is

$$\\min_{g}\\ (\\text{limit}_g - \\text{used}_g)$$

over the process's own group and those above it, as far as they can be seen. Elsewhere, and where no
group has a limit, it is what the machine has.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html there.

What a kernel and its children have in use is the sum of the proportional sizes of their own memory:
of a page that n processes share, each counts 1/n. Pages of files, most of them of libraries, count
as many as the one of the processes has that has most of them: the others have the same, and what
has them beside these processes changes nothing, where it halved a proportional size.

Source: https://docs.kernel.org/filesystems/proc.html (smaps_rollup, status).
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

EVERY = 0.2  # seconds between two looks at what is resident, which costs little
SELDOM = 25  # such looks between two at what is in use, which takes 30 ms of a processor
MORE = 1.05  # so many times as much resident as at any look before is looked at at once

# By file system: files of limit, use, and processes killed (after its word); what is in memory.stat
# and can be given back (pages of files that nobody has used for a while).
FILES = {
    "cgroup2": ("memory.max", "memory.current", "memory.events", "inactive_file"),
    "cgroup": (
        *("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"),
        "total_inactive_file",
    ),
}


def available(root: Path = Path("/")) -> int:
    """Memory that this process and new ones can have, in bytes.

    Args:
        root: where ``proc`` and the mounted groups are.
    """
    free = psutil.virtual_memory().available
    for kind, folder in groups(root):
        limit_file, used_file, _, idle = FILES[kind]
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is not None and used is not None:
            used -= min(used, _number(folder / "memory.stat", idle) or 0)
            free = min(free, max(0, limit - used))
    return free


def killed(root: Path = Path("/")) -> int:
    """How many processes of this process's own groups were killed for memory since they exist."""
    own = dict(reversed(groups(root)))  # the last of a kind stays, its own
    counts = (_number(folder / FILES[kind][2], "oom_kill") for kind, folder in own.items())
    return sum(count or 0 for count in counts)


def in_use(processes: Iterable[psutil.Process]) -> int:
    """Memory of processes together, in bytes; one that has ended has none.

    Where the system does not tell proportional sizes (macOS), what each has for itself alone.
    """
    if not psutil.LINUX:
        return _total(processes, lambda process: process.memory_full_info().uss)
    files = [0]

    def own(process: psutil.Process) -> int:
        place = Path(f"/proc/{process.pid}")
        with contextlib.suppress(OSError):  # it has ended
            rollup, status = ((place / name).read_text() for name in ("smaps_rollup", "status"))
            files.append(_kilobytes(status, "RssFile"))
            return _kilobytes(rollup, "Pss_Anon") + _kilobytes(rollup, "Pss_Shmem")
        return 0

    return 1024 * (_total(processes, own) + max(files))


def _kilobytes(text: str, name: str) -> int:
    """After its name in a file of a process; 0 where there is none, as of one that is a zombie."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
    return int(found[1]) if found else 0


def _total(processes: Iterable[psutil.Process], memory: Callable[[psutil.Process], int]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended
            total += memory(process)
    return total


class Peak:
    """The most memory that the children of this process had together, while it is entered.

    Attributes:
        bytes: so far.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        this, most, looks = psutil.Process(), 0, 0
        while not self._over.wait(EVERY):
            children = this.children(recursive=True)
            resident = _total(children, lambda child: child.memory_info().rss)
            looks += 1
            if resident > MORE * most or looks % SELDOM == 0:
                most = max(most, resident)
                self.bytes = max(self.bytes, in_use(children))


def groups(root: Path) -> list[tuple[str, Path]]:
    """Kind and folder of the groups that count memory, from the process's own upwards."""
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # no Linux
        return []
    places = {}
    for number, controllers, place in (line.split(":", 2) for line in own):
        if number == "0":
            places["cgroup2"] = place
        elif "memory" in controllers.split(","):
            places["cgroup"] = place
    found = []
    for line in mounts:
        fields, (kind, *_, options) = (part.split() for part in line.split(" - "))
        if kind not in places or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        shown, top = Path(fields[3]), root / fields[4].lstrip("/")
        place = Path(places[kind])
        inside = place.relative_to(shown) if place.is_relative_to(shown) else Path()
        folders = [top / inside, *(top / above for above in inside.parents)]
        found += [(kind, folder) for folder in folders if folder.is_dir()]
    return found


def _number(file: Path, name: str = "") -> int | None:
    """The number in a file, or after a name there; None where it is not there or "max"."""
    try:
        words = file.read_text().split()
        return int(words[words.index(name) + 1 if name else 0])
    except (OSError, ValueError, IndexError):
        return None
