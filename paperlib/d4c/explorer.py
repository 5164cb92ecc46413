"""Choose a prompt in JupyterLab, and see its synthesised image and the prompts most like that."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
from jaxtyping import UInt8
from numpy import ndarray

from paperlib.d4c.synthesis_plots import prompt_picture


def show_prompt(
    table: pd.DataFrame, pixels: UInt8[ndarray, "n height width 3"], image: int
) -> plt.Figure:
    """The picture that was made for a prompt, and beside it the prompts that it is most similar to.

    Args:
        table: of `paperlib.d4c.tables.similar_prompts`.
        pixels: the pictures, RGB, 0 to 255.
        image: number of the picture.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), width_ratios=[1, 2])
    prompt_picture(axes, table[table.image == image], pixels[image])
    return figure


def explorer(table: pd.DataFrame, pixels: UInt8[ndarray, "n height width 3"]) -> widgets.Widget:
    """A choice of the prompts of all pictures for `show_prompt`, with its picture below."""
    own = table.drop_duplicates("image").sort_values(["prompt", "image"])
    choices = [(f"{row.prompt} ({row.image})", row.image) for row in own.itertuples()]

    def draw(prompt: int) -> None:
        show_prompt(table, pixels, prompt)
        plt.show()

    return widgets.interactive(draw, prompt=choices)
