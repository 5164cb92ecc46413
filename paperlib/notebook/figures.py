"""One style for every figure, and saving a figure with its numbers.

The colours are from seaborn's colour-blind palette, without those that are too pale on white, and
near-black. Each paper gives them to what it tells apart.
"""

import importlib
import inspect
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from paperlib.code import code_hash, with_imports
from paperlib.files import FileError, fingerprint, write_files

Draw = Callable[..., Figure]  # (table) or (table, pixels), named as its figure

DPI = 200
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"
GREY, SKY, BLACK, BROWN = "#949494", "#56b4e9", "#222222", "#ca9161"


def style() -> None:
    """Set seaborn's and matplotlib's defaults for every figure of this project.

    Figures are to be drawn at most 8 inches wide; text then reads at half the page's width. The
    font is the one that matplotlib brings, so that a figure is the same on every machine.
    """
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "axes.grid": False,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 12,
            "axes.labelsize": 12,
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.figsize": (7.0, 4.2),
            "font.size": 12,
            "image.cmap": "viridis",
            "legend.fontsize": 11,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "savefig.dpi": DPI,
            "xtick.labelsize": 11,
            "ytick.labelsize": 11,
        }
    )


def save_figure(
    draw: Draw,
    table: pd.DataFrame,
    pixels: Mapping[str, np.ndarray] | None,
    folder: Path,
    parameters: Mapping[str, Any],
    inputs: str,
) -> None:
    """Write ``NAME.csv``, ``NAME.npz`` (pixels, if any), ``NAME.json`` and ``NAME.png``, or none.

    The picture is drawn from the table as it is read back, so `redraw` gives the same one. The
    same table and parameters give the same bytes.

    Args:
        draw: its name is that of the files.
        table: written to 6 significant digits, without the index.
        pixels: uint8 arrays by name.
        folder: made if it is missing.
        parameters: what the figure was made with, the seed among it.
        inputs: hash of what decides the values.

    Raises:
        ValueError: `table` is empty or has a named index, which would be lost; pixels are not
            uint8; `parameters` has no seed or cannot be written as JSON.
    """
    name = draw.__name__
    if table.empty:
        raise ValueError(f"values of {name}: no rows")
    if any(level is not None for level in table.index.names):
        raise ValueError(f"values of {name}: the index would be lost; call reset_index() first")
    if "seed" not in parameters:
        raise ValueError(f"parameters of {name}: no seed")
    if any(array.dtype != np.uint8 for array in (pixels or {}).values()):
        raise ValueError(f"pixels of {name}: valid are arrays of uint8")
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    files = {folder / f"{name}.csv": text.encode()}
    if pixels:
        packed = io.BytesIO()
        np.savez_compressed(packed, **pixels)
        files[folder / f"{name}.npz"] = packed.getvalue()
    about = {"figure": name, "drawn_by": draw.__module__, "parameters": dict(parameters)}
    figure = SavedFigure(draw, files, about | {"inputs": inputs})
    write_files(files | figure.drawn(folder))
    if not pixels:
        (folder / f"{name}.npz").unlink(missing_ok=True)


@dataclass(frozen=True)
class SavedFigure:
    """A figure as it is saved.

    Attributes:
        draw: what draws it.
        files: content of its table (.csv) and of its pixels (.npz), if it has any, by file.
        about: what its JSON says.
    """

    draw: Draw
    files: Mapping[Path, bytes]
    about: Mapping[str, Any]

    @property
    def table(self) -> pd.DataFrame:
        """Its values as they are read back."""
        content = next(content for file, content in self.files.items() if file.suffix == ".csv")
        return pd.read_csv(io.BytesIO(content))

    @property
    def pixels(self) -> dict[str, np.ndarray]:
        """Its pixels by name."""
        packed = [content for file, content in self.files.items() if file.suffix == ".npz"]
        return dict(np.load(io.BytesIO(packed[0]))) if packed else {}

    def looks(self) -> str:
        """Hash of what decides how it looks: the code that draws, the table, the pixels."""
        code = with_imports([Path(inspect.getsourcefile(self.draw))], all_of_them=True)
        return fingerprint([code_hash(file) for file in sorted(code)], list(self.files.values()))

    def render(self) -> bytes:
        """The picture as PNG, 200 dpi, in the style of this project."""
        with mpl.rc_context():
            style()
            pixels = self.pixels
            figure = self.draw(self.table, pixels) if pixels else self.draw(self.table)
            image = io.BytesIO()
            figure.savefig(image, format="png", dpi=DPI, metadata={"Software": None})
            plt.close(figure)
        return image.getvalue()

    def drawn(self, folder: Path) -> dict[Path, bytes]:
        """Content of its picture and of its JSON, by file."""
        about = dict(self.about) | {"looks": self.looks()}
        text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
        place = folder / self.draw.__name__
        return {
            place.with_suffix(".png"): self.render(),
            place.with_suffix(".json"): f"{text}\n".encode(),
        }


