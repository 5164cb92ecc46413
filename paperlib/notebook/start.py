"""The start of a notebook: its parameters checked, everything seeded, its row of sizes.

A notebook's first cell after the parameters is

    run = start("01_spectrum", sizes, profile=profile, seed=seed, dataset=dataset)

with ``sizes`` of its own paper, and from there on ``run`` gives sizes, saves figures and checks
claims. It works the same from ``run_all.sh``, papermill, nbval and JupyterLab, whatever the working
directory. What is run by hand goes to a folder of its own, so that it never stands in for a result
of ``run_all.sh``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from IPython import get_ipython

from paperlib import runtime
from paperlib.notebook import claims, figures, provenance
from paperlib.notebook.parameters import (
    CHANGES,
    ParameterError,
    changed_row,
    check_parameters,
    chosen_profile,
    closest,
    injected,
)
from paperlib.notebook.run import Run
from paperlib.paths import outputs_dir, run_folder


def start(
    name: str,
    sizes: ModuleType,
    *,
    profile: str,
    seed: int,
    dataset: str,
    changes: Mapping[str, Any] | None = None,
    **added: Any,
) -> Run:
    """Check the parameters, seed everything, set threads and figure style.

    Args:
        name: of the notebook, without extension.
        sizes: of its paper: ``SIZES`` by notebook and profile, ``DATASETS`` by notebook.
        profile: one of `paperlib.names.PROFILES`; ``$PAPERLIB_PROFILE`` counts instead where a
            person works, and says so.
        seed: 0 to 2³² - 1.
        dataset: one of those that the notebook takes.
        changes: sizes that replace those of the profile's row; papermill's parameter of this name
            counts instead. Such a run gives values and no status, and is not published.
        added: every further parameter of the notebook.

    Raises:
        ParameterError: there is no such notebook; papermill was given a parameter that the
            notebook does not have; or a parameter has a value that it does not take.
        FileError: the claims are wrong.
    """
    if name not in sizes.SIZES:
        raise ParameterError(f"notebook {name!r}: {closest(name, sizes.SIZES)}")
    shell = get_ipython()
    given = injected(shell.user_ns.get("In", [])) if shell else {}
    profile, said = chosen_profile(profile, given, os.environ)
    parameters = {"profile": profile, "seed": seed, "dataset": dataset, **added}
    check_parameters(given | parameters, [*parameters, CHANGES], sizes.DATASETS[name])
    changes = dict(given.get(CHANGES, changes) or {})
    row = sizes.SIZES[name][profile]
    if changes:
        row = changed_row(sizes.SIZES[name], profile, changes)
        parameters[CHANGES] = changes
    if said:
        print(said)
    runtime.set_threads()
    runtime.seed_everything(seed)
    figures.style()
    claims.load_claims()  # wrong ones fail now, not after the measurement
    inputs = provenance.handed_over()
    provenance.watch(inputs)
    interactive = not os.environ.get("PAPERLIB_BATCH")
    named = {key: value for key, value in added.items() if value}
    by_hand = outputs_dir() / "by_hand" / run_folder(profile, dataset, seed, named | changes) / name
    folder = Path(os.environ.get("PAPERLIB_FOLDER") or by_hand).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return Run(name, profile, seed, dataset, parameters, row, folder, interactive, inputs)
