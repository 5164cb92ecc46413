"""The published figures are what their functions draw of the published tables."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from paperlib.notebook import figures, provenance
from paperlib.notebook.claims import load_claims
from paperlib.paths import FIGURES, NOTEBOOKS
from paperlib.runs.check import PUBLISHED, saved_figures
from paperlib.runs.pages import load_published
from paperlib.runs.table import read_table

SAVED = [
    (folder, name)
    for profile in PUBLISHED
    for folder in sorted((FIGURES / profile).glob("*"))
    if provenance.load(folder)["parts"]
    for name in saved_figures(folder)
]


@pytest.mark.parametrize(("folder", "name"), SAVED, ids=lambda part: getattr(part, "name", part))
def test_a_published_picture_is_drawn_of_its_table(folder, name):
    published = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"), dtype=int)
    drawn = Image.open(io.BytesIO(figures.load_figure(folder, name).render())).convert("RGB")
    drawn = np.asarray(drawn, dtype=int)
    assert drawn.shape == published.shape
    # Fonts are rendered alike by the same version of matplotlib; a line that moves differs by more.
    assert (np.abs(drawn - published).max(-1) > 8).mean() < 1e-4


def test_no_notebook_took_more_memory_than_its_head_and_its_row_say():
    for name, entry in read_table().items():
        source = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
        (head,) = re.findall(r"^# \| [^|]*\b(?:all|default)\b.* under ([\d.]+) GB", source, re.M)
        peak = provenance.load(entry.published("default"))["cost"]["peak_mb"]
        assert peak < 1024 * float(head), name
        assert peak < 1.05 * entry.row.memory["default"], name  # it varies a little


def test_the_default_column_is_there():
    measured = {claim.notebook for claim in load_claims().values()}
    assert measured <= {folder.name for folder, _ in SAVED if folder.parent.name == "default"}


def test_every_interval_holds_its_value():
    """Where it does not, the two are of different quantities."""
    found = [m for m in load_published(()).measured.values() if m.interval]
    for each in found:
        low, high = each.interval
        assert low <= np.mean(each.values) <= high, each.claim
    assert len(found) > 20


def test_every_paper_is_described_and_its_picture_published():
    shown = load_published(())
    assert None not in shown.papers.values()
    for name, paper in shown.papers.items():
        assert {claim.notebook for claim in shown.of(name).values()} <= set(paper.settings)
        picture = FIGURES / "default" / paper.picture.file
        assert picture.with_suffix(".png").is_file()
        assert picture.with_suffix(".csv").is_file()
