"""README's generated parts and the page of all claims, from the claims and what was measured.

What stands between two marks of README, such as ``<!-- summary:begin -->`` and its end, is written
here: the badges, a row and a picture a paper, a line a claim, and a row a notebook. Everything else
about a claim stands in ``docs/claims.md``. A result that is from earlier code or data is marked
wherever it is shown.
"""

import html
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from paperlib import paths
from paperlib.files import FileError, read_yaml, write_files
from paperlib.notebook import figures, provenance
from paperlib.notebook.claims import (
    Claim,
    Measurement,
    Record,
    Status,
    Text,
    load_claims,
    problems,
)
from paperlib.notebook.outcomes import measured_text, notes
from paperlib.runs.heads import took
from paperlib.runs.notebook_rows import claim_links, question
from paperlib.runs.scorecard import EARLIER, NONE, PUBLISHED, Measured, Stale, load

BLOCKS = ("badges", "summary", "pictures", "scorecard", "notebooks")
MARKS = {  # of a status, beside its word
    "reproduced": "✔",
    "scaled-down": "✔",
    "disagrees": "✘",
    "no stake": "○",
    "undecided": "?",
    "not run": NONE,
    "no status": NONE,  # never published
}
TALLY = {  # what the summary counts, and the statuses that it counts so
    "✔ {} hold": ("reproduced", "scaled-down"),
    "✘ {} disagree": ("disagrees",),
    "○ {} no stake": ("no stake",),
    "? {} undecided": ("undecided",),
    "– {} not run": ("not run",),
}
ALWAYS = ("✔ {} hold", "✘ {} disagree")  # of these, also where there are none
NO_BREAK = "\u00a0"
DASH = f"{NONE}\u2060"  # after which no line is broken, though a space follows
DATA = {"default": "drawn data", "paper": "real data"}  # of the published profiles


class Picture(Record):
    """A published figure, below ``figures/default``, and a sentence on what it shows."""

    file: Text
    shows: Text


class Paper(Record):
    """What README and the pages say of a paper: a row of ``data/papers.yaml``, described there."""

    short: Text
    title: Text
    link: Annotated[str, Field(pattern=r"^https://")]
    gist: Text
    picture: Picture
    settings: dict[str, Text]

    @property
    def anchor(self) -> str:
        """Of its heading, as GitHub and MyST make it."""
        return self.short.lower().replace(" ", "-")


@dataclass(frozen=True)
class Published:
    """The claims, what is published of them, and which results are from earlier code.

    Attributes:
        claims: by id.
        measured: by claim and profile.
        stale: notebook and profile.
        papers: by their name in the claims, in README's order; those without a row come last.
    """

    claims: Mapping[str, Claim]
    measured: Measured
    stale: Stale
    papers: Mapping[str, Paper | None]

    def of(self, paper: str) -> dict[str, Claim]:
        """A paper's claims, by id."""
        return {key: claim for key, claim in self.claims.items() if claim.paper == paper}

    def status(self, claim: Claim, profile: str) -> Status:
        """Status of a claim in a profile."""
        measurement = self.measured.get((claim.id, profile))
        return claim.status(measurement) if measurement else "not run"

    def word(self, claim: Claim, profile: str) -> str:
        """Mark and word of a claim's status, with a dagger if it is from earlier code."""
        status = self.status(claim, profile)
        earlier = status != "not run" and self.is_earlier(claim.id, profile)
        return f"{MARKS[status]} {status}{' †' if earlier else ''}"

    def is_earlier(self, claim: str, profile: str) -> bool:
        """Whether what was measured of a claim is from earlier code or data."""
        return (self.claims[claim].notebook, profile) in self.stale

    @property
    def dagger(self) -> list[str]:
        """A line that says what the dagger means, where there is one."""
        earlier = any(
            (self.claims[claim].notebook, at) in self.stale for claim, at in self.measured
        )
        return [f"† {EARLIER}: what decides it has changed since it was measured", ""] * earlier

    @cached_property
    def costs(self) -> dict[tuple[str, str], str]:
        """Minutes and memory of a published run, by notebook and profile, where they are known."""
        found = {}
        for profile in PUBLISHED:
            for folder in (paths.FIGURES / profile).glob("*"):
                if cost := provenance.load(folder).get("cost"):
                    found[folder.name, profile] = took(cost)
        return found


def load_published(stale: Stale) -> Published:
    """Everything that the pages are made of.

    Raises:
        FileError: a claim, a measurement or ``data/papers.yaml`` is wrong.
    """
    claims = load_claims()
    measured = load([paths.FIGURES / profile for profile in PUBLISHED], claims, PUBLISHED)
    file = paths.CLAIMS.parent / "papers.yaml"
    rows = read_yaml(file) if file.is_file() else {}
    try:
        described = {name: Paper.model_validate(row) for name, row in rows.items()}
    except ValidationError as error:
        raise FileError(f"{file}: {problems(error, 'paper')}") from None
    named = {claim.paper: described.get(claim.paper) for claim in claims.values()}
    order = [name for name in described if name in named] + [*named]
    return Published(claims, measured, stale, {name: named[name] for name in dict.fromkeys(order)})


