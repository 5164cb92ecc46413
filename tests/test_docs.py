"""README and the pages: every link leads somewhere, and no address is shown that was not set."""

import re

import pytest

from paperlib.names import notebooks
from paperlib.paths import FIGURES, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(text):
    """Of the headings, as GitHub makes them, and those that are written out."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = ["".join(found) for found in LINK.findall(text)]
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        to_come = target.parent == FIGURES / "default" and target.name in notebooks()
        assert target.exists() or to_come, link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_names_every_notebook_and_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in notebooks():
        assert f"(notebooks/{name}.ipynb)" in readme
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"(docs/{page.name})" in readme


def test_readme_begins_with_what_it_is_the_commands_and_the_verdicts_then_pictures_then_claims():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    order = ["./run_all.sh`", "./run_all.sh test`", "<!-- summary:begin", "<img ", "## The claims"]
    places = [readme.index(part) for part in order]
    assert places == sorted(places)
    assert len(re.sub(r"\]\([^)]*\)", "]", readme[: places[3]]).split()) < 360  # about one screen
