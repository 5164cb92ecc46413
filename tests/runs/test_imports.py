"""What plans, starts kernels and keeps order imports nothing that only computing needs."""

import json
import subprocess
import sys

import pytest

SLOW = {"torch", "torchvision", "safetensors", "pandas", "scipy", "matplotlib", "nbconvert"}
GRAMMAR = "rfc3987_syntax.syntax_helpers"  # of internet addresses, which no notebook needs
NOTEBOOK = """# %% tags=["parameters"]
profile = "default"
seed = 0
dataset = "openmoji"

# %%
import os
from pathlib import Path

folder = Path(os.environ["PAPERLIB_FOLDER"])
folder.mkdir()
(folder / "provenance.json").write_text("{}")
"""
TELL = """
import json, sys
print(json.dumps([name for name, module in sys.modules.items() if module]))
"""


def imported(project, code: str) -> set[str]:
    """Modules that a process has imported at the end of some code in which it succeeded."""
    done = subprocess.run(
        [sys.executable, "-c", code + TELL],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module", ["changelog", "command", "graph", "limits", "pairs", "scorecard", "slurm", "table"]
)
def test_what_plans_imports_nothing_that_computes(project, module):
    assert not imported(project, f"import paperlib.runs.{module}") & {*SLOW, "numpy", "nbformat"}


def test_a_plan_is_made_without_what_computes(project):
    code = (
        "from paperlib.runs import graph\n"
        "assert graph.main(['--profile', 'smoke', '--dry-run']) == 0"
    )
    assert not imported(project, code) & {*SLOW, "numpy", "nbformat"}


def test_a_runner_imports_nothing_that_computes_from_its_start_to_its_end(project):
    project.write("notebooks/01_one.py", NOTEBOOK)
    project.edit("data/claims/toy.yaml", "01_one}", "01_one, profiles: [paper]}")
    code = (
        "from paperlib.runs import runner\n"
        f"assert runner.main(['01_one', '--target', {str(project / 'outputs/01_one')!r}]) == 0"
    )
    found = imported(project, code)
    assert "papermill" in found
    assert "cost" in json.loads((project / "outputs/01_one/provenance.json").read_text())
    assert not found & {*SLOW, GRAMMAR}
