"""Bands of frequencies: which components of a DCT belong together.

A component (u, v) has a radius, counted in component indices:

- ``radial``: sqrt(u² + v²), rings around the constant component;
- ``square``: max(u, v), so that radius < k is the k × k corner at the top left.

In an image that is no square the longer side has more components for the same frequencies, so its
indices are scaled: the radius is in component indices of the shorter side, and the same radius
means as many periods a pixel in both directions. A `Size` is height and width, or one number for a
square.

`low_pass` and `high_pass` cut at a radius; together they are the image again.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperlib.freq.dct import dct2, idct2

Shape = Literal["radial", "square"]
Size = int | tuple[int, int]


def radius(
    height: int, width: int | None = None, shape: Shape = "radial"
) -> Float[Tensor, "height width"]:
    """Radius of every DCT component, in component indices of the shorter side.

    Raises:
        ValueError: `shape` is neither "radial" nor "square".
    """
    width = width or height
    side = min(height, width)
    u = torch.arange(height, dtype=torch.float32)[:, None] * side / height
    v = torch.arange(width, dtype=torch.float32)[None, :] * side / width
    if shape == "radial":
        return torch.sqrt(u**2 + v**2)
    if shape == "square":
        return torch.maximum(u, v)
    raise ValueError(f"shape={shape!r}: valid are 'radial' and 'square'")


def band_index(size: Size, bands: int, shape: Shape = "radial") -> Int[Tensor, "height width"]:
    """Band of every component: equal steps of radius, 0 the lowest.

    What lies beyond the shorter side's radius (radial only) belongs to the last band.

    Raises:
        ValueError: `bands` is not between 1 and the shorter side.
    """
    height, width = _sides(size)
    side = min(height, width)
    if not 1 <= bands <= side:
        raise ValueError(f"bands={bands}: valid are 1 to {side}, the image's shorter side")
    return (radius(height, width, shape) * bands / side).long().clamp(max=bands - 1)


def band_masks(
    size: Size, bands: int, shape: Shape = "radial"
) -> Bool[Tensor, "bands height width"]:
    """One mask a band; they do not overlap and cover every component."""
    return band_index(size, bands, shape) == torch.arange(bands)[:, None, None]


def low_mask(size: Size, cutoff: float, shape: Shape = "square") -> Bool[Tensor, "height width"]:
    """Components whose radius is below `cutoff` (component indices of the shorter side)."""
    return radius(*_sides(size), shape) < cutoff


def band_energy(
    X: Float[Tensor, "*batch height width"], bands: int, shape: Shape = "radial"
) -> Float[Tensor, "*batch bands"]:
    """Energy Σ X² in every band; sums to the energy of the image."""
    masks = band_masks(_size(X), bands, shape).to(X)
    return torch.einsum("...uv,buv->...b", X**2, masks)


def radial_mean(
    values: Float[Tensor, "*batch height width"], bands: int, shape: Shape = "radial"
) -> Float[Tensor, "*batch bands"]:
    """Mean of a map over every band: its radial profile."""
    masks = band_masks(_size(values), bands, shape).to(values)
    return torch.einsum("...uv,buv->...b", values, masks) / masks.sum((-2, -1))


def filter_components(
    x: Float[Tensor, "*batch height width"], keep: Bool[Tensor, "height width"]
) -> Float[Tensor, "*batch height width"]:
    """The image with only the DCT components in `keep`; not clipped to [0, 1]."""
    return idct2(dct2(x) * keep.to(x))


def low_pass(
    x: Float[Tensor, "*batch height width"], cutoff: float, shape: Shape = "square"
) -> Float[Tensor, "*batch height width"]:
    """Components with radius < `cutoff` only; not clipped."""
    return filter_components(x, low_mask(_size(x), cutoff, shape))


def high_pass(
    x: Float[Tensor, "*batch height width"], cutoff: float, shape: Shape = "square"
) -> Float[Tensor, "*batch height width"]:
    """Components with radius >= `cutoff` only (the constant goes too); not clipped."""
    return filter_components(x, ~low_mask(_size(x), cutoff, shape))


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
