"""The tour's own figure shows its values, and the tour makes all that it shows."""

import pandas as pd
import pytest

from paperlib.paths import NOTEBOOKS
from paperlib.tour import plots


def test_bars_are_the_accuracies_and_the_line_is_the_whole_model():
    rows = {"images": ["real images", "D4C"], "accuracy": [70.0, 60.5], "bits": "W4A3", "whole": 90}
    figure = plots.calibration(pd.DataFrame(rows))
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [70.0, 60.5]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["real images", "D4C"]
    (line,) = ax.lines
    assert set(line.get_xdata()) == {90}
    assert "W4A3" in ax.get_xlabel()
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


@pytest.mark.parametrize("word", ["outputs_dir", "figures/", "FIGURES", "read_csv", "load_figure"])
def test_the_tour_reads_no_earlier_result(word):
    assert word not in (NOTEBOOKS / "00_tour.py").read_text(encoding="utf-8")
