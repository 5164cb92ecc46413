"""Figure of the tour that no paper has."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from paperlib.notebook.figures import BLUE, ORANGE


def calibration(table: pd.DataFrame) -> Figure:
    """Accuracy of a CLIP at few bits as bars by its calibration images; dashed: before."""
    figure, ax = plt.subplots(figsize=(7, 2.6))
    colours = [ORANGE if name == "D4C" else BLUE for name in table.images]
    bars = ax.barh(table.images, table.accuracy, color=colours)
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.axvline(table.whole.iloc[0], color="0.4", linestyle="--", linewidth=1)
    ax.invert_yaxis()
    ax.set(xlim=(0, 105), xlabel=f"zero-shot Top-1 at {table.bits.iloc[0]} (%)")
    return figure
