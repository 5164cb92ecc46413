"""Choose an assignment in JupyterLab and see what each server gets (ipywidgets)."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
from jaxtyping import Float
from torch import Tensor

from paperlib.notebook.figures import assignment_map, image_row
from paperlib.pedsam.split.partition import WindowGrid, assign, owner_map

SECRET = b"shown, so no secret"


def show_assignment(
    image: Float[Tensor, "3 size size"],
    grid: WindowGrid,
    kind: str,
    servers: int,
    server: int,
    frame: int,
) -> plt.Figure:
    """Who gets which window, and the view of one server.

    Args:
        image: RGB in [0, 1].
        grid: of the encoder.
        kind, servers, frame: as for `assign`.
        server: whose view is shown; counted round if there are fewer.
    """
    assignment = assign(kind, grid.count, servers, grid, SECRET, frame)
    patch, server = image.shape[-1] // grid.tokens, server % servers
    owner = owner_map(grid, assignment, patch)
    seen = owner == server
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.5))
    assignment_map(axes[0], image.numpy(), owner.numpy(), patch * grid.window)
    view = (image * seen)[None].numpy()
    image_row(axes[1:], view, [f"server {server}: {100 * seen.float().mean():.0f} %"])
    return figure


def explorer(image: Float[Tensor, "3 size size"], grid: WindowGrid) -> widgets.Widget:
    """Controls for `show_assignment` with its picture below."""

    def draw(kind: str, servers: int, server: int, frame: int) -> None:
        show_assignment(image, grid, kind, servers, server, frame)
        plt.show()

    return widgets.interactive(
        draw,
        kind=["contiguous", "interleaved", "random"],
        servers=widgets.IntSlider(4, 1, grid.count),
        server=widgets.IntSlider(0, 0, grid.count - 1),
        frame=widgets.IntSlider(0, 0, 10),
    )
