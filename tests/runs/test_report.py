"""The report of a run: its verdict, its claims, and links that lead somewhere."""

import json
import re
import shutil
from urllib.parse import unquote

import pytest

from paperlib.files import FileError
from paperlib.paths import FIGURES, NOTEBOOKS
from paperlib.runs import report

NAME = "01_spectrum"


@pytest.fixture
def run(tmp_path):
    """The published results of a notebook, as those of a run."""
    run = tmp_path / "default-openmoji-seed0"
    shutil.copytree(FIGURES / "default" / NAME, run / NAME)
    shutil.copy(NOTEBOOKS / f"{NAME}.ipynb", run)
    return run


def test_a_run_of_the_published_values_is_reproduced_and_links_lead_to_pages(run, capfd):
    first = report.build(run)
    assert first == run / "report" / "index.html"
    text = first.read_text(encoding="utf-8")
    said, whole = re.search(r"You reproduced it: ([\d,]+) of ([\d,]+) values", text).groups()
    assert said == whole
    assert "A linear model puts its weight" in text
    assert capfd.readouterr().err == ""
    pages = list(first.parent.rglob("*.html"))
    assert {f"notebooks/{NAME}.html", f"values/{NAME}/index.html"} <= {
        str(page.relative_to(first.parent)) for page in pages
    }
    for page in pages:
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            if not link.startswith(("https:", "data:", "#")):
                address = unquote(link).partition("#")[0].partition("?")[0]
                assert (page.parent / address).is_file(), f"{page}: {link}"


def test_another_value_is_said_first(run):
    file = run / NAME / "claims" / "freq-1-transfer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"values": [-x for x in content["values"]]}))
    text = report.build(run).read_text(encoding="utf-8")
    assert "You did not reproduce it" in text
    assert "✘ disagrees" in text


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(FileError, match="no results of a run are here"):
        report.build(tmp_path)
    assert not (tmp_path / "report").exists()
