"""The changelog of published numbers, and the citation."""

import pytest
import yaml

from paperlib import __version__
from paperlib.names import ROOT
from paperlib.notebook.claims import measure
from paperlib.runs import changelog

ABOUT = {"profile": "default", "dataset": "openmoji", "seed": 0, "scale": "s", "source": "s"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(changelog, "FILE", tmp_path / "CHANGELOG.md")
    return tmp_path / "CHANGELOG.md"


def test_only_what_is_not_as_it_was_is_told():
    then = {"a": "1, disagrees", "b": "2, scaled-down", "c": "3, disagrees"}
    now = {"a": "1, disagrees", "b": "2, disagrees", "d": "4, disagrees"}
    assert changelog.differences(then, then) == []
    assert changelog.differences(then, now) == [
        "`b`: 2, scaled-down → 2, disagrees",
        "`c`: 3, disagrees → no longer measured",
        "`d`: not measured → 4, disagrees",
    ]
    unknown = {"a": "1", "b": "3", "d": "4, disagrees"}
    assert changelog.differences(unknown, now) == ["`b`: 3 → 2, disagrees"]


def test_means_are_those_of_a_folder(tmp_path):
    assert changelog.means(tmp_path) == {}
    measure("freq-1-linear", [0.7, 0.8], folder=tmp_path, **ABOUT)
    (tmp_path / "claims/gone.json").write_text("{}")
    assert changelog.means(tmp_path) == {"freq-1-linear": "0.75, scaled-down"}
    assert changelog.means(tmp_path, {}) == {"freq-1-linear": "0.75"}
    (tmp_path / "claims/freq-1-linear.json").write_text("{}")
    assert changelog.means(tmp_path) == {"freq-1-linear": "in a form that is no longer read"}


def test_entries_stand_newest_first_under_their_heading_and_nothing_is_lost(file):
    changelog.note("01_one", "default", [], [])
    assert not file.exists()
    file.write_text("# Changes\n\nWords.\n\n## Since the last version\n\n## 0.1.0\n\nOld.\n")
    changelog.note("01_one", "default", ["sizes"], ["`a`: 1 → 2"])
    changelog.note("02_two", "paper", ["a", "b", "c", "d", "e", "f", "g"], ["`b`: 1 → 2"])
    assert file.read_text() == (
        "# Changes\n\nWords.\n\n## Since the last version\n\n"
        "- 02_two, paper profile; changed: a, b, c, d, e and 2 more\n  - `b`: 1 → 2\n\n"
        "- 01_one, default profile; changed: sizes\n  - `a`: 1 → 2\n\n## 0.1.0\n\nOld.\n"
    )


def test_a_publisher_gives_reasons_for_an_entry_and_for_single_claims(file):
    said = ["`a`: 1, scaled-down → 2, disagrees", "`b`: 1 → 2"]
    because = ["a: the paper's recipe has no ring", "c: is no claim of it", "seeds are drawn apart"]
    because += ["pedsam-exact: is a claim of another notebook"]
    changelog.note("01_one", "default", ["sizes"], said, because)
    assert file.read_text().endswith(
        "\n- 01_one, default profile; changed: sizes; because: c: is no claim of it; "
        "because: seeds are drawn apart\n"
        "  - `a`: 1, scaled-down → 2, disagrees; the paper's recipe has no ring\n"
        "  - `b`: 1 → 2\n"
    )


def test_without_a_file_one_is_begun(file):
    changelog.note("01_one", "default", [], ["`a`: 1 → 2"])
    text = file.read_text()
    assert text.startswith("# Changes\n\n## Since the last version\n\n- 01_one, default profile; ")
    assert text.endswith("  - `a`: 1 → 2\n")


def test_the_committed_one_has_the_heading():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.count(changelog.TOP) == 1
    assert f"\n## {__version__}\n" in text


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    assert cited["license"] == "BSD-3-Clause"
    papers = yaml.safe_load((ROOT / "data/papers.yaml").read_text(encoding="utf-8"))
    told = {one["url"]: (one["title"], one["authors"][0]["name"]) for one in cited["references"]}
    assert told == {
        one["link"]: (one["title"], name.rpartition(" ")[0]) for name, one in papers.items()
    }


def test_many_files_of_a_folder_are_named_together():
    names = ["a", *(f"data/sets/{k}.png" for k in range(4)), "data/one/x", "data/one/y", "sizes"]
    together = ["a", "data/sets/ (4 files)", "data/one/x", "data/one/y", "sizes"]
    assert changelog.together(names) == together
    assert changelog.together([]) == []
