"""The graph on a Slurm of this machine: a real one, without accounts, as a small cluster has it."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paperlib.paths import ROOT
from paperlib.runs.table import read_table

CHEAP = ("01_spectrum", "15_your_model")
LONGEST = 1200  # seconds: a run that waits for ever fails here; a quiet machine takes 90


def start(tmp_path: Path, root: Path, *names: str) -> subprocess.Popen:
    """A smoke run of notebooks of a clone, on a Slurm of its own in ``tmp_path/slurm``."""
    words = ["--profile", "smoke", "--cluster", str(root / "notebooks" / "slurm")]
    words += [word for name in names for word in ("--only", name)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAPERLIB_")}
    return subprocess.Popen(
        [
            *(str(ROOT / "tests/system/slurm.sh"), str(tmp_path / "slurm")),
            *(sys.executable, "-m", "paperlib.runs.graph", *words),
        ],
        cwd=root,
        env=kept | {"PYTHONPATH": str(root), "PAPERLIB_OUTPUTS": str(tmp_path / "outputs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code and what was said, within `LONGEST`."""
    try:
        said, wrong = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=60)
        pytest.fail(f"the driver had not returned after {LONGEST} s")
    return process.returncode, said, wrong


def accounts(tmp_path: Path) -> list[dict[str, str]]:
    """What Slurm logged of each job at its end."""
    lines = (tmp_path / "slurm" / "jobs").read_text(encoding="utf-8").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


def test_slurm_runs_the_notebooks_with_the_memory_and_minutes_of_the_table(tmp_path):
    code, said, wrong = finish(start(tmp_path, ROOT, *CHEAP))
    assert code == 0, said + wrong
    rows = [read_table()[name].row for name in CHEAP]
    asked = sorted((f"mem={row.memory['smoke']}M", str(row.minutes["smoke"])) for row in rows)
    jobs = accounts(tmp_path)
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] * len(CHEAP)
    assert sorted((job["Tres"].split(",")[1], job["TimeLimit"]) for job in jobs) == asked
    for name in CHEAP:
        assert re.search(rf"^{name} +ok ", said, re.MULTILINE)
        assert (tmp_path / "outputs/smoke-openmoji-seed0" / name / "provenance.json").is_file()


def test_what_failed_was_cancelled_or_refused_is_a_sentence_each(tmp_path):
    clone, (failing, sleeping, huge) = tmp_path / "clone", ("01_spectrum", "02_rct", "03_occlusion")
    for folder in ("paperlib", "notebooks"):
        shutil.copytree(ROOT / folder, clone / folder)
    (clone / "data").symlink_to(ROOT / "data")
    for name, code in {failing: "1 / 0", sleeping: "import time; time.sleep(900)"}.items():
        file = clone / "notebooks" / f"{name}.py"
        text = file.read_text(encoding="utf-8")
        assert text.count("run = start(") == 1
        file.write_text(text.replace("run = start(", f"{code}\nrun = start("), encoding="utf-8")
        words = ["-m", "jupytext", "--quiet", "--update", "--to", "ipynb", str(file)]
        subprocess.run([sys.executable, *words], check=True)
    table = clone / "notebooks" / "graph.yaml"
    text = table.read_text(encoding="utf-8")
    before = f"{huge}:\n  package: freq\n  memory: {{smoke: 1000,"
    assert before in text
    table.write_text(text.replace(before, before.replace("1000", "99999999")), encoding="utf-8")

    process = start(tmp_path, clone, failing, sleeping, huge)
    conf = {"SLURM_CONF": str(tmp_path / "slurm" / "etc" / "slurm.conf")}
    deadline, number = time.monotonic() + LONGEST, None
    while number is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(1)
        asked = ["squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k"]
        jobs = subprocess.run(asked, env=os.environ | conf, capture_output=True, text=True).stdout
        number = next((line.split()[0] for line in jobs.splitlines() if sleeping in line), None)
    if number:
        subprocess.run(["scancel", number], env=os.environ | conf, check=True)
    code, said, wrong = finish(process)
    assert code == 1, said + wrong
    needs = read_table()[sleeping].row
    lines = said.splitlines()
    place = next(i for i, line in enumerate(lines) if re.match(rf"{failing} +FAILED +\d+ s", line))
    assert "`1 / 0`: ZeroDivisionError" in lines[place + 1]
    assert (
        f"{sleeping:<16}FAILED Slurm ended job {number} as CANCELLED; "
        f"notebooks/graph.yaml gives it {needs.memory['smoke']} MB and "
        f"{needs.minutes['smoke']} minutes; see "
        f"{tmp_path}/outputs/slurm/rule_run_{sleeping}/smoke-openmoji-seed0/{number}.log"
    ) in lines
    assert re.search(rf"^{huge} +FAILED sbatch refused it: .*[Mm]emory", said, re.MULTILINE)
    assert "Traceback" not in said + wrong
