"""What this machine has for the notebooks, what is missing, and how large that is.

``python -m paperlib.runs.doctor``. Imports the standard library alone and runs under any Python
from 3.9, so that it answers before anything is installed. Exit code 0 where the default profile can
run, after an installation if need be.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from paperlib.names import PROFILES, ROOT, notebooks
from paperlib.paths import cache_dir, outputs_dir
from paperlib.runs import outside

LOCK = ROOT / "requirements-cpu.lock"
FIRST, LAST, SPAN = (3, 11), (3, 13), "3.11 to 3.13"  # that pyproject.toml allows
INSTALLED = 7500 if sys.platform == "linux" else 2500  # MB that .venv takes
OUTPUTS = 300  # MB that a default run takes


def locked(text: str) -> dict[str, tuple[str, str]]:
    """Version and marker by package, of a lock without hashes."""
    pins = re.findall(r"^([a-z0-9-]+)==([^ \n]+)(?: ; (.+))?$", text, re.MULTILINE)
    return {name: (version, marker) for name, version, marker in pins}


def installed() -> dict[str, str]:
    """Version by package, of this Python."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub("[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        found.setdefault(name, distribution.version)
    return found


def applies(marker: str) -> bool:
    """Whether a line of a lock is for this system and Python; without `packaging`, only if all are.

    pip brings `packaging`, so that only a Python without pip lacks it.
    """
    if not marker:
        return True
    for name in ("packaging.markers", "pip._vendor.packaging.markers"):
        try:
            return importlib.import_module(name).Marker(marker).evaluate()
        except ImportError:
            continue
    return False


def differing(pins: Mapping[str, tuple[str, str]], here: Mapping[str, str]) -> list[str]:
    """Packages that are not here at the version of the lock; builds such as +cpu do not differ."""
    return [
        f"{name} {here.get(name, 'missing')} (lock: {version})"
        for name, (version, marker) in pins.items()
        if applies(marker) and here.get(name, "").partition("+")[0] != version
    ]


def memory_megabytes() -> int:
    """Memory that new processes can have, or without psutil what the machine has."""
    try:
        from paperlib.runs import memory

        return memory.available() // 10**6
    except ImportError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10**6


def memory_needed() -> dict[str, int]:
    """Largest memory of a notebook, in MB, by profile; from notebooks/graph.yaml."""
    text = (ROOT / "notebooks" / "graph.yaml").read_text(encoding="utf-8")
    rows = re.findall(r"memory: *\{(.*?)\}", text)
    return {
        profile: max(int(n) for row in rows for n in re.findall(rf"\b{profile}: *(\d+)", row))
        for profile in PROFILES
    }


def device() -> str:
    """What is computed on."""
    named = os.environ.get("PAPERLIB_DEVICE")
    if importlib.util.find_spec("torch") is None:
        return f"{named or 'known'} once torch is installed"
    import torch

    found = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{named or found} (torch {torch.__version__} finds {found})"


def free_megabytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // 10**6


def size_megabytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 10**6


def datasets() -> dict[str, dict[str, tuple[str, ...]]]:
    """What is taken from outside, by profile and notebook; from the sizes of the papers."""
    text = (ROOT / "notebooks" / "graph.yaml").read_text(encoding="utf-8")
    packages = dict(re.findall(r"^(\w+): *\{?\s*package: *(\w+)", text, re.MULTILINE))
    found: dict[str, dict[str, tuple[str, ...]]] = {profile: {} for profile in PROFILES}
    for name in notebooks():
        sizes = importlib.import_module(f"paperlib.{packages[name]}.sizes")
        for profile in PROFILES:
            dataset = sizes.DATASETS[name][-1 if profile == "paper" else 0]
            found[profile][name] = tuple(outside.needed(name, profile, dataset))
    return found


def report(here: Mapping[str, str]) -> tuple[list[str], bool]:
    """The lines to print, and whether the default profile can run.

    Args:
        here: version by package of this Python.
    """
    lines: list[str] = []

    def say(what: str, text: str, fine: bool = True) -> bool:
        lines.append(f"{'ok ' if fine else '-- '} {what:<12}{text}")
        return fine

    version = sys.version_info[:2]
    fits = say(
        "Python",
        f"{platform.python_version()} at {sys.executable}"
        + ("" if (fit := FIRST <= version <= LAST) else f"; valid are {SPAN}: install one of them"),
        fit,
    )
    pins = locked(LOCK.read_text(encoding="utf-8"))
    differ = differing(pins, here)
    few = ", ".join(differ[:3]) + (f" and {len(differ) - 3} more" if len(differ) > 3 else "")
    text = f"as {LOCK.name} says" if not differ else f"{few}: ./run_all.sh installs them"
    say("packages", text, not differ)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("PAPERLIB_THREADS") or "1"
    say("cores", f"{cores}, and {threads} threads a notebook")
    room, needs = memory_megabytes(), memory_needed()
    listed = ", ".join(f"{profile} {number}" for profile, number in needs.items())
    enough = say(
        "memory",
        f"{room} MB free; the largest notebook takes {listed} MB",
        room >= needs["default"],
    )
    free, wanted = free_megabytes(ROOT), INSTALLED if differ else OUTPUTS
    space = say("disk", f"{free} MB free at {ROOT}, {wanted} MB are wanted", free >= wanted)
    say("device", device())
    for what, folder in (("cache", cache_dir()), ("outputs", outputs_dir())):
        said = f"{size_megabytes(folder)} MB" if folder.is_dir() else "not there yet"
        say(what, f"{folder}, {said}")
    for name, one in outside.OUTSIDE.items():
        where = outside.place(name)
        if outside.found(name):
            say(name, f"{one.title}: in {where}")
        else:
            size = f", {one.megabytes} MB" if one.megabytes else ""
            how = "is downloaded" if one.fetched else f"name it: {outside.variable(name)}=/path"
            say(name, f"{one.title}{size}: not in {where}; from {one.source}; {how}", False)
    for profile, takes in datasets().items():
        able = fits and space and room >= needs[profile]
        wanting: dict[str, list[str]] = {}
        for name, sets in takes.items():
            for each in (one for one in sets if not outside.found(one)):
                wanting.setdefault(each, []).append(name.partition("_")[0])
        said = "can run" if able else "cannot run: see above"
        for each, names in wanting.items():
            how = "to be downloaded" if outside.OUTSIDE[each].fetched else "missing"
            said += f"; {each} is {how} for {', '.join(names)}"
        say(profile, said, able and not wanting)
    return lines, fits and space and enough


def main(arguments: Sequence[str]) -> int:
    """The command; with ``--pins`` only whether this Python has the packages of the lock."""
    here = installed()
    if "--pins" in arguments:
        return 1 if differing(locked(LOCK.read_text(encoding="utf-8")), here) else 0
    lines, able = report(here)
    print("\n".join(lines))
    return 0 if able else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
