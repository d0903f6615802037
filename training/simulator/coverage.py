"""How much of each bitmap pixel a four-cornered shape covers, with soft edges."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Rows and columns of a bitmap, and the covered share of each pixel there (uint8, 255 = all).
Place = tuple[slice, slice]
Patch = tuple[Place, NDArray[np.uint8]]

# Pixels handled together: enough to outweigh the calls, few enough for the processor's cache.
_BATCH_PIXELS: Final = 30_000


def quad_patches(corners: NDArray[np.float64], softness: float, growth: float) -> list[Patch]:
    """Return a patch for each shape.

    Where the end of a shape (corners 2 and 3) is the beginning of the next (corners 1 and 0), the
    two coverages add up to that of one long shape.

    Args:
        corners: float64[n, 4, 2], in pixels, the centre of pixel (0, 0) being (0, 0).
        softness: width of an edge's ramp, in pixels.
        growth: how far the two sides (corners 1 to 2 and 3 to 0) are pushed out, in pixels.
    """
    if not len(corners):
        return []
    margin = softness / 2 + growth
    low = np.floor(corners.min(1) - margin).astype(np.int64)
    high = np.ceil(corners.max(1) + margin).astype(np.int64)
    step = np.roll(corners, -1, 1) - corners
    length = np.hypot(step[..., 0], step[..., 1]) * softness
    slope_x, slope_y = -step[..., 1] / length, step[..., 0] / length
    # Measured from each patch's own first pixel, so that float32 is exact enough.
    local = corners - low[:, None]
    offset = -(slope_x * local[..., 0] + slope_y * local[..., 1])
    middle = local.mean(1)[:, None]
    inside = slope_x * middle[..., 0] + slope_y * middle[..., 1] + offset
    sign = np.where(inside < 0, -1.0, 1.0)
    slope_x, slope_y = slope_x * sign, slope_y * sign
    offset = offset * sign + 0.5
    offset[:, [1, 3]] += growth / softness

    slope_x32, slope_y32 = slope_x.astype(np.float32), slope_y.astype(np.float32)
    offset32 = offset.astype(np.float32)
    size = high - low + 1
    places = low.tolist()
    sizes = size.tolist()
    steps = np.arange(int(size.max()), dtype=np.float32)
    patches: list[Patch] = []
    count = max(1, _BATCH_PIXELS // int(size.max()) ** 2)
    for first in range(0, len(corners), count):
        batch = slice(first, first + count)
        width, height = size[batch].max(0).tolist()
        x = (slope_x32[batch, :, None] * steps[:width])[:, :, None, :]
        y = (slope_y32[batch, :, None] * steps[:height] + offset32[batch, :, None])[..., None]
        across, along = _between(x, y, 1, 3), _between(x, y, 0, 2)
        across *= along
        across *= 255.0
        across += 0.5
        covers = across.astype(np.uint8)
        for cover, (left, top), (w, h) in zip(covers, places[batch], sizes[batch], strict=True):
            place = slice(top, top + h), slice(left, left + w)
            patches.append((place, cover[:h, :w]))
    return patches


def _between(
    x: NDArray[np.float32], y: NDArray[np.float32], one: int, other: int
) -> NDArray[np.float32]:
    """Return float32[n, height, width]: 0..1 by the distance to two opposite edges."""
    near = x[:, one] + y[:, one]
    np.minimum(near, x[:, other] + y[:, other], out=near)
    np.maximum(near, 0.0, out=near)
    np.minimum(near, 1.0, out=near)
    return near
