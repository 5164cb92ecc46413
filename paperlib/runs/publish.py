"""Publishes the results of a run: committed figures, values, notebooks' outputs and README.

``python -m paperlib.runs.publish [--profile P] [--only NAME] [--because WORDS]``: runs what is
stale, copies results to ``figures/``, writes the default profile's outputs into
``notebooks/*.ipynb``, what the run took into the notebook's head, and README's parts and
``docs/claims.md``. Where the values are current and
only looks or words have changed, nothing is run: figures are drawn again from their tables, and
texts written again from the claims.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from paperlib.code import source_hash
from paperlib.files import write_files
from paperlib.names import STANDARD_SEED, notebooks
from paperlib.notebook import claims, figures, outcomes, provenance
from paperlib.notebook.run import KEY, figure_outputs
from paperlib.paths import NOTEBOOKS, ROOT, outputs_dir, run_folder
from paperlib.runs import changelog, check, graph, heads, pages
from paperlib.runs.command import command
from paperlib.runs.pairs import pair, settle
from paperlib.runs.runner import read_notebook
from paperlib.runs.table import Entry, git_state, read_table

LEFTOVER = re.compile(r"\[?\(?(Text\(|<(matplotlib|Axes|Figure|BarContainer|mpl_toolkits|module))")
WIDGET = "application/vnd.jupyter.widget-view+json"


class PublishError(ValueError):
    """Results that are not fit to be committed; the message says why."""


def code_of(notebook: Any) -> list[str]:
    """Hash of the code of every cell of code that is not empty."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [source_hash(source) for source in sources if source.strip()]


def with_outputs(source: Any, executed: Any, name: str) -> Any:
    """The notebook `source` with the outputs and the language of `executed`, and no other metadata.

    The language has the version of Python: under another one JupyterLab marks the notebook as not
    saved when it opens it.

    Args:
        source: what `read_notebook` gave; its text may be newer than that of `executed`.
        executed: the same notebook after its run.
        name: for messages.

    Raises:
        PublishError: the code differs; a cell was not run; an output is refused.
    """
    if code_of(source) != code_of(executed):
        raise PublishError(f"{name}: was executed from other code or other parameters")
    ran = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell in source.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        done = ran.pop(0)
        where = f"{name}, cell [{done.execution_count}]"
        if not done.execution_count:
            raise PublishError(f"{name}: a cell was not run: {cell.source.splitlines()[0]}")
        for output in done.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                text = output.get("text") or output.get("evalue")
                raise PublishError(f"{where} wrote to stderr or failed: {text.strip()[:200]}")
            if WIDGET in output.get("data", {}):
                raise PublishError(f"{where} shows a widget, which a page cannot show")
            if left := LEFTOVER.match(output.get("data", {}).get("text/plain", "")):
                raise PublishError(f"{where} shows what plotting returns: {left[0]}...")
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    if "language_info" in executed.metadata:  # without it JupyterLab adds it, and sees a change
        source.metadata["language_info"] = executed.metadata["language_info"]
    return source


def renew(notebook: Any, folder: Path) -> None:
    """Write what a notebook shows of claims and figures anew from the results in `folder`."""
    stated = claims.load_claims()
    for cell in notebook.cells:
        renewed = []
        for output in cell.get("outputs", []):
            match output.get("metadata", {}).get(KEY, {}):
                case {"claim": claim} if claim in stated:
                    file = folder / "claims" / f"{claim}.json"
                    text = outcomes.outcome(stated[claim], claims.load_measurement(file, stated))
                    output["data"] = {"text/markdown": text, "text/plain": text}
                case {"claims": name}:
                    text = outcomes.outcomes(name, folder)
                    output["data"] = {"text/markdown": text, "text/plain": text}
                case {"figure": name}:
                    draw = figures.load_figure(folder, name).draw
                    shown = figure_outputs(folder, draw)
                    renewed += [nbformat.v4.new_output("display_data", **one) for one in shown]
                    continue
                case {"caption": _}:  # written with its figure
                    continue
            renewed.append(output)
        if cell.cell_type == "code":
            cell.outputs = renewed


