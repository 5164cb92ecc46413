"""The site: the committed notebooks, the scorecard and the API as pages that open from disk.

``python -m paperlib.runs.site`` assembles the sources and has Sphinx build them into
``outputs/site``. Nothing is run and nothing is fetched, neither when it is built nor when it is
looked at; ``docs/conf.py`` says how the pages look.
"""

import argparse
import html
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat

from paperlib.notebook.outcomes import measured_text
from paperlib.notebook.run import KEY
from paperlib.paths import FIGURES, NOTEBOOKS, ROOT, outputs_dir
from paperlib.runs import check, pages
from paperlib.runs.command import command
from paperlib.runs.pages import DATA, NONE, Published
from paperlib.runs.table import Entry, read_table

LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\s\"#]+)")
ANCHOR = re.compile(r'^<a id="([^"]+)"></a>$', re.MULTILINE)
SUFFIXES = (".csv", ".json", ".png")  # of the published files that pages show or link


def shows(notebook: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Every output of a notebook that shows a claim or a figure: its cell, and what it shows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if said := output.get("metadata", {}).get(KEY):
                yield cell, said


def figure_of(notebook: Any) -> dict[str, str]:
    """Figure that a reader has seen last where a notebook comes to each claim, by claim."""
    found, last = {}, ""
    for _, said in shows(notebook):
        last = said.get("figure", last)
        if "claim" in said:
            found[said["claim"]] = last
    return found


def with_anchors(notebook: Any) -> Any:
    """The notebook with an anchor above each claim's cell and every picture's text for the blind.

    README is the first page. MyST-NB takes the text from the cell, not from the output.
    """
    cells = []
    for cell in notebook.cells:
        cell.source = cell.source.replace("](../README.md)", "](../index.md)")
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
            if claim := output.get("metadata", {}).get(KEY, {}).get("claim"):
                anchor = f'<span id="claim-{claim}"></span>'
                cells.append(nbformat.v4.new_markdown_cell(anchor))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def scorecard(shown: Published, figures: dict[str, str]) -> str:
    """The page of all claims in one table that can be filtered by paper and by status.

    Args:
        shown: what is published.
        figures: last figure before each claim, by claim.
    """
    papers = {name: paper.short if paper else name for name, paper in shown.papers.items()}
    rows = []
    for name, short in papers.items():
        for claim in shown.of(name).values():
            run = shown.measured.get((claim.id, "default"))
            at = f"#claim-{claim.id}" if claim.id in figures else ""  # published anew it is there
            links = [f'<a href="notebooks/{claim.notebook}.html{at}">{claim.notebook}</a>']
            if figure := figures.get(claim.id):
                place = f"figures/default/{claim.notebook}/index.html#{figure.replace('_', '-')}"
                links.append(f'<a href="{place}">values of {figure}</a>')
            links.append(f'<a href="docs/claims.html#{claim.id}">in full</a>')
            statuses = [shown.status(claim, at) for at in DATA]
            cells = [
                html.escape(claim.statement),
                shown.word(claim, "default"),
                NONE if claim.reported is None else f"{claim.reported:g}",
                measured_text(claim, run) if run else NONE,
                f"must be {html.escape(str(claim.check))} ({claim.unit})",
                f"real data: {shown.word(claim, 'paper')}",
                " · ".join(links),
            ]
            data = f'data-paper="{short}" data-status="{"|".join(statuses)}"'
            rows.append(f"<tr {data}><td>{'</td><td>'.join(cells)}</td></tr>")
    heads = ["claim", "status", "paper", "we get", "check", "real data", "look"]
    found = dict.fromkeys(shown.status(claim, "default") for claim in shown.claims.values())
    return f"""# Scorecard

<div class="filter">
<label>paper <select id="paper">{_options(papers.values())}</select></label>
<label>status on drawn data <select id="status">{_options(found)}</select></label>
<span id="count" role="status"></span>
</div>
<table class="scorecard">
<thead><tr><th>{"</th><th>".join(heads)}</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
<script>
const chosen = ["paper", "status"].map((name) => document.getElementById(name));
function filter() {{
  const rows = [...document.querySelectorAll("table.scorecard tbody tr")];
  const [paper, status] = chosen.map((select) => select.value);
  for (const row of rows) {{
    const other = paper && row.dataset.paper !== paper;
    row.hidden = other || (status && row.dataset.status.split("|")[0] !== status);
  }}
  const left = rows.filter((row) => !row.hidden).length;
  document.getElementById("count").textContent = left + " of " + rows.length + " claims";
}}
chosen.forEach((select) => select.addEventListener("change", filter));
filter();
</script>

{"".join(shown.dagger)}
"""


def _options(names: Iterable[str]) -> str:
    return '<option value="">all</option>' + "".join(
        f"<option>{html.escape(name)}</option>" for name in names
    )


def values_page(name: str, folder: Path) -> str:
    """The page of a notebook's published figures: each with its table and what made it."""
    text = [f"# Values of {name}", "", f"[The notebook](/notebooks/{name}.ipynb)", ""]
    for figure in check.saved_figures(folder):
        alt = pages.figures.alt_text(pages.figures.load_figure(folder, figure).draw)
        text += [f"## {figure.replace('_', ' ')}", "", f"![{alt}]({figure}.png)", ""]
        text += [f"[Table]({figure}.csv) · [what made it]({figure}.json)", ""]
    return "\n".join(text)


def api_pages() -> dict[str, str]:
    """A page a room of paperlib, every module of it with its docstrings, by name of the page."""
    rooms: dict[str, list[str]] = {}
    for file in sorted((ROOT / "paperlib").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if file.name != "__init__.py" and not file.stem.endswith("_pb2"):
            rooms.setdefault(module.rpartition(".")[0], []).append(module)
    made = {}
    for room, modules in rooms.items():
        text = [f"# {room}", ""]
        for module in modules:
            text += [f"## {module.rpartition('.')[2]}", ""]
            text += ["```{eval-rst}", f".. automodule:: {module}", "```", ""]
        made[room] = "\n".join(text)
    return made


def contents_page(head: str, names: Sequence[str]) -> str:
    """A page that lists others."""
    return "\n".join([f"# {head}", "", "```{toctree}", *names, "```", ""])


def sections(table: dict[str, Entry], shown: Published, rooms: Sequence[str]) -> dict[str, str]:
    """The first page, which is README, and a page for each part of the site, by file."""
    heads = {}  # of a paper, by its package
    for claim in shown.claims.values():
        paper = shown.papers[claim.paper]
        heads[table[claim.notebook].row.package] = paper.short if paper else claim.paper
    parts: dict[str, list[str]] = {}
    for name, entry in table.items():
        head = heads.get(entry.row.package, entry.row.package.capitalize())
        parts.setdefault(head, []).append(f"notebooks/{name}")
    parts["Claims"] = ["scorecard", "docs/claims", "docs/not_reproduced", "CHANGELOG"]
    parts["Use"] = ["docs/running", "docs/servers", "CONTRIBUTING"]
    parts["API"] = [f"api/{room}" for room in rooms]
    parts["Values"] = [f"figures/default/{name}/index" for name in table]
    made = {f"{head.lower()}.md": contents_page(head, names) for head, names in parts.items()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = ["```{toctree}", ":hidden:", *(Path(name).stem for name in made), "```", ""]
    return {"index.md": "\n".join([readme, "", *tree])} | made


def copy_looks(folder: Path) -> None:
    """Make the folder of a site's sources, with what says how its pages look."""
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static")
    shutil.copy(ROOT / "docs" / "conf.py", folder)


def copy_figures(results: Path, target: Path) -> None:
    """The pictures of a notebook's results, their tables and what made them."""
    target.mkdir(parents=True)
    for file in results.glob("*"):
        if file.suffix in SUFFIXES:
            shutil.copy(file, target)


def assemble(folder: Path) -> None:
    """Write the sources of the site: the layout of the repository, so that its links hold.

    Raises:
        FileError: a claim, a measurement or a figure is wrong.
    """
    table = read_table()
    shown = pages.load_published(check.stale(check.states(table=table)))
    copy_looks(folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("conf.py", "_*"))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    texts = {f"api/{room}.md": text for room, text in api_pages().items()}
    rooms = [Path(name).stem for name in texts]
    figures = {}
    (folder / "notebooks").mkdir()
    for name in table:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        figures |= figure_of(notebook)
        nbformat.write(with_anchors(notebook), folder / "notebooks" / f"{name}.ipynb")
        copy_figures(FIGURES / "default" / name, folder / "figures" / "default" / name)
        texts[f"figures/default/{name}/index.md"] = values_page(name, FIGURES / "default" / name)
    texts["scorecard.md"] = scorecard(shown, figures)
    texts |= sections(table, shown, rooms)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for page in folder.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        text = ANCHOR.sub(r"(\1)=", _relinked(text, page, folder))
        page.write_text(text, encoding="utf-8")


def _relinked(text: str, page: Path, folder: Path) -> str:
    """Links of a page to folders lead to their page; files that are not here yet are brought."""

    def link(found: re.Match) -> str:
        before, address = found.groups()
        place = (page.parent / address).resolve()
        if "://" in address or not place.is_relative_to(folder):
            return found[0]
        source = ROOT / place.relative_to(folder)
        if source == ROOT / "README.md":
            return f"{before}{address.removesuffix('README.md')}index.md"
        if source.is_dir() or place.is_dir():
            if not (place / "index.md").exists():
                names = sorted(file.name for file in source.iterdir() if file.is_file())
                place.mkdir(parents=True, exist_ok=True)
                for name in names:
                    shutil.copy(source / name, place)
                listed = "\n".join(f"- [{name}]({name})" for name in names)
                text = f"---\norphan: true\n---\n\n# {place.relative_to(folder)}\n\n{listed}\n"
                (place / "index.md").write_text(text, encoding="utf-8")
            return f"{before}{address.rstrip('/')}/index.md"
        if source.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
        return found[0]

    return LINK.sub(link, text)


def build(target: Path, write: Callable[[Path], None] = assemble) -> int:
    """Build a site into a folder, which it replaces; returns Sphinx's exit code.

    Args:
        target: the folder.
        write: makes the folder of the sources, whose path it gets.
    """
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "source"
        write(folder)
        made = Path(place) / "site"
        code = build_main(["-q", "-b", "html", str(folder), str(made)])
        if code:
            return code
        shutil.rmtree(made / ".doctrees", ignore_errors=True)
        (made / "_static" / "webpack-macros.html").unlink(missing_ok=True)  # the theme's own
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    return 0


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paperlib.runs.site",
        description="Build the notebooks, the scorecard and the API into outputs/site.",
    )
    parser.parse_args(arguments)
    target = outputs_dir().resolve() / "site"
    code = build(target)
    print(f"{target / 'index.html'}" if not code else "the site was not built", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
