"""Choose an assignment in JupyterLab and see what each server gets (ipywidgets)."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
from jaxtyping import UInt8
from numpy import ndarray

from paperlib.notebook.figures import image_row
from paperlib.pedsam.encoding import assignment_table
from paperlib.pedsam.plots import assignment_map, view
from paperlib.pedsam.split.partition import KINDS, WindowGrid, assign

SECRET = b"shown, so no secret"


def show_assignment(
    image: UInt8[ndarray, "size size 3"],
    grid: WindowGrid,
    kind: str,
    servers: int,
    server: int,
    frame: int,
) -> plt.Figure:
    """Who gets which window, and the view of one server.

    Args:
        image: RGB, 0 to 255.
        grid: of the encoder.
        kind, servers, frame: as for `assign`.
        server: whose view is shown, below `servers`.
    """
    assignment = assign(kind, grid.count, servers, grid, SECRET, frame)
    boxes = grid.contents(*image.shape[:2], image.shape[0] // grid.tokens)
    windows = assignment_table(assignment, boxes)
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.5))
    assignment_map(axes[0], image, windows)
    seen = view(image, windows[windows.server == server])
    image_row(axes[1:], seen[None], [f"server {server}"])
    return figure


def explorer(image: UInt8[ndarray, "size size 3"], grid: WindowGrid) -> widgets.Widget:
    """Controls for `show_assignment` with its picture below.

    The slider of the server ends at the last of as many servers as are chosen.
    """
    servers = widgets.IntSlider(4, 1, grid.count)
    server = widgets.IntSlider(0, 0, servers.value - 1)
    servers.observe(lambda change: setattr(server, "max", change.new - 1), "value")

    def draw(kind: str, servers: int, server: int, frame: int) -> None:
        show_assignment(image, grid, kind, servers, server, frame)
        plt.show()

    return widgets.interactive(
        draw,
        kind=list(KINDS),
        servers=servers,
        server=server,
        frame=widgets.IntSlider(0, 0, 10),
    )
