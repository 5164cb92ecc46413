"""The report of a run: verdict, claims, notebooks and values of figures, as pages on the disk.

``./run_all.sh`` builds it at the end of a run, in ``outputs/RUN/report``, of what the run's folder
has then, and names it in its last line. The pages are those of the site (`paperlib.runs.site`), of
this run alone: above all what `paperlib.runs.compare` finds, and beside each claim what is
published of it.
"""

import html
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import nbformat

from paperlib.files import FileError
from paperlib.notebook import provenance
from paperlib.notebook.claims import load_claims
from paperlib.notebook.outcomes import measured_text
from paperlib.paths import FIGURES
from paperlib.runs import compare, pages, site
from paperlib.runs.scorecard import NONE, load
from paperlib.runs.table import Entry, read_table

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)[^)]*\)")


def build(run: Path) -> Path:
    """Build the report of a run into its folder, in place of an earlier one.

    Args:
        run: folder of its results.

    Returns:
        The first page.

    Raises:
        FileError: the folder has no results, a measurement or a figure in it is wrong, or Sphinx
            could not build it.
    """
    target = run / "report"
    if site.build(target, partial(assemble, run)):
        raise FileError(f"{target}: Sphinx could not build the report; it says why above")
    return target / "index.html"


def assemble(run: Path, folder: Path) -> None:
    """Write the sources of a run's report."""
    table = read_table()
    names = [*compare.folders([run], table)]
    site.copy_looks(folder)
    (folder / "notebooks").mkdir()
    figures = {}
    for name in names:
        notebook = nbformat.read(run / f"{name}.ipynb", as_version=4)
        figures |= site.figure_of(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = LINK.sub(partial(_kept, names), cell.source)
        nbformat.write(site.with_anchors(notebook), folder / "notebooks" / f"{name}.ipynb")
        site.copy_figures(run / name, folder / "values" / name)
    texts = {f"values/{name}/index.md": site.values_page(name, run / name) for name in names}
    texts["notebooks.md"] = site.contents_page("Notebooks", [f"notebooks/{name}" for name in names])
    texts["values.md"] = site.contents_page("Values", [f"values/{name}/index" for name in names])
    first = [f"# {run.name}", "", *verdict(run, table), *claims(run, names, figures)]
    first += ["```{toctree}", ":hidden:", "notebooks", "values", "```", ""]
    for name, text in {"index.md": "\n".join(first), **texts}.items():
        (folder / name).write_text(text, encoding="utf-8")


def _kept(names: Sequence[str], link: re.Match) -> str:
    """A link to a notebook that is here; of any other its words."""
    return link[0] if Path(link[2]).stem in names else link[1]


def verdict(run: Path, table: Mapping[str, Entry]) -> list[str]:
    """What `paperlib.runs.compare` says of the run, as Markdown."""
    try:
        found = compare.Comparison.of([run], table)
    except FileError as error:
        return [f"Not compared with what is published: {html.escape(str(error))}", ""]
    _, said = compare.verdict(found.parts)
    lines = [*compare.lines(found.parts), *found.remarks]
    listed = [f"- {html.escape(' '.join(line.split()))}" for line in lines]
    return [f"**{said[0].upper()}{said[1:]}**", "", *listed, ""]


def claims(run: Path, names: Sequence[str], figures: Mapping[str, str]) -> list[str]:
    """A row a claim that the run has measured, as Markdown: ours, and the published status."""
    known = load_claims()
    (profile,) = {provenance.load(run / name)["parameters"]["profile"] for name in names}
    mine = load([run], known, [profile])
    then = load([FIGURES / profile], known, [profile])
    heads = ["claim", "status", "paper", "we get", "published", "look"]
    rows = [pages.row(heads), pages.row(["---"] * len(heads))]
    for key, claim in known.items():
        if not (measured := mine.get((key, profile))):
            continue
        published = then.get((key, profile))
        status = claim.status(measured)
        links = [f'<a href="notebooks/{claim.notebook}.html#claim-{key}">{claim.notebook}</a>']
        if figure := figures.get(key):
            place = f"values/{claim.notebook}/index.html#{figure.replace('_', '-')}"
            links.append(f'<a href="{place}">values of {figure}</a>')
        cells = [
            claim.statement,
            f"{pages.MARKS[status]} {status}",
            NONE if claim.reported is None else f"{claim.reported:g}",
            measured_text(claim, measured),
            f"{measured_text(claim, published)}, {claim.status(published)}" if published else NONE,
            " · ".join(links),
        ]
        rows.append(pages.row(cells))
    return [*rows, ""]
