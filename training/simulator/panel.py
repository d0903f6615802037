"""The black panel under the picture: the score and the indicators."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.simulator.digits import draw_score
from training.simulator.gauges import (
    FOOT,
    LEAST,
    LYING,
    LYING_BOTTOM,
    LYING_TOP,
    UNIT_W,
    UPRIGHT,
    Bar,
    Gauges,
)
from training.simulator.palette import Plane
from training.simulator.scale import PIXEL_H, PIXEL_W, VIEW_H

ROWS: Final = slice(VIEW_H, VIEW_H + 12)
_HEIGHT: Final = 12
# The score lies in the first 12 columns, which are a whole number of surface pixels wide.
_SCORE: Final = slice(0, 12)
_SURFACE_W: Final = 1000
_SURFACE_H: Final = 100


def _sums(pixels: int, count: int, pixel: float) -> NDArray[np.float32]:
    """Return float32[pixels + 1, count]: the share the first k surface pixels cover."""
    reach = np.arange(pixels + 1)[:, None] - np.arange(count) * pixel
    return (np.clip(reach, 0, pixel) / pixel).astype(np.float32)


_BELOW: Final = _sums(_SURFACE_H, _HEIGHT, PIXEL_H)
_BESIDE: Final = _sums(_SURFACE_W, 96, PIXEL_W)

# Columns of the upright bars.
_BARS: Final = slice(12, 27)


@cache
def _upright(plane: Plane) -> list[NDArray[np.float32]]:
    """Return float32[100, 12, 15] for each upright bar: its light by the row it ends at."""
    tables = []
    for bar in UPRIGHT:
        start = bar.unit * UNIT_W
        # Both borders are drawn, but the next bar hides the last column.
        end = start + UNIT_W + (not any(other.unit == bar.unit + 1 for other in UPRIGHT))
        across = (_BESIDE[end] - _BESIDE[start])[_BARS]
        table = np.empty((_SURFACE_H, _HEIGHT, len(across)), np.float32)
        for row in range(_SURFACE_H):
            down = _BELOW[max(row, FOOT) + 1] - _BELOW[min(row, FOOT)]
            table[row] = plane.light(np.outer(down, across), bar.colour)
        tables.append(table)
    return tables


@cache
def _lying(
    bar: Bar, end: int, plane: Plane
) -> tuple[slice, NDArray[np.float32], NDArray[np.float32]]:
    """Return the columns of a bar to surface column `end`, the share it leaves free, its light."""
    start = bar.unit * UNIT_W
    low, high = min(end, start), max(end, start)
    columns = slice(int(low / PIXEL_W), int(high / PIXEL_W) + 1)
    down = _BELOW[LYING_BOTTOM + 1] - _BELOW[LYING_TOP]
    share = np.outer(down, (_BESIDE[high + 1] - _BESIDE[low])[columns])
    return columns, 1 - share, plane.light(share, bar.colour)


@lru_cache(maxsize=2048)
def _score(score: int, plane: Plane) -> NDArray[np.float32]:
    """The corner with the score, float32[12, 12]."""
    return plane.of(draw_score(score, _SCORE.stop, _HEIGHT)).astype(np.float32)


def draw(picture: NDArray[np.float32], score: float, gauges: Gauges, plane: Plane) -> None:
    """Draw the panel into ``picture``, float32[12, 96]; what it held is lost.

    Args:
        picture: What to draw into.
        score: The score to show, cut to an integer.
        gauges: What the bars show.
        plane: The plane of the picture.
    """
    picture[:, _SCORE] = _score(int(score), plane)
    picture[:, _SCORE.stop :] = 0
    bars = picture[:, _BARS]
    for table, value, bar in zip(_upright(plane), gauges.upright, UPRIGHT, strict=True):
        if abs(value) > LEAST:
            bars += table[min(max(int(FOOT - bar.scale * value), 0), _SURFACE_H - 1)]
    for value, bar in zip(gauges.lying, LYING, strict=True):
        if abs(value) > LEAST:
            end = min(max(int(bar.unit * UNIT_W + bar.scale * value), 0), _SURFACE_W - 1)
            columns, free, light = _lying(bar, end, plane)
            part = picture[:, columns]
            part *= free
            part += light
