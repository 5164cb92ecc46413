"""The room that control groups leave, on trees laid out as Linux lays them out."""

import subprocess
import sys

import psutil
import pytest

from paperlib.runs import memory

MB = 2**20
UNLIMITED_V1 = 9223372036854771712
V1 = "36 31 0:32 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = [
    "23 27 0:22 / /sys rw,relatime shared:7 - sysfs sysfs rw",
    "40 23 0:3 / /x rw - tmpfs  rw",
]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Lays out the groups of a machine that has 8000 MB free."""
    free = psutil.virtual_memory()._replace(available=8000 * MB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)

    def lay(own, mounts, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in own))
        lines = "".join(f"{line}\n" for line in [*OTHERS, *mounts])
        (tmp_path / "proc/self/mountinfo").write_text(lines)
        for name, content in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        return tmp_path

    lay.folder = tmp_path
    return lay


def v2(folder, limit, used, idle=0, killed=0):
    return {
        f"{folder}memory.max": limit,
        f"{folder}memory.current": used,
        f"{folder}memory.stat": f"anon {used}\nfile {idle}\ninactive_file {idle}\nactive_file 0",
        f"{folder}memory.events": f"low 0\nhigh 0\nmax 9\noom 5\noom_kill {killed}",
    }


def v1(folder, limit, used, idle=0, killed=0):
    return {
        f"memory/{folder}memory.limit_in_bytes": limit,
        f"memory/{folder}memory.usage_in_bytes": used,
        f"memory/{folder}memory.stat": f"cache 1\ninactive_file 1\ntotal_inactive_file {idle}",
        f"memory/{folder}memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {killed}",
    }


SLICE, JOB = "user.slice/", "user.slice/job.scope/"
LAYOUTS = {
    "container, version 2": (["0::/"], [V2], v2("", 1000 * MB, 400 * MB), 600),
    "own group": (["0::/user.slice/job.scope"], [V2], v2(JOB, 500 * MB, 100 * MB), 400),
    "a group above has less": (
        ["0::/user.slice/job.scope"],
        [V2],
        v2(JOB, 5000 * MB, 100 * MB) | v2(SLICE, 2000 * MB, 1900 * MB),
        100,
    ),
    "own group has less": (
        ["0::/user.slice/job.scope"],
        [V2],
        v2(JOB, 300 * MB, 100 * MB) | v2(SLICE, 2000 * MB, 900 * MB),
        200,
    ),
    "another group's limit": (
        ["0::/user.slice/job.scope"],
        [V2],
        v2(JOB, "max", 100 * MB) | v2("user.slice/other.scope/", 10 * MB, 0),
        8000,
    ),
    "more used than the limit": (["0::/"], [V2], v2("", 100 * MB, 140 * MB), 0),
    "pages of files are given back": (["0::/"], [V2], v2("", 1000 * MB, 900 * MB, 500 * MB), 600),
    "limit above the machine's": (["0::/"], [V2], v2("", 99999 * MB, 1 * MB), 8000),
    "version 1": (
        ["4:memory:/docker/abc", "1:cpu,cpuacct:/", "0::/"],
        [CPU, V1],
        v1("docker/abc/", 700 * MB, 200 * MB) | v1("", UNLIMITED_V1, 5000 * MB),
        500,
    ),
    "version 1, pages of files": (
        ["4:cpu,memory:/"],
        [V1],
        v1("", 700 * MB, 600 * MB, 300 * MB),
        400,
    ),
    "version 1, only the container's part is mounted": (
        ["4:memory:/docker/abc/job"],
        [V1.replace("0:32 / ", "0:32 /docker/abc ")],
        v1("job/", 400 * MB, 100 * MB) | v1("", 600 * MB, 100 * MB),
        300,
    ),
    "version 1, the path is not the mount's": (
        ["4:memory:/docker/abc"],
        [V1],
        v1("", 600 * MB, 100 * MB),
        500,
    ),
    "outside of the namespace": (["0::/../other"], [V2], v2("", 600 * MB, 100 * MB), 500),
    "both side by side": (
        ["4:memory:/job", "0::/user.slice"],
        [V1, V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")],
        v1("job/", 300 * MB, 50 * MB) | {"unified/user.slice/cgroup.procs": "1"},
        250,
    ),
    "no limit": (["0::/"], [V2], v2("", "max", 3 * MB), 8000),
    "no files": (["0::/"], [V2], {}, 8000),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_smallest_room_from_the_own_group_upwards(machine, layout):
    own, mounts, files, room = LAYOUTS[layout]
    assert memory.available(machine(own, mounts, files)) == room * MB


def test_without_groups_it_is_what_the_machine_has(tmp_path, machine):
    assert memory.available(tmp_path) == 8000 * MB
    assert memory.killed(tmp_path) == 0


def test_killed_are_those_of_the_own_group(machine):
    own = ["4:memory:/job/step", "0::/user.slice"]
    files = v1("job/step/", 1, 1, killed=3) | v1("job/", 1, 1, killed=50)
    files |= v2("unified/user.slice/", "max", 1, killed=4) | v2("unified/", "max", 1, killed=70)
    mounts = [CPU, V1, V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")]
    (machine.folder / "sys/fs/cgroup/cpu/job/step").mkdir(parents=True)
    assert memory.killed(machine(own, mounts, files)) == 7


def test_on_this_machine():
    assert 0 < memory.available() <= psutil.virtual_memory().total
    assert memory.killed() >= 0


HOLDER = """
import mmap, os, sys, time
own = bytearray(os.urandom(1)) * (40 * 2**20)
shared = mmap.mmap(-1, 80 * 2**20)
shared.write(b"x" * (80 * 2**20))
os.fork()
shared[:: 4096]  # both have its pages
os.write(1, b"ready\\n")  # one write: print's two may interleave with the other process's
time.sleep(60)
"""


def test_a_page_that_two_processes_share_counts_once():
    """Its parts: a copy of 40 MB is shared until one writes, 80 MB are shared for good."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as process:
        first = psutil.Process(process.pid)
        try:
            for _ in range(2):
                assert process.stdout.readline() == b"ready\n"
            both = [first, *first.children()]
            together = memory.in_use(both)
            resident = sum(one.memory_info().rss for one in both)
        finally:
            for one in [*first.children(), first]:
                one.kill()
    assert 120 * MB < together < 150 * MB
    assert resident > 240 * MB
    psutil.wait_procs(both, timeout=30)
    assert memory.in_use(both) == 0


