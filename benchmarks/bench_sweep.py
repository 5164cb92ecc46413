"""What the engine of a sweep costs, beside what the notebook itself computes.

    python benchmarks/bench_sweep.py [NOTEBOOK] [RUNS]
    python benchmarks/bench_sweep.py 01_spectrum 100
    python benchmarks/bench_sweep.py plan [RUNS]

The second line is the one whose numbers are told: of the notebooks with claims, 1 is among the
cheapest at this size, so that an engine's cost weighs most.

The third one plans many runs (1,000) of which none or half are done, and computes none: folders
of finished runs are fabricated. Prints, in seconds that passed, what a dry run takes, and what
passes until Snakemake starts the first notebook; then it is stopped.

The first one runs a sweep over seeds in the smoke profile, in an empty folder, then the same cells
as scripts with the same imports, without kernel and runner, as many side by side as the sweep runs:
what runs beside a process makes its seconds longer. Prints

- CPU seconds a run of everything: scheduler, runners and kernels; planning and the table at the end
  are shared among the runs;
- CPU seconds of a script;
- their difference, the engine's cost;
- the share of cores x wall in which the sweep used a processor;
- how many runs have all their values in the sweep's table.

On a machine that computes other things at the same time that share is too low.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from paperlib.notebook import provenance
from paperlib.paths import NOTEBOOKS, ROOT
from paperlib.runs import graph
from paperlib.runs.graph import cores
from paperlib.runs.runner import parameters_of, read_notebook
from paperlib.runs.sweep import jobs as read_jobs
from paperlib.runs.sweep import read_sweep
from paperlib.runs.table import Job, read_table
from paperlib.sweeps import tables

TIMES = 2  # how often scripts are run side by side
THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


def spent(commands: list[list[str]], **environment: str) -> tuple[float, float]:
    """CPU seconds of commands side by side and all that they started, and seconds that passed."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    given = os.environ | THREADS | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"} | environment
    started = [
        subprocess.Popen(words, env=given, cwd=ROOT, stdout=subprocess.DEVNULL)
        for words in commands
    ]
    assert [process.wait() for process in started] == [0] * len(started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - began


def as_script(name: str, seed: int) -> str:
    """The code cells of a notebook, one after the other, with the parameters of a smoke run."""
    notebook = read_notebook(NOTEBOOKS / f"{name}.py")
    given = {"profile": "smoke", "seed": seed}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    parts = []
    for cell in cells:
        parts.append(cell.source)
        if "parameters" in cell.metadata.get("tags", []):
            parts += [f"{key} = {value!r}" for key, value in given.items()]
    assert given.keys() <= parameters_of(notebook).keys()
    return "\n\n".join(parts)


def fabricate(jobs: Sequence[Job], outputs: Path) -> None:
    """Leave what finished runs of these jobs leave, as far as a plan looks at it."""
    for each in graph.plan(jobs, outputs):
        graph.hand_over(each, (provenance.NONE, False))
        made = {"digest": provenance.digest_of(each.parts), "parts": each.parts, "external": {}}
        each.folder.mkdir()
        (each.folder / provenance.FILE).write_text(json.dumps(made))
        each.folder.with_name(f"{each.folder.name}.done").touch()


def planned(file: Path, outputs: Path) -> dict[str, float]:
    """Seconds of a dry run of a sweep, and until its first notebook starts."""
    words = [sys.executable, "-m", "paperlib.runs.sweep", str(file)]
    environment = os.environ | THREADS | {"PYTHONPATH": str(ROOT), "PAPERLIB_OUTPUTS": str(outputs)}
    options = {"env": environment, "cwd": ROOT, "stdout": subprocess.DEVNULL}
    began = time.monotonic()
    subprocess.run([*words, "--dry-run"], **options, check=True)
    took = {"dry run": time.monotonic() - began}
    began, log = time.monotonic(), outputs / "snakemake.log"
    with subprocess.Popen([*words, "--jobs", "1"], **options, stderr=subprocess.DEVNULL) as sweep:
        while not (log.is_file() and "rule run_" in log.read_text()):
            assert sweep.poll() is None
            time.sleep(0.02)
        took["first start"] = time.monotonic() - began
        sweep.terminate()
    log.unlink()
    return took


def plan(number: int) -> None:
    """Plan a sweep of so many runs, with none and with half of them done."""
    with tempfile.TemporaryDirectory() as place:
        file, table = Path(place) / "seeds.yaml", read_table()
        content = {"notebook": "04_robustness", "profile": "smoke", "seeds": [*range(number)]}
        file.write_text(yaml.safe_dump(content))
        jobs = read_jobs(read_sweep(file), table, file)
        for done in (0, number // 2):
            outputs = Path(place) / f"outputs{done}"
            fabricate(jobs[:done], outputs)
            for what, seconds in planned(file, outputs).items():
                print(f"{number} runs, {done} done: {what:<12}{seconds:6.1f} s")


def main() -> None:
    """The command."""
    if sys.argv[1:2] == ["plan"]:
        plan(int([*sys.argv[2:], "1000"][0]))
        return
    name, runs = [*sys.argv[1:], *("04_robustness", "10")[len(sys.argv) - 1 :]]
    number, load = int(runs), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        sweep = Path(place) / "seeds.yaml"
        content = {"notebook": name, "profile": "smoke", "seeds": [*range(number)]}
        sweep.write_text(yaml.safe_dump(content))
        words = [sys.executable, "-m", "paperlib.runs.sweep", str(sweep)]
        used, wall = spent([words], PAPERLIB_OUTPUTS=f"{place}/outputs")
        table = tables.read(Path(place) / "outputs/sweeps/seeds.csv")
        scripts = [Path(place) / f"script{seed}.py" for seed in range(cores())]
        for seed, script in enumerate(scripts):
            script.write_text(as_script(name, seed))
        folder = {"PAPERLIB_OUTPUTS": f"{place}/scripts", "PAPERLIB_BATCH": "1"}
        commands = [[sys.executable, str(script)] for script in scripts]
        of_scripts = [spent(commands, **folder)[0] for _ in range(TIMES)]
    of_script = sum(of_scripts) / (TIMES * len(scripts))
    row = {"notebook": name, "runs": number, "CPU s a run": used / number, "script": of_script}
    row |= {"engine": used / number - of_script, "utilisation": used / (cores() * wall)}
    row |= {"cores": cores(), "complete": number - len(tables.lacking(table))}
    row |= {"wall s a run": wall / number, "load before": load}
    for key, value in row.items():
        print(f"{key:<14}{value if isinstance(value, (str, int)) else round(value, 2)}")


if __name__ == "__main__":
    main()
