"""The start of a notebook: its parameters checked, everything seeded, its row of sizes.

A notebook's first cell after the parameters is

    run = start("01_spectrum", sizes, profile=profile, seed=seed, dataset=dataset)

with ``sizes`` of its own paper, and from there on ``run`` gives sizes, saves figures and checks
claims. It works the same from ``run_all.sh``, papermill, nbval and JupyterLab, whatever the working
directory. What is run by hand goes to a folder of its own, so that it never stands in for a result
of ``run_all.sh``.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from IPython import get_ipython

from paperlib import runtime
from paperlib.notebook import claims, figures, provenance
from paperlib.notebook.parameters import ParameterError, check_parameters, closest, injected
from paperlib.notebook.run import Run
from paperlib.paths import outputs_dir, run_folder


def start(
    name: str, sizes: ModuleType, *, profile: str, seed: int, dataset: str, **added: Any
) -> Run:
    """Check the parameters, seed everything, set threads and figure style.

    Args:
        name: of the notebook, without extension.
        sizes: of its paper: ``SIZES`` by notebook and profile, ``DATASETS`` by notebook.
        profile: one of `paperlib.names.PROFILES`.
        seed: 0 to 2³² - 1.
        dataset: one of those that the notebook takes.
        added: every further parameter of the notebook.

    Raises:
        ParameterError: there is no such notebook; papermill was given a parameter that the
            notebook does not have; or a parameter has a value that it does not take.
        FileError: the claims are wrong.
    """
    if name not in sizes.SIZES:
        raise ParameterError(f"notebook {name!r}: {closest(name, sizes.SIZES)}")
    parameters = {"profile": profile, "seed": seed, "dataset": dataset, **added}
    shell = get_ipython()
    given = injected(shell.user_ns.get("In", [])) if shell else {}
    check_parameters(given | parameters, parameters, sizes.DATASETS[name])
    runtime.set_threads()
    runtime.seed_everything(seed)
    figures.style()
    claims.load_claims()  # wrong ones fail now, not after the measurement
    inputs = provenance.handed_over()
    provenance.watch(inputs)
    interactive = not os.environ.get("PAPERLIB_BATCH")
    by_hand = outputs_dir().resolve() / "by_hand" / run_folder(profile, dataset, seed) / name
    folder = Path(os.environ.get("PAPERLIB_FOLDER") or by_hand)
    folder.mkdir(parents=True, exist_ok=True)
    row = sizes.SIZES[name][profile]
    return Run(name, profile, seed, dataset, parameters, row, folder, interactive, inputs)
