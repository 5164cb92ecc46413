"""What tests read from a figure of matplotlib."""


def lines(ax):
    """Points of every line by its label."""
    return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}


def titles(figure):
    return [ax.get_title() for ax in figure.axes]
