"""Hands the graph to Slurm: what Snakemake is told, and what each job of Slurm's said.

Snakemake's profile, such as ``notebooks/slurm``, says how jobs are submitted. Whether they have
ended is asked of ``sacct`` only where the cluster keeps accounts: without them it answers nothing,
and a run that asked would wait for ever. ``squeue`` knows an ended job for a while, ``MinJobAge``.

``python -m paperlib.runs.slurm WORD...`` is Snakemake with a plugin that waits for Slurm to answer.
As it is published, it loses sight of its jobs, and never returns, when Slurm is silent for a while.
"""

import asyncio
import contextlib
import logging
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from paperlib.files import FileError
from paperlib.runs.table import Job

CONFIG = "config.yaml"
LONGEST_WAIT = 180  # seconds between two looks of the plugin at its jobs
AGAIN = 10  # seconds until Slurm is asked again where it did not answer
WHAT_ENDED = re.compile(r"SLURM-job '(\d+)' failed, SLURM status is: '([^']+)'")


def words(profile: Path, logs: Path, most: int | None) -> list[str]:
    """What Snakemake is told beside the graph.

    Args:
        profile: folder of its profile.
        logs: folder for the jobs' logs.
        most: so many jobs at one time; None takes the profile's number.

    Raises:
        FileError: there is no such profile or no Slurm here, or Slurm does not answer, or forgets
            its jobs before they are seen to have ended.
    """
    if not (profile / CONFIG).is_file():
        raise FileError(f"{profile / CONFIG} is missing; --cluster takes a folder with one")
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise FileError(
                f"{program} is not on the PATH: --cluster needs Slurm's commands, as a cluster's "
                "login node has them; without --cluster the notebooks run here"
            )
    asked = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise FileError(f"Slurm does not answer: {' '.join(asked.stderr.split())}")
    counted = ["--jobs", str(most)] if most else []
    return [
        *("--workflow-profile", str(profile), *counted),
        *("--slurm-logdir", str(logs), "--slurm-status-command", _who_knows()),
    ]


def _who_knows() -> str:
    """The command that tells an ended job."""
    if shutil.which("sacct"):
        command = ["sacct", "--allocations", "--noheader", "--starttime", "now"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return "sacct"
    from snakemake_executor_plugin_slurm import get_min_job_age

    kept = get_min_job_age() or 0
    if kept < LONGEST_WAIT + 60:
        raise FileError(
            f"this Slurm keeps no accounts and forgets a job {kept} s after its end (MinJobAge): "
            f"a run cannot see its jobs end, which takes {LONGEST_WAIT + 60} s or accounts"
        )
    return "squeue"


@contextlib.contextmanager
def told(jobs: list[Job], logs: Path) -> Iterator[None]:
    """Meanwhile, print the line of every notebook once its job's log has it.

    Args:
        jobs: those that run.
        logs: folder for their logs; emptied first.
    """
    shutil.rmtree(logs, ignore_errors=True)
    left, over = [*jobs], threading.Event()

    def follow() -> None:
        while not over.wait(1):
            tell()

    def tell() -> None:
        for job in [*left]:
            if said := line(job, logs):
                left.remove(job)
                print(said, flush=True)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()
        tell()


def line(job: Job, logs: Path) -> str:
    """What the runner of a job's notebook said of it; "" where it has not, or not yet."""
    name = job.entry.name
    said = re.compile(rf"^{name} +(?:ok|FAILED) .* MB\n(?:  .+\n)*", re.MULTILINE)
    found = [match[0] for log in _logs(job, logs) if (match := said.search(log.read_text("utf-8")))]
    return found[-1].rstrip("\n") if found else ""


def ended(job: Job, logs: Path, messages: str) -> str:
    """Why a job that failed said nothing of its notebook, in one sentence.

    Args:
        job: a run of a notebook.
        logs: folder of the jobs' logs.
        messages: Snakemake's.
    """
    row, named = job.entry.row, f"{job.entry.name:<16}FAILED"
    how = dict(WHAT_ENDED.findall(messages))
    for log in _logs(job, logs):
        if log.stem in how:
            needs = f"{row.memory[job.profile]} MB and {row.minutes[job.profile]} minutes"
            return (
                f"{named} Slurm ended job {log.stem} as {how[log.stem]}; "
                f"notebooks/graph.yaml gives it {needs}; see {log}"
            )
    block = rf"Error in rule run_{job.entry.name}:\n(?:    .*\n)*?    message: (.*\n(?:\S.*\n)*)"
    for number, state in how.items():  # one that never started has no log
        for why in re.findall(block, messages):
            if f"'{number}'" in why:
                return f"{named} Slurm ended job {number} as {state} before it started"
    refused = re.findall(r"The error message was '([^']*)", "".join(re.findall(block, messages)))
    why = f"sbatch refused it: {' '.join(refused[-1].split())}" if refused else "it was not run"
    return f"{named} {why}"


def _logs(job: Job, logs: Path) -> list[Path]:
    return sorted((logs / f"rule_run_{job.entry.name}" / job.run).glob("*.log"))


def patient() -> None:
    """Let the plugin ask again until Slurm answers, and ask what `words` chose alone.

    The plugin turns from ``squeue`` to ``sacct`` where it cannot ask for ``MinJobAge``, and after
    five questions without an answer it forgets the jobs that it asked for.
    """
    import snakemake_executor_plugin_slurm as plugin

    ask = plugin.query_job_status

    async def answered(command: str, logger: logging.Logger) -> tuple[dict[str, str], float]:
        while (found := await ask(command, logger))[0] is None:
            await asyncio.sleep(AGAIN)
        return found

    plugin.query_job_status = answered
    plugin.get_min_job_age = lambda: LONGEST_WAIT + 60  # `words` has seen to it


if __name__ == "__main__":
    from snakemake.cli import main

    patient()
    raise SystemExit(main())
