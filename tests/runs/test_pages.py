"""README's generated parts and the page of claims, and never anything stale as current."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from paperlib import paths
from paperlib.files import FileError
from paperlib.notebook import figures, provenance
from paperlib.notebook.claims import Status, measure
from paperlib.runs import notebook_rows, pages

ROW, SECOND = yaml.safe_load((Path(__file__).parents[1] / "claims.yaml").read_text())
SECOND |= {"statement": "B is ten."}
OTHER = ROW | {"id": "b-1", "paper": "Nobody 1999", "statement": "C is there."}
PAPER = {
    "short": "Two letters",
    "title": "On A and B",
    "link": "https://example.org/a",
    "gist": "letters",
    "picture": {"file": "01_spectrum/classes", "shows": "A beside B."},
    "settings": {"01_spectrum": "a thousand letters"},
}
RUN = {"dataset": "openmoji", "seed": 0, "scale": "20 images, 3 seeds", "source": "scenes"}
STALE = {("01_spectrum", "default")}
README = "# Title\n\nFirst\n" + "".join(
    f"<!-- {name}:begin -->\nold text\n<!-- {name}:end -->\n" for name in pages.BLOCKS
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with three claims of two papers, one of them described, and no measurement."""
    for name in ("CLAIMS", "FIGURES", "ROOT"):
        place = {"CLAIMS": tmp_path / "data/claims", "ROOT": tmp_path}
        monkeypatch.setattr(paths, name, place.get(name, tmp_path / name.lower()))
    (tmp_path / "data/claims").mkdir(parents=True)
    write_claims(tmp_path, [OTHER, ROW, SECOND])
    (tmp_path / "data/papers.yaml").write_text(yaml.safe_dump({"Author 2020": PAPER}))
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


def write_claims(folder, rows):
    (folder / "data/claims/x.yaml").write_text(yaml.safe_dump({"claims": rows}))


def take(project, values, claim="a-1", profile="default", **changes):
    folder = project / "figures" / profile / "01_spectrum"
    return measure(claim, values, folder=folder, profile=profile, **(RUN | changes))


def texts(project, stale=()):
    """README and the page of claims."""
    made = pages.contents(project, stale)
    return made[project / "README.md"], made[project / "docs/claims.md"]


def line(text, start):
    """The cells of the one row that holds a text."""
    (found,) = [row for row in text.splitlines() if row.startswith("|") and start in row]
    return found.strip("| ").split(" | ")


def test_every_status_has_a_mark_and_a_place_in_the_summary():
    counted = [status for under in pages.TALLY.values() for status in under]
    assert set(get_args(Status)) <= set(pages.MARKS)
    assert sorted([*counted, "no status"]) == sorted(pages.MARKS)


def test_a_line_a_claim_and_a_status_a_profile(project):
    take(project, [0.15, 0.2, 0.25])
    take(project, [12.25, 12.3], claim="a-2", profile="paper", dataset="cifar10")
    readme, _ = texts(project)
    assert line(readme, "A is larger.") == [
        "[A is larger.](docs/claims.md#a-1)",
        "✔ scaled-down",
        "–",
        "0.200 ± 0.050",
    ]
    assert line(readme, "B is ten.")[1:] == ["– not run<br>real data: ✘ disagrees", "10", "–"]


