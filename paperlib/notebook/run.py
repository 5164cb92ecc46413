"""One run of one notebook: it saves figures with their values and checks claims.

What is shown of a claim or a figure carries in its metadata what it shows, so that publishing can
write it anew when a claim's wording or the looks have changed and the values have not.
"""

import base64
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from matplotlib.figure import Figure

from paperlib.data import LabelledImages
from paperlib.notebook import claims, figures, outcomes, provenance
from paperlib.notebook.parameters import CHANGES
from paperlib.runtime import c_library

KEY = "paperlib"  # of the metadata of an output
GIVE_BACK_EVERY = 3.0  # seconds of a cell


@dataclass(frozen=True)
class Run:
    """One run of one notebook.

    Attributes:
        name: of the notebook, without extension.
        profile, seed, dataset: its parameters.
        parameters: these and what else the notebook was started with.
        sizes: the notebook's sizes in this profile.
        folder: where its results go.
        interactive: a person runs it by hand, so that widgets have a use.
        inputs: what decides its values (see `paperlib.notebook.provenance`).
    """

    name: str
    profile: str
    seed: int
    dataset: str
    parameters: dict[str, Any]
    sizes: Any
    folder: Path
    interactive: bool
    inputs: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        if shell := get_ipython():
            give_back_freed(shell)

    @property
    def changes(self) -> Mapping[str, Any]:
        """Sizes that replace those of the profile's row; a run with any gives no status."""
        return self.parameters.get(CHANGES, {})

    def save_figure(
        self,
        draw: Callable[..., Figure],
        table: pd.DataFrame,
        pixels: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Draw a figure from a table, write both with where they come from, and show the figure.

        Args:
            draw: a function of its paper's ``plots``, named as the figure; it gets the table as it
                is read back from the file, and `pixels` if there are any. The first sentence of its
                docstring says what is to be seen, for those who cannot see it.
            table: all values that it shows, one row a point.
            pixels: of grids of pictures, by name: uint8 arrays, RGB in the last axis.
        """
        digest = provenance.record(self.folder, self.inputs, self.parameters)
        figures.save_figure(draw, table, pixels, self.folder, self.parameters, digest)
        for shown in figure_outputs(self.folder, draw):
            display(shown["data"], metadata=shown["metadata"], raw=True)

    def say(self, markdown: str) -> None:
        """Show a sentence with numbers of this run (see `paperlib.notebook.words`)."""
        _show(markdown, {"said": self.name})

    def check(
        self,
        claim: str,
        values: float | Sequence[float],
        *,
        scale: str,
        source: str | LabelledImages,
        dataset: str = "",
        model: str = "",
        note: str = "",
        interval: tuple[float, float] | None = None,
        over: str = "",
        stake: tuple[float, float] | None = None,
    ) -> None:
        """Check a claim of the paper against what was measured, record it and show the outcome.

        Args:
            claim: id of the claim in ``data/claims``.
            values: the measured quantity, one for every draw, in the claim's unit.
            scale: how much was measured, such as "200 images, 3 seeds".
            source: the data, or in words where it came from if it is that of the data set as
                published; images that were altered are another data set than the paper's.
            dataset: that was measured, where it is not the run's.
            model: that was measured, where the claim names the paper's models.
            note: what a reader must know beside the number.
            interval: ends of the 95 % interval; the claim is undecided if its check holds in a part
                of it only. Without one that of several draws is Student's.
            over: what was resampled for the interval, such as "variants, trainings inside".
            stake: ends of the 95 % interval of what is at stake, where the claim asks for a stake.
        """
        provenance.record(self.folder, self.inputs, self.parameters)
        data = source if isinstance(source, LabelledImages) else None
        measured = claims.measure(
            claim,
            [values] if isinstance(values, (int, float)) else values,
            profile=self.profile,
            dataset=dataset or self.dataset,
            altered=data.altered if data else "",
            seed=self.seed,
            scale=scale,
            source=data.source if data else source,
            model=model,
            note=note,
            changed=", ".join(f"{name}={value}" for name, value in self.changes.items()),
            interval=interval,
            over=over,
            stake=stake,
            folder=self.folder,
        )
        text = outcomes.outcome(claims.load_claims()[claim], measured)
        _show(text, {"claim": claim})

    def claims_table(self) -> None:
        """Show the claims that this notebook measures, with what this run measured."""
        _show(outcomes.outcomes(self.name, self.folder), {"claims": self.name})


@functools.cache
def give_back_freed(shell: InteractiveShell) -> None:
    """Give what this process has freed back to the system, which Linux's C library is slow to do.

    After every cell, and every few seconds while one runs: what lies between tensors of many sizes
    adds up to hundreds of megabytes in a long cell. A notebook shares a small machine with the
    servers that it starts, and with JupyterLab.

    Args:
        shell: whose cells they are; told again, nothing changes.
    """
    trim = c_library("malloc_trim")
    if not trim:
        return
    running = Event()
    running.set()  # the cell that tells it

    def end(*_: object) -> None:
        running.clear()
        trim(0)

    def keep_on() -> None:
        while running.wait():
            trim(0)
            time.sleep(GIVE_BACK_EVERY)

    shell.events.register("pre_run_cell", lambda *_: running.set())
    shell.events.register("post_run_cell", end)
    Thread(target=keep_on, daemon=True).start()


def figure_outputs(folder: Path, draw: Callable[..., Figure]) -> list[dict[str, Any]]:
    """What a notebook shows of a saved figure: the picture, and its text as a line beneath.

    The text stands in the picture's metadata too, but JupyterLab does not read it from there.
    """
    name, alt = draw.__name__, figures.alt_text(draw)
    picture = base64.b64encode(figures.preview(folder, name)).decode()
    return [
        {
            "data": {"image/png": picture, "text/plain": alt},
            "metadata": {"image/png": {"alt": alt}, KEY: {"figure": name}},
        },
        {
            "data": {"text/markdown": f"*{alt}*", "text/plain": alt},
            "metadata": {KEY: {"caption": name}},
        },
    ]


def _show(markdown: str, shows: dict[str, str]) -> None:
    bundle = {"text/markdown": markdown, "text/plain": markdown}
    display(bundle, metadata={KEY: shows}, raw=True)
