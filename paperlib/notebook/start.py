"""The frame of a notebook: its parameters checked, a folder for its results, its claims.

A notebook's first cell after the parameters is

    run = start("01_spectrum", profile=profile, seed=seed, dataset=dataset)

and from there on ``run`` gives sizes, saves figures and checks claims. It works the same from
``run_all.sh``, papermill, nbval and JupyterLab, whatever the working directory. What is run by
hand goes to a folder of its own, so that it never stands in for a result of ``run_all.sh``.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from paperlib import profiles, runtime
from paperlib.notebook import claims, figures
from paperlib.notebook.parameters import ParameterError, check_parameters, closest, injected
from paperlib.paths import outputs_dir, run_folder
from paperlib.runs.graph import read_table
from paperlib.runs.scorecard import measured_text, scorecard


@dataclass(frozen=True)
class Run:
    """One run of one notebook.

    Attributes:
        name: of the notebook, without extension.
        profile, seed, dataset: its parameters.
        parameters: these and what else the notebook was started with.
        sizes: the notebook's sizes in this profile (see `paperlib.profiles`).
        folder: where its results go.
        interactive: a person runs it by hand, so that widgets have a use.
    """

    name: str
    profile: str
    seed: int
    dataset: str
    parameters: dict[str, Any]
    sizes: Any
    folder: Path
    interactive: bool

    def save_figure(self, figure: Figure, name: str, values: pd.DataFrame) -> None:
        """Write a figure, the values it shows and where they come from.

        Args:
            figure: what to draw; it stays open, so the cell shows it.
            name: of the files, as ``notebooks/graph.yaml`` lists it.
            values: the plotted values, one row a point.
        """
        figures.save_figure(figure, self.folder, name, values, self.parameters)

    def check(
        self,
        claim: str,
        values: float | Sequence[float],
        *,
        scale: str,
        source: str,
        note: str = "",
    ) -> None:
        """Check a claim of the paper against what was measured, record it and show the outcome.

        Args:
            claim: id of the claim in ``data/claims``.
            values: the measured quantity, one for every evaluation seed, in the claim's unit.
            scale: how much was measured, such as "200 images, 3 seeds".
            source: where the data came from, in words; a copy that went through JPEG is another
                data set than the paper's.
            note: what a reader must know beside the number.
        """
        measurement = claims.measure(
            claim,
            [values] if isinstance(values, (int, float)) else values,
            profile=self.profile,
            dataset=f"{self.dataset}-jpeg" if "JPEG" in source else self.dataset,
            seed=self.seed,
            scale=scale,
            source=source,
            note=note,
            folder=self.folder,
        )
        stated = claims.load_claims()[claim]
        display(
            Markdown(
                f"**{stated.statement}** ({stated.where}) {stated.quantity}: "
                f"{measured_text(stated, measurement)} ({stated.unit}), must be {stated.check} → "
                f"**{measurement.status}**"
            )
        )

    def claims_table(self) -> pd.DataFrame:
        """The claims that this notebook measures, with what this run measured."""
        mine = [claim.id for claim in claims.load_claims().values() if claim.notebook == self.name]
        table = scorecard([self.folder], [self.profile]).loc[mine]
        measured, status = f"{self.profile} measured", f"{self.profile} status"
        return table[["quantity", "unit", "check", "reported", measured, status]]


def start(name: str, *, profile: str, seed: int, dataset: str, **added: Any) -> Run:
    """Check the parameters, seed everything, set threads and figure style.

    Args:
        name: of the notebook, without extension.
        profile: one of `profiles.PROFILES`.
        seed: 0 to 2³² - 1.
        dataset: one of those that the notebook takes (``notebooks/graph.yaml``).
        added: every further parameter of the notebook.

    Raises:
        ParameterError: there is no such notebook; papermill was given a parameter that the
            notebook does not have; or a parameter has a value that it does not take.
    """
    if name not in profiles.SIZES:
        raise ParameterError(f"notebook {name!r}: {closest(name, profiles.SIZES)}")
    parameters = {"profile": profile, "seed": seed, "dataset": dataset, **added}
    shell = get_ipython()
    given = injected(shell.user_ns.get("In", [])) if shell else {}
    check_parameters(given | parameters, parameters, read_table()[name].datasets)
    runtime.set_threads()
    runtime.seed_everything(seed)
    figures.style()
    interactive = not os.environ.get("PAPERLIB_BATCH")
    place = outputs_dir().resolve() / ("by_hand" if interactive else "")
    folder = place / run_folder(profile, dataset, seed) / name
    folder.mkdir(parents=True, exist_ok=True)
    sizes = profiles.sizes(name, profile)
    return Run(name, profile, seed, dataset, parameters, sizes, folder, interactive)
