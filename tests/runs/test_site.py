"""The sources of the site, which tests/system/test_site.py builds and looks at in a browser."""

import re

import pytest

from paperlib.runs import site

TREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    site.assemble(folder)
    return folder


def test_every_page_but_the_first_stands_in_contents_or_says_that_it_does_not(sources):
    """Sphinx would warn of it: a page that README links to, but that no list names."""
    pages = {page: page.read_text("utf-8") for page in sources.rglob("*.md")}
    lists = " ".join(tree for text in pages.values() for tree in TREE.findall(text)).split()
    trees = {name for name in lists if not name.startswith(":")}  # no options of the list
    alone = {page for page, text in pages.items() if text.startswith("---\norphan: true\n")}
    shown = (pages.keys() - alone) | set(sources.rglob("*.ipynb"))
    names = {page.relative_to(sources).with_suffix("").as_posix() for page in shown}
    assert names == {*trees, "index"}
