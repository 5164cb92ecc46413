"""Slurm's part of a run: what Snakemake is told, and the sentences; tests/system has a real one."""

import asyncio
import logging
import os
import subprocess
import sys

import pytest

from paperlib.files import FileError
from paperlib.paths import ROOT
from paperlib.runs import slurm
from paperlib.runs.table import Job, read_table

PROFILE = ROOT / "notebooks" / "slurm"
JOB = Job(read_table()["04_robustness"], "smoke", "openmoji", 0)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Slurm's commands, as a function that sets what one prints and its exit code."""

    def command(name, says="", code=0):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\necho '{says}'\necho '{says}' >&2\nexit {code}\n")
        file.chmod(0o755)

    for name in ("sbatch", "squeue", "scancel", "sacct"):
        command(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return command


def status_command(logs):
    words = slurm.words(PROFILE, logs, None)
    return words[words.index("--slurm-status-command") + 1]


def test_without_sbatch_a_run_says_one_sentence_and_writes_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "paperlib.runs.graph", "--profile", "smoke", "--cluster", PROFILE],
        env=os.environ | {"PATH": "/nowhere", "PAPERLIB_OUTPUTS": str(tmp_path / "outputs")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sbatch is not on the PATH: --cluster needs Slurm's commands")
    assert done.stderr.count("\n") == 1
    assert [*(tmp_path / "outputs").iterdir()] == []


def test_a_missing_profile_and_a_silent_slurm_are_named(tmp_path, commands):
    with pytest.raises(FileError, match=r"config.yaml is missing; --cluster takes a folder"):
        slurm.words(tmp_path, tmp_path, None)
    commands("squeue", "squeue: error: nobody there", 1)
    with pytest.raises(FileError, match="^Slurm does not answer: squeue: error: nobody there$"):
        slurm.words(PROFILE, tmp_path, None)


def test_accounts_are_asked_where_they_are_kept_and_else_the_queue_if_it_remembers(
    tmp_path, commands
):
    assert status_command(tmp_path) == "sacct"
    commands("sacct", "Slurm accounting storage is disabled", 1)
    commands("scontrol", "MinJobAge = 300 sec")
    assert status_command(tmp_path) == "squeue"
    commands("scontrol", "MinJobAge = 60 sec")
    with pytest.raises(FileError, match=r"forgets a job 60 s after its end .* takes 240 s"):
        status_command(tmp_path)


def test_the_cluster_is_not_limited_by_this_machine(tmp_path, commands):
    words = slurm.words(PROFILE, tmp_path, 3)
    assert words[words.index("--jobs") + 1] == "3"
    assert "--jobs" not in slurm.words(PROFILE, tmp_path, None)
    assert {"--cores", "--resources"}.isdisjoint(words)


def test_slurm_is_asked_again_until_it_answers(tmp_path, monkeypatch):
    import snakemake_executor_plugin_slurm as plugin

    for name in ("query_job_status", "get_min_job_age"):  # put back afterwards
        monkeypatch.setattr(plugin, name, getattr(plugin, name))
    monkeypatch.setattr(slurm, "AGAIN", 0)
    script, asked = tmp_path / "squeue", tmp_path / "asked"
    script.write_text(
        f"#!/bin/sh\necho >>{asked}\n[ $(wc -l <{asked}) -gt 7 ] && echo '3|RUNNING'\n"
    )
    script.chmod(0o755)
    slurm.patient()
    found, _ = asyncio.run(plugin.query_job_status(str(script), logging.getLogger()))
    assert found == {"3": "RUNNING"}
    assert len(asked.read_text().splitlines()) == 8
    assert plugin.get_min_job_age() >= 240


MESSAGES = """
Error in rule run_04_robustness:
    message: SLURM-job '{job}' failed, SLURM status is: '{state}'. Detailed failure reason
    jobid: 1
Error in rule run_01_spectrum:
    message: SLURM sbatch failed. The error message was 'another's'.
    jobid: 2
"""
REFUSED = """
Error in rule run_04_robustness:
    message: SLURM sbatch failed. The error message was 'sbatch: error: too much
sbatch: error: of it'.
    sbatch call:
        sbatch --parsable
    jobid: 1
"""


def test_a_job_that_slurm_ended_is_a_sentence(tmp_path):
    log = tmp_path / "rule_run_04_robustness" / "smoke-openmoji-seed0" / "7.log"
    log.parent.mkdir(parents=True)
    log.write_text("srun: Job step aborted\n")
    assert slurm.line(JOB, tmp_path) == ""
    why = slurm.ended(JOB, tmp_path, MESSAGES.format(job=7, state="TIMEOUT"))
    assert why == (
        "04_robustness   FAILED Slurm ended job 7 as TIMEOUT; notebooks/graph.yaml gives it 800 MB "
        f"and 10 minutes; see {log}"
    )
    log.unlink()
    why = slurm.ended(JOB, tmp_path, MESSAGES.format(job=8, state="CANCELLED"))
    assert why == "04_robustness   FAILED Slurm ended job 8 as CANCELLED before it started"
    why = slurm.ended(JOB, tmp_path, REFUSED)
    refused = "sbatch refused it: sbatch: error: too much sbatch: error: of it"
    assert why == f"04_robustness   FAILED {refused}"
    assert slurm.ended(JOB, tmp_path, "").endswith("FAILED it was not run")


def test_the_line_of_a_notebook_is_found_among_what_snakemake_says(tmp_path):
    log = tmp_path / "rule_run_04_robustness" / "smoke-openmoji-seed0" / "7.log"
    log.parent.mkdir(parents=True)
    said = "04_robustness   FAILED     3 s    300 MB\n  cell [1]: ValueError: no\n  see a.ipynb\n"
    log.write_text(f"Select jobs\n{said}[Fri]\nError in rule run_04_robustness:\n    message\n")
    assert slurm.line(JOB, tmp_path) == said.rstrip("\n")


def test_lines_are_told_while_jobs_run_and_old_logs_are_gone(tmp_path, capsys):
    log = tmp_path / "rule_run_04_robustness" / "smoke-openmoji-seed0" / "7.log"
    log.parent.mkdir(parents=True)
    log.write_text("04_robustness   ok         3 s    300 MB\n")
    with slurm.told([JOB], tmp_path):
        assert not log.exists()
        log.parent.mkdir(parents=True)
        log.write_text("04_robustness   ok         4 s    300 MB\n")
    assert capsys.readouterr().out == "04_robustness   ok         4 s    300 MB\n"