def contents(root: Path, stale: Stale) -> dict[Path, str]:
    """The text of README and of the page of claims as they should be today.

    Args:
        root: of the project; its README stays as it is outside the marks.
        stale: notebook and profile of results from earlier code.

    Raises:
        FileError: there is no README, or its marks do not stand once each and in order; a claim, a
            measurement, a paper's row or the address of the repository is wrong.
    """
    shown = load_published(stale)
    readme = root / "README.md"
    if not readme.is_file():
        raise FileError(f"{readme}: no such file")
    text = readme.read_text(encoding="utf-8")
    made = (badges(repository(root)), summary(shown), pictures(shown), scorecard(shown))
    for name, block in zip(BLOCKS, (*made, notebooks(shown)), strict=True):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise FileError(f"{readme}: expected one line {begin} and after it one line {end}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{block}{end}{rest.split(end)[1]}"
    return {readme: text, root / "docs" / "claims.md": claims_page(shown)}


def is_current(root: Path, stale: Stale) -> bool:
    """Whether README and the page of claims are those of today."""
    return all(
        file.is_file() and file.read_text(encoding="utf-8") == text
        for file, text in contents(root, stale).items()
    )


def write(root: Path, stale: Stale) -> None:
    """Write README's generated parts and the page of claims."""
    write_files({file: text.encode() for file, text in contents(root, stale).items()})


def repository(root: Path) -> str:
    """Address of the repository in ``pyproject.toml`` (urls, Repository); "" where none is set.

    Raises:
        FileError: it is not ``https://HOST/OWNER/NAME``.
    """
    file = root / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"] if file.is_file() else {}
    address = project.get("urls", {}).get("Repository", "").rstrip("/")
    parts = urlsplit(address)
    if address and (parts.scheme != "https" or parts.path.count("/") != 2):
        raise FileError(f"{file}: urls.Repository: {address}: expected https://HOST/OWNER/NAME")
    return address


def badges(address: str) -> str:
    """Badges of CI, Binder, licence and Python, from one address; nothing without it."""
    if not address:
        return ""
    owner_and_name = urlsplit(address).path.strip("/")
    binder = f"https://mybinder.org/v2/gh/{owner_and_name}/HEAD?urlpath=lab/tree/notebooks"
    shields = "https://img.shields.io/badge"
    shown = [
        ("CI", f"{address}/actions/workflows/ci.yml/badge.svg", f"{address}/actions"),
        ("Binder", "https://mybinder.org/badge_logo.svg", f"{binder}/00_tour.ipynb"),
        ("Licence: BSD 3-Clause", f"{shields}/licence-BSD--3--Clause-blue", "LICENSE"),
        ("Python 3.11 to 3.13", f"{shields}/python-3.11–3.13-blue", "pyproject.toml"),
    ]
    return "".join(f"[![{alt}]({image})]({link})\n" for alt, image, link in shown)


def summary(shown: Published) -> str:
    """A row a paper: how many of its claims hold, disagree and so on, on drawn and on real data."""
    lines = [row(["paper", *DATA.values()]), "| --- |" + " --- |" * len(DATA)]
    for name, paper in shown.papers.items():
        title = f"**[{paper.short}](#{paper.anchor})**: {paper.gist}" if paper else name
        claims = shown.of(name).values()
        found = {at: [shown.status(claim, at) for claim in claims] for at in DATA}
        lines.append(row([title, *map(_tally, found.values())]))
    earlier = Counter(at for claim, at in shown.measured if shown.is_earlier(claim, at))
    marked = [f"{earlier[at]} on {data}" for at, data in DATA.items() if earlier[at]]
    counted = f"{len(shown.claims)} claims" + f"; {EARLIER}: {', '.join(marked)}" * bool(marked)
    return "\n".join([*lines, "", f"{counted}.", ""])


def _tally(found: Sequence[Status]) -> str:
    """Such as "✔ 6 hold, ✘ 0 disagree"; beyond `ALWAYS`, only what is found stands there."""
    counts = {words: sum(map(found.count, under)) for words, under in TALLY.items()}
    shown = [words.format(n) for words, n in counts.items() if n or words in ALWAYS]
    return ", ".join(words.replace(" ", NO_BREAK).replace(NONE, DASH) for words in shown)


def pictures(shown: Published) -> str:
    """One published figure a paper, with what it shows and its values, where it is published.

    Raises:
        FileError: a figure is damaged.
    """
    text = ""
    for paper in filter(None, shown.papers.values()):
        place = paths.FIGURES / "default" / paper.picture.file
        if not place.with_suffix(".json").is_file():
            continue
        alt = figures.alt_text(figures.load_figure(place.parent, place.name).draw)
        file = f"figures/default/{paper.picture.file}"
        text += f'<img src="{file}.png" alt="{html.escape(alt)}" width="640">\n\n'
        text += f"*{paper.short}. {paper.picture.shows}* [Values]({file}.csv)\n\n"
    return text


def scorecard(shown: Published) -> str:
    """A section a paper with a line a claim: claim, status, the paper's value, ours.

    The status stands second, so that a phone shows it beside the claim.
    """
    text = []
    for name, paper in shown.papers.items():
        if paper:
            text += [f"### {paper.short}", ""]
            more = f"[Every claim in full](docs/claims.md#{paper.anchor}) · "
            more += f"[what is not reproduced](docs/not_reproduced.md#{paper.anchor})"
            text += [f"{name}, [{paper.title}]({paper.link}). {more}", ""]
        else:
            text += [f"### {name}", ""]
        text += [row(["claim", "status", "paper", "we get"]), "| --- | --- | ---: | ---: |"]
        for claim in shown.of(name).values():
            measurement = shown.measured.get((claim.id, "default"))
            ours = measured_text(claim, measurement) if measurement else NONE
            reported = NONE if claim.reported is None else f"{claim.reported:g}"
            status = shown.word(claim, "default")
            if (claim.id, "paper") in shown.measured:
                status += f"<br>real data: {shown.word(claim, 'paper')}"
            statement = f"[{claim.statement}](docs/claims.md#{claim.id})"
            text.append(row([statement, status, reported, ours]))
        text.append("")
    return "\n".join([*text, *shown.dagger])


def notebooks(shown: Published) -> str:
    """A table a paper with a row a notebook: its question, its claims, its figures.

    Raises:
        FileError: a notebook is missing.
    """
    text = []
    for name, paper in shown.papers.items():
        claims = shown.of(name)
        found = {claim.notebook for claim in claims.values()} | {*(paper.settings if paper else {})}
        text += [f"{paper.short if paper else name}:", ""]
        text += [row(["notebook", "question", "claims", "figures and values"]), "| --- " * 4 + "|"]
        for notebook in sorted(found):
            measured = [key for key, claim in claims.items() if claim.notebook == notebook]
            folder = f"figures/default/{notebook}"
            text.append(
                row(
                    [
                        f"[{notebook}](notebooks/{notebook}.ipynb)",
                        question(paths.NOTEBOOKS / f"{notebook}.py"),
                        claim_links(measured) or NONE,
                        f"[figures]({folder})" if (paths.ROOT / folder).is_dir() else NONE,
                    ]
                )
            )
        text.append("")
    return "\n".join(text)


def claims_page(shown: Published) -> str:
    """The page of all claims: measure, threshold, settings side by side, command, notes."""
    text = [
        "# Every claim in full",
        "",
        "<!-- Written by ./run_all.sh scorecard and publish from data/claims, data/papers.yaml and",
        "figures/. -->",
        "",
        "What a claim's number is, what must hold, and the paper's setting beside ours. ± is the",
        "standard deviation over draws of images, not over trainings, unless a note says more.",
        f"“{NONE}” in the paper's column: no value could be read.",
        "[README](../README.md#what-the-statuses-mean) says what the statuses mean.",
        "",
        *shown.dagger,
    ]
    for name, paper in shown.papers.items():
        text += [f"## {paper.short if paper else name}", ""]
        if paper:
            text += [f"{name}, [{paper.title}]({paper.link})", ""]
        for claim in shown.of(name).values():
            text += _claim(
                shown, claim, (paper.settings if paper else {}).get(claim.notebook, NONE)
            )
    return "\n".join(text)


def _claim(shown: Published, claim: Claim, setting: str) -> list[str]:
    reported = NONE if claim.reported is None else f"{claim.reported:g} ({claim.source})"
    runs = [shown.measured.get((claim.id, profile)) for profile in PUBLISHED]
    words = [shown.word(claim, profile) for profile in PUBLISHED]
    values = [measured_text(claim, run) if run else NONE for run in runs]
    scales = [_setting(run) if run else NONE for run in runs]
    said = ["; ".join(notes(claim, run)) if run else "" for run in runs]
    rows = [
        ["status", "", *words],
        ["value", reported, *values],
        ["setting", setting, *scales],
        ["command", "", *(_command(shown, claim, profile) for profile in PUBLISHED)],
    ]
    if any(said):
        rows.append(["note", "", *said])
    links = f"[{claim.notebook}](../notebooks/{claim.notebook}.ipynb)"
    return [
        f'<a id="{claim.id}"></a>',
        "",
        f"### {claim.statement}",
        "",
        f"{claim.where}, measured in {links}. *{claim.quantity}* ({claim.unit}) must be "
        f"{claim.check}.",
        "",
        row(["", "the paper", *(f"{DATA[profile]} (profile {profile})" for profile in PUBLISHED)]),
        "| --- | --- | --- | --- |",
        *(row(cells) for cells in rows),
        "",
    ]


def _command(shown: Published, claim: Claim, profile: str) -> str:
    if profile not in claim.profiles:
        return "none: not measured in this profile"
    notebook = claim.notebook
    words = "./run_all.sh" if profile == "default" else f"./run_all.sh --profile {profile}"
    cost = shown.costs.get((notebook, profile), "")
    return f"`{words} --only {notebook}`" + (f"<br>{cost}" if cost else "")


def _setting(run: Measurement) -> str:
    source = run.source if run.altered in run.source else f"{run.source} ({run.altered})"
    return "; ".join(text for text in (run.scale, source, run.model) if text)


def row(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