def test_a_row_a_paper_described_ones_first(project):
    take(project, [0.1])
    take(project, [10], claim="a-2", profile="paper", dataset="cifar10")
    readme, page = texts(project)
    summary = readme.split("<!-- summary:begin -->")[1].split("<!-- summary:end -->")[0]
    assert "–\u2060\u00a01\u00a0not\u00a0run" in summary  # which no line breaks apart
    summary = summary.replace("\u2060", "").replace("\u00a0", " ")
    rows = [row for row in summary.splitlines() if row.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| **[Two letters](#two-letters)**: letters",
        "| Nobody 1999",
    ]
    none = "✔ 0 hold, ✘ 0 disagree, – 1 not run"
    one = none.replace("0 hold", "1 hold")
    assert rows[2].split(" | ")[1:] == [one, f"{one} |"]
    assert rows[3].split(" | ")[1:] == [none, f"{none} |"]
    assert "3 claims." in summary
    for text in (readme, page):
        assert text.index("## Two letters") < text.index("## Nobody 1999")


def test_a_tally_says_what_is_found_and_always_what_holds_and_what_does_not(project):
    changes = {"interval": (-1.0, 3.0), "over": "images"}
    take(project, [1.0], **changes)
    summary = texts(project)[0].split("<!-- summary:begin -->")[1]
    assert "✔ 0 hold, ✘ 0 disagree, ? 1 undecided, –" in summary.replace("\u00a0", " ")


def test_a_row_a_notebook_with_its_question_and_its_claims(project, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", project / "notebooks")
    (project / "notebooks").mkdir()
    with pytest.raises(FileError, match="01_spectrum.py: no such file"):
        texts(project)
    head = "# # 1 · Letters\n#\n# **Question.** Which letters\n# are there?\n#\n# More.\n"
    (project / "notebooks/01_spectrum.py").write_text(head, encoding="utf-8")
    rows = texts(project)[0].split("<!-- notebooks:begin -->")[1]
    assert rows.index("Two letters:") < rows.index("Nobody 1999:")
    described, _ = rows.split("Nobody 1999:")
    asked = line(described, "01_spectrum.ipynb")
    assert asked[0] == "[01_spectrum](notebooks/01_spectrum.ipynb)"
    assert asked[1:] == [
        "Which letters are there?",
        *[notebook_rows.claim_links(["a-1", "a-2"]), "–"],
    ]
    take(project, [0.1])
    assert texts(project)[0].count("[figures](figures/default/01_spectrum)") == 2


@pytest.mark.parametrize(
    ("head", "asked"),
    [
        ("# %% [markdown]\n# # 16 · An echo\n\n# %%\n", "An echo"),
        ("# **Question.** A or B?\n# %%\n", "A or B?"),
        ("x = 1\n", "–"),
    ],
)
def test_a_notebook_that_asks_nothing_is_shown_by_its_title(tmp_path, head, asked):
    file = tmp_path / "16_echo.py"
    file.write_text(head, encoding="utf-8")
    assert notebook_rows.question(file) == asked


def test_claims_are_linked_by_the_words_of_their_ids():
    ids = ["x-1-a-resnet", "x-jpeg", "x-1-a-vit", "x-2-sam-view"]
    place = "docs/claims.md#"
    a = f"a ([resnet]({place}x-1-a-resnet), [vit]({place}x-1-a-vit))"
    assert (
        notebook_rows.claim_links(ids)
        == f"{a}, [jpeg]({place}x-jpeg), [sam view]({place}x-2-sam-view)"
    )
    assert notebook_rows.claim_links([]) == ""


def test_the_page_has_both_settings_the_command_and_what_it_costs(project):
    changes = {"profile": "paper", "dataset": "cifar10", "altered": "JPEG", "note": "a|b"}
    take(project, [0.3, -0.1, 0.4], **changes)
    take(project, [0.2])
    for profile in ("default", "paper"):
        folder = project / "figures" / profile / "01_spectrum"
        cost = {"cpu_seconds": 170, "peak_mb": 900}
        (folder / provenance.FILE).write_text(json.dumps({"cost": cost}))
    _, page = texts(project)
    text = page.split('<a id="a-1"></a>')[1].split("<a id")[0]
    assert "Table 1" in text
    assert "*A minus B* (share) must be > 0." in text
    assert line(text, "value") == ["value", "–", "0.200", "0.200 ± 0.265"]
    altered = "20 images, 3 seeds; scenes (JPEG)"
    assert line(text, "setting")[1:] == [
        "a thousand letters",
        "20 images, 3 seeds; scenes",
        altered,
    ]
    assert line(text, "command")[2:] == [
        "`./run_all.sh --only 01_spectrum`<br>3 minutes of one core, 900 MB",
        "`./run_all.sh --profile paper --only 01_spectrum`<br>3 minutes of one core, 900 MB",
    ]
    assert r"a\|b; over 3 draws -0.457 to 0.857 share (95 %)" in text
    assert line(page, "value | 10")[1] == "10 (Table 2)"


def test_stale_results_are_marked_and_counted(project):
    take(project, [0.1])
    take(project, [0.1], profile="paper", dataset="cifar10")
    for text in texts(project):
        assert "†" not in text
    readme, page = texts(project, STALE)
    assert line(readme, "A is larger.")[1] == "✔ scaled-down †<br>real data: ✔ reproduced"
    assert line(page, "reproduced") == ["status", "", "✔ scaled-down †", "✔ reproduced"]
    assert "3 claims; from earlier code: 1 on drawn data." in readme
    for text in (readme, page):
        assert "† from earlier code" in text
    assert texts(project, {("02_rct", "default")}) == texts(project)


def test_a_profile_that_is_not_published_is_refused(project):
    measure("a-1", [0.1], folder=project / "figures/default/01_spectrum", profile="smoke", **RUN)
    with pytest.raises(FileError, match="a-1: profile: smoke has no place"):
        texts(project)


def test_write_replaces_what_stands_between_the_marks_alone(project):
    take(project, [0.1])
    assert not pages.is_current(project, ())
    pages.write(project, ())
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nFirst\n<!-- badges:begin -->\n<!-- badges:end -->\n")
    assert "old text" not in text
    assert pages.is_current(project, ())
    assert not pages.is_current(project, STALE)
    pages.write(project, ())
    assert (project / "README.md").read_text(encoding="utf-8") == text
    (project / "docs/claims.md").unlink()
    assert not pages.is_current(project, ())


def test_they_are_not_current_after_a_measurement_or_a_claim_changed(project):
    pages.write(project, ())
    take(project, [0.1], profile="paper", dataset="cifar10")
    assert not pages.is_current(project, ())
    pages.write(project, ())
    write_claims(project, [ROW | {"statement": "A is much larger."}, SECOND])
    assert not pages.is_current(project, ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<!-- summary:begin -->", ""),
        ("<!-- scorecard:end -->", ""),
        ("<!-- badges:begin -->", "<!-- badges:begin --><!-- badges:begin -->"),
        ("<!-- pictures:begin -->\nold text\n<!-- pictures:end -->",
         "<!-- pictures:end --><!-- pictures:begin -->"),
    ],
)  # fmt: skip
def test_a_readme_without_its_marks_fails_and_stays(project, old, new):
    assert old in README
    (project / "README.md").write_text(README.replace(old, new), encoding="utf-8")
    with pytest.raises(FileError, match="README.md: expected one line"):
        pages.write(project, ())
    assert (project / "README.md").read_text(encoding="utf-8") == README.replace(old, new)
    assert not (project / "docs").exists()


def test_a_missing_readme_and_a_wrong_paper_are_named(project):
    (project / "data/papers.yaml").write_text(yaml.safe_dump({"Author 2020": PAPER | {"no": 1}}))
    with pytest.raises(FileError, match=r"papers.yaml: no: Extra inputs"):
        texts(project)
    (project / "data/papers.yaml").unlink()
    (project / "README.md").unlink()
    with pytest.raises(FileError, match="README.md: no such file"):
        texts(project)


def classes(table):
    """Letters "A" & B, side by side."""


def test_a_picture_has_its_text_and_its_values(project, monkeypatch):
    readme, _ = texts(project)
    assert "<img" not in readme
    folder = project / "figures/default/01_spectrum"
    folder.mkdir(parents=True)
    (folder / "classes.json").write_text("{}")
    saved = figures.SavedFigure(classes, {}, {})
    monkeypatch.setattr(figures, "load_figure", lambda place, name: saved)
    readme, _ = texts(project)
    place = "figures/default/01_spectrum/classes"
    alt = "Letters &quot;A&quot; &amp; B, side by side."
    assert f'<img src="{place}.png" alt="{alt}" width="640">' in readme
    assert f"*Two letters. A beside B.* [Values]({place}.csv)" in readme


def test_badges_come_from_one_address_and_are_not_shown_without_it(project):
    assert pages.badges(pages.repository(project)) == ""
    write = (project / "pyproject.toml").write_text
    write('[project.urls]\nRepository = "https://example.org/owner/name/"\n')
    shown = pages.badges(pages.repository(project))
    assert len(shown.splitlines()) == 4
    for alt in ("CI", "Binder", "Licence", "Python"):
        assert re.search(rf"^\[!\[{alt}", shown, re.MULTILINE)
    assert "(https://example.org/owner/name/actions)" in shown
    assert "mybinder.org/v2/gh/owner/name/HEAD" in shown
    pages.write(project, ())
    assert shown in (project / "README.md").read_text(encoding="utf-8")
    write('[project.urls]\nRepository = "example.org/name"\n')
    with pytest.raises(FileError, match="urls.Repository: example.org/name: expected https://"):
        pages.repository(project)