def redraw(folder: Path, name: str) -> None:
    """Draw a saved figure again from its table with the looks of today.

    Raises:
        FileError: a file of the figure is missing or damaged, or no function draws it any more.
    """
    write_files(load_figure(folder, name).drawn(folder))


def load_figure(folder: Path, name: str) -> SavedFigure:
    """A figure as it was saved.

    Raises:
        FileError: as for `redraw`.
    """
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        draw = getattr(importlib.import_module(about["drawn_by"]), name)
        files = {folder / f"{name}.csv": (folder / f"{name}.csv").read_bytes()}
        packed = folder / f"{name}.npz"
        if packed.is_file():
            files[packed] = packed.read_bytes()
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise FileError(
            f"{folder / name}: cannot be drawn again ({error}): run its notebook"
        ) from None
    return SavedFigure(draw, files, about)


def preview(folder: Path, name: str) -> bytes:
    """A saved figure for a notebook's page, half as large, as PNG."""
    with Image.open(folder / f"{name}.png") as picture:
        small = picture.convert("RGB").reduce(2)
    content = io.BytesIO()
    small.save(content, "PNG", optimize=True)
    return content.getvalue()


def alt_text(draw: Draw) -> str:
    """What is to be seen in a figure: the first sentence of the docstring of what draws it."""
    return " ".join((inspect.getdoc(draw) or "").split("\n\n")[0].split())


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int) -> None:
    """One legend below all panels, where it hides nothing: every label of these axes, once."""
    found: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(found.values(), found, loc="outside lower center", ncols=columns)


def band_curve(
    ax: Axes,
    x: ArrayLike,
    mean: ArrayLike,
    low: ArrayLike | None,
    high: ArrayLike | None,
    label: str,
    colour: str,
) -> None:
    """A curve with its confidence band from `low` to `high`, shaded; no band if they are None.

    All are (n,), in the units of the axes, which the caller labels.
    """
    ax.plot(x, mean, color=colour, label=label)
    if low is not None and high is not None:
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def as_pixels(images: ArrayLike) -> np.ndarray:
    """Images as `save_figure` keeps them: uint8, RGB in the last axis.

    Args:
        images: RGB in [0, 1], (n, 3, height, width); clipped to that range.

    Raises:
        ValueError: images of another shape.
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: shape {images.shape}, expected (n, 3, height, width)")
    return np.round(255 * np.clip(images.transpose(0, 2, 3, 1), 0, 1)).astype(np.uint8)


def image_row(
    axes: Sequence[Axes] | np.ndarray,
    images: ArrayLike,
    titles: Sequence[str] = (),
    label: str = "",
) -> None:
    """Draw images side by side, each pixel as a square, without ticks.

    Args:
        axes: one for every image: a row of ``plt.subplots``.
        images: as `as_pixels` gives them, or as it takes them.
        titles: one above every image, or none at all.
        label: at the left of the row.

    Raises:
        ValueError: the numbers of axes, images and titles differ, or images is of another shape.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = as_pixels(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images: shape {images.shape}, expected (n, height, width, 3)")
    if len(axes) != len(images) or (titles and len(titles) != len(images)):
        raise ValueError(f"{len(axes)} axes, {len(images)} images, {len(titles)} titles")
    for number, (ax, image) in enumerate(zip(axes, images, strict=True)):
        ax.imshow(image, interpolation="nearest")
        ax.set(xticks=[], yticks=[], title=titles[number] if titles else "")
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel(label)