def write_notebook(source: Path, executed: Any, folder: Path) -> None:
    """Write ``source`` with extension ``.ipynb``, with the outputs of its executed notebook.

    Raises:
        PublishError: as for `with_outputs`.
    """
    notebook = with_outputs(read_notebook(source), executed, source.stem)
    renew(notebook, folder)
    text = nbformat.writes(notebook, version=4)
    draft = source.with_name(f".{source.stem}.ipynb")
    try:
        write_files({draft: f"{text.rstrip()}\n".encode()})
        pair(source, draft)
        write_files({source.with_suffix(".ipynb"): draft.read_bytes()})
    finally:
        draft.unlink(missing_ok=True)


def publish(entry: Entry, profile: str, because: Sequence[str] = ()) -> None:
    """Bring what is published of a notebook up to date from the outputs of its run.

    `because` gives the reasons for `changelog.note`.

    Raises:
        PublishError: the results in the outputs are of other inputs, other threads, or from inputs
            that are not committed; or an output of the notebook is refused.
    """
    dataset = entry.dataset(profile)
    parts = entry.parts(profile, dataset, STANDARD_SEED)
    commit, clean = git_state(parts)
    if not clean:
        raise PublishError(f"{entry.name}: commit what decides its values first (git status)")
    run = outputs_dir().resolve() / run_folder(profile, dataset, STANDARD_SEED)
    target = entry.published(profile)
    found = check.state(entry, profile)
    if found.stale or not target.is_dir():
        made = provenance.load(run / entry.name)
        if made["digest"] != provenance.digest_of(parts):
            raise PublishError(f"{entry.name}: the results in {run} are of other inputs")
        if made["threads"] != 1:
            raise PublishError(f"{entry.name}: ran with {made['threads']} threads: valid is 1")
        before = changelog.means(target, changelog.stated_then(target))
        replace_folder(run / entry.name, target, pictures=profile == "default")
        said = changelog.differences(before, changelog.means(target))
        changelog.note(entry.name, profile, found.changed + found.data, said, because)
        provenance.rewrite(target, commit=commit, clean=clean)
        executed = run / f"{entry.name}.ipynb"
    else:
        executed = NOTEBOOKS / f"{entry.name}.ipynb"
    for name in check.saved_figures(target):
        figures.redraw(target, name)
    source = NOTEBOOKS / f"{entry.name}.py"
    if profile == "default":
        write_notebook(source, nbformat.read(executed, as_version=4), target)
    if heads.write(source) and source.with_suffix(".ipynb").is_file():
        pair(source, source.with_suffix(".ipynb"))


def replace_folder(source: Path, target: Path, pictures: bool = True) -> None:
    """Put a copy of a folder in the place of another in one step.

    Args:
        source: with figures and claims.
        target: need not exist.
        pictures: whether figures that hold pixels go with it: those of real data show other
            people's photographs, which are not ours to give on.

    Raises:
        FileError: it cannot be written.
    """
    ready = target.with_name(f".{target.name}.new")
    held = () if pictures else {file.with_suffix("") for file in source.glob("*.npz")}
    files = [file for file in source.rglob("*") if file.is_file()]
    files = [file for file in files if file.with_suffix("") not in held]
    try:
        write_files({ready / file.relative_to(source): file.read_bytes() for file in files})
        shutil.rmtree(target, ignore_errors=True)
        ready.rename(target)
    finally:
        shutil.rmtree(ready, ignore_errors=True)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.publish",
        description="Run what is stale and publish it.",
    )
    parser.add_argument("--profile", choices=check.PUBLISHED, default="default")
    parser.add_argument("--only", choices=notebooks(), action="append", default=[])
    parser.add_argument("--because", action="append", default=[], help="reason in CHANGELOG.md")
    options = parser.parse_args(arguments)
    table = read_table()
    settle(options.only or [*table])
    return _publish(table, options.profile, options.only or [*table], options.because)


def _publish(
    table: Mapping[str, Entry], profile: str, names: Sequence[str], because: Sequence[str]
) -> int:
    found = {name: check.state(table[name], profile) for name in names}
    stale = [name for name, one in found.items() if one.stale or not one.published]
    code = 0
    if stale:
        code = graph.run(graph.chosen(table, profile, None, stale, STANDARD_SEED))
        if code == graph.STOPPED:
            return code
    for name in names:
        try:
            publish(table[name], profile, because)
        except PublishError as error:
            print(error, file=sys.stderr)
            code = 1
    pages.write(ROOT, check.stale(check.states(table=table)))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