READER = """
import mmap
import sys

file = open(sys.argv[1], "rb")
pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(pages[place] for place in range(0, len(pages), 4096))
print("ready", flush=True)
input()
"""


def test_who_else_has_a_file_in_memory_changes_nothing(tmp_path):
    """Libraries of torch are 300 MB, and another notebook beside has them too."""
    (tmp_path / "library").write_bytes(b"x" * (60 * MB))
    command = [sys.executable, "-c", READER, str(tmp_path / "library")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == b"ready\n"
        alone = memory.in_use([psutil.Process(first.pid)])
        with subprocess.Popen(command, **pipes) as second:
            assert second.stdout.readline() == b"ready\n"
            both = [psutil.Process(each.pid) for each in (first, second)]
            beside, together = memory.in_use(both[:1]), memory.in_use(both)
            second.communicate(b"\n")
        first.communicate(b"\n")
    assert 60 * MB < alone < 100 * MB
    assert beside == pytest.approx(alone, abs=MB)
    assert together < alone + 20 * MB  # the file once, and what a second Python has of its own


PEAK = """
import subprocess
import sys
import time

from paperlib.runs import memory

memory.EVERY = 0.02
held = "x = bytearray(b'x') * (50 * 2**20); print(flush=True); input()"
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
with memory.Peak() as peak:
    children = [subprocess.Popen([sys.executable, "-c", held], **pipes) for _ in range(2)]
    for child in children:
        child.stdout.readline()
    while peak.bytes < 100 * 2**20:
        time.sleep(0.02)
    for child in children:
        child.communicate(b"\\n")
    first = peak.bytes
    time.sleep(0.1)
print(first, peak.bytes)
"""


def test_the_peak_is_of_all_children_together_and_stays():
    """In a process of its own, which has no other children."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    first, last = map(int, done.stdout.split())
    assert 100 * MB < first == last < 200 * MB
