"""Bands of frequencies: which components of a DCT belong together.

A component (u, v) has a radius, counted in component indices:

- ``radial``: sqrt(u² + v²), rings around the constant component;
- ``square``: max(u, v), so that radius < k is the k × k corner at the top left.

`low_pass` and `high_pass` cut at a radius; together they are the image again.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paperlib.freq.dct import dct2, idct2

Shape = Literal["radial", "square"]


def radius(
    height: int, width: int | None = None, shape: Shape = "radial"
) -> Float[Tensor, "height width"]:
    """Radius of every DCT component, in component indices.

    Raises:
        ValueError: `shape` is neither "radial" nor "square".
    """
    u = torch.arange(height, dtype=torch.float32)[:, None]
    v = torch.arange(width or height, dtype=torch.float32)[None, :]
    if shape == "radial":
        return torch.sqrt(u**2 + v**2)
    if shape == "square":
        return torch.maximum(u, v)
    raise ValueError(f"shape={shape!r}: valid are 'radial' and 'square'")


def band_index(size: int, bands: int, shape: Shape = "radial") -> Int[Tensor, "size size"]:
    """Band of every component: equal steps of radius, 0 the lowest.

    The corner beyond radius `size` (radial only) belongs to the last band.

    Raises:
        ValueError: `bands` is not between 1 and `size`.
    """
    if not 1 <= bands <= size:
        raise ValueError(f"bands={bands}: valid are 1 to {size}, the size of the image")
    return (radius(size, shape=shape) * bands / size).long().clamp(max=bands - 1)


def band_masks(size: int, bands: int, shape: Shape = "radial") -> Bool[Tensor, "bands size size"]:
    """One mask a band; they do not overlap and cover every component."""
    return band_index(size, bands, shape) == torch.arange(bands)[:, None, None]


def low_mask(size: int, cutoff: float, shape: Shape = "square") -> Bool[Tensor, "size size"]:
    """Components whose radius is below `cutoff` (component indices)."""
    return radius(size, shape=shape) < cutoff


def band_energy(
    X: Float[Tensor, "*batch size size"], bands: int, shape: Shape = "radial"
) -> Float[Tensor, "*batch bands"]:
    """Energy Σ X² in every band; sums to the energy of the image."""
    masks = band_masks(X.shape[-1], bands, shape).to(X)
    return torch.einsum("...uv,buv->...b", X**2, masks)


def radial_mean(
    values: Float[Tensor, "*batch size size"], bands: int, shape: Shape = "radial"
) -> Float[Tensor, "*batch bands"]:
    """Mean of a map over every band: its radial profile."""
    masks = band_masks(values.shape[-1], bands, shape).to(values)
    return torch.einsum("...uv,buv->...b", values, masks) / masks.sum((-2, -1))


def filter_components(
    x: Float[Tensor, "*batch size size"], keep: Bool[Tensor, "size size"]
) -> Float[Tensor, "*batch size size"]:
    """The image with only the DCT components in `keep`; not clipped to [0, 1]."""
    return idct2(dct2(x) * keep.to(x))


def low_pass(
    x: Float[Tensor, "*batch size size"], cutoff: float, shape: Shape = "square"
) -> Float[Tensor, "*batch size size"]:
    """Components with radius < `cutoff` only; not clipped."""
    return filter_components(x, low_mask(x.shape[-1], cutoff, shape))


def high_pass(
    x: Float[Tensor, "*batch size size"], cutoff: float, shape: Shape = "square"
) -> Float[Tensor, "*batch size size"]:
    """Components with radius >= `cutoff` only (the constant goes too); not clipped."""
    return filter_components(x, ~low_mask(x.shape[-1], cutoff, shape))
