"""Draws what lies over the ground: the car, which is always upright at one place, and the panel."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_R, WHEEL_W, WHEELPOS
from gymnasium.envs.box2d.car_racing import WINDOW_H, WINDOW_W

from training.simulator.drawing.gauges import FOOT, LEAST, LYING_BOTTOM, LYING_TOP
from training.simulator.drawing.palette import MIXED_LOSS
from training.simulator.drawing.scale import PIXEL_H, PIXEL_W, VIEW_H
from training.simulator.kernels.jit import jit, kernel
from training.simulator.kernels.layout import (
    GAUGES,
    HULL,
    MARK,
    PHASES,
    TURNS,
    WHEEL,
    ZOOM,
    Floats,
    Ints,
    Plane,
)

# The rows and columns of the picture that the car can reach, and the same on the surface.
_TOP, _BOTTOM, _LEFT, _RIGHT = 66, 78, 45, 51
_SURFACE_LEFT = int(_LEFT * PIXEL_W)
_SURFACE_TOP, _SURFACE_BOTTOM = int(_TOP * PIXEL_H), math.ceil(_BOTTOM * PIXEL_H)
# A multiple of sixteen, so that pixels can be computed together.
_SURFACE_W: Final = math.ceil((_RIGHT * PIXEL_W - _SURFACE_LEFT) / 16) * 16
_SURFACE_LOW = WINDOW_H - _SURFACE_BOTTOM


def _across() -> Plane:
    """float32[6, 12]: for each column of the car the shares of its surface pixels."""
    first = np.arange(_LEFT, _RIGHT)[:, None] * PIXEL_W
    pixels = np.floor(first) + np.arange(math.ceil(PIXEL_W) + 1)
    shares = np.minimum(pixels + 1, first + PIXEL_W) - np.maximum(pixels, first)
    return np.asarray(np.maximum(shares, 0) / PIXEL_W, np.float32)


_ACROSS: Final = _across()
_WHEELS: Final = np.array(WHEELPOS, np.float64)
_0, _NOTHING = np.float32(0), np.float32(-1)


@jit
def _fill(surface: Plane, xs: Ints, ys: Ints, level: np.float32) -> None:
    """Fill a convex polygon as pygame's ``draw.polygon`` does."""
    low, high = ys.min(), ys.max()
    # Of each row, its first and last pixel.
    ends = np.empty((2, high + 1), np.int64)
    ends[0] = _SURFACE_W
    ends[1] = -1
    for k in range(len(xs)):
        x1, y1, x2, y2 = xs[k - 1], ys[k - 1], xs[k], ys[k]
        if y1 > y2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        if y1 == y2:
            if low < y1 < high or low == high:
                ends[0, y1] = min(ends[0, y1], x1, x2)
                ends[1, y1] = max(ends[1, y1], x1, x2)
            continue
        # The lower end of an edge belongs to the next one.
        for y in range(y1, y2 + 1 if y2 == high else y2):
            x = x1 + math.floor((y - y1) * (x2 - x1) / (y2 - y1))
            ends[0, y], ends[1, y] = min(ends[0, y], x), max(ends[1, y], x)
    for y in range(low, high + 1):
        for x in range(ends[0, y], ends[1, y] + 1):
            surface[y, x] = level


@jit
def _fill_quad(
    surface: Plane,
    place: int,
    turn: float,
    front: float,
    rear: float,
    unit: float,
    level: np.float32,
) -> None:
    """Fill a wheel's width from `front` to `rear` of its centre, turned, in car units."""
    xs, ys = np.empty(4, np.int64), np.empty(4, np.int64)
    cos, sin = math.cos(turn), math.sin(turn)
    for k in range(4):
        x, y = WHEEL_W if k in (1, 2) else -WHEEL_W, front if k < 2 else rear
        xs[k] = int(WINDOW_W / 2 + unit * (_WHEELS[place, 0] + cos * x - sin * y)) - _SURFACE_LEFT
        ys[k] = int(WINDOW_H / 4 + unit * (_WHEELS[place, 1] + sin * x + cos * y)) - _SURFACE_LOW
    _fill(surface, xs, ys, level)


@jit
def _draw_car(picture: Plane, state: Floats, hull: Floats, ends: Ints, levels: Plane) -> None:
    """Draw the car on a part of stock's surface, and average that."""
    unit = SIZE * state[ZOOM]
    surface = np.empty((_SURFACE_BOTTOM - _SURFACE_TOP, _SURFACE_W), np.float32)
    surface[:] = _NOTHING
    for place in range(4):
        turn, phase = state[TURNS + place], state[PHASES + place]
        _fill_quad(surface, place, turn, WHEEL_R, -WHEEL_R, unit, levels[WHEEL])
        sin1, sin2 = math.sin(phase), math.sin(phase + 1.2)
        if sin1 > 0 and sin2 > 0:
            continue
        cos1, cos2 = math.cos(phase), math.cos(phase + 1.2)
        front = WHEEL_R * (math.copysign(1.0, cos1) if sin1 > 0 else cos1)
        rear = WHEEL_R * (math.copysign(1.0, cos2) if sin2 > 0 else cos2)
        _fill_quad(surface, place, turn, front, rear, unit, levels[MARK])
    first = 0
    for end in ends:
        xs, ys = np.empty(end - first, np.int64), np.empty(end - first, np.int64)
        for k in range(end - first):
            xs[k] = int(WINDOW_W / 2 + unit * hull[first + k, 0]) - _SURFACE_LEFT
            ys[k] = int(WINDOW_H / 4 + unit * hull[first + k, 1]) - _SURFACE_LOW
        _fill(surface, xs, ys, levels[HULL])
        first = end
    sums = np.empty((2, _SURFACE_W), np.float32)
    for i in range(_TOP, _BOTTOM):
        sums[:] = _0
        for y in range(int(i * PIXEL_H), math.ceil((i + 1) * PIXEL_H)):
            share = np.float32(_overlap(y, y + 1, i, PIXEL_H))
            # Stock draws with y upwards, and turns the surface over.
            row = _SURFACE_BOTTOM - 1 - y
            for x in range(_SURFACE_W):
                level = surface[row, x]
                sums[0, x] += share if level == _NOTHING else _0
                sums[1, x] += share * max(level, _0)
        for j in range(_LEFT, _RIGHT):
            free = light = _0
            start = int(j * PIXEL_W) - _SURFACE_LEFT
            for x in range(_ACROSS.shape[1]):
                share = _ACROSS[j - _LEFT, x]
                free += share * sums[0, start + x]
                light += share * sums[1, start + x]
            picture[i, j] = picture[i, j] * free + light


@jit
def _overlap(low: float, high: float, place: int, pixel: float) -> float:
    """The share of the picture's pixel `place` from `low` to `high` on the surface."""
    return max(min(high, (place + 1) * pixel) - max(low, place * pixel), 0.0) / pixel


@jit
def _draw_panel(
    picture: Plane, score: Plane, gauges: Floats, bars: Floats, weights: Floats
) -> None:
    """Draw the score and the bars."""
    picture[VIEW_H:] = _0
    picture[VIEW_H:, : score.shape[1]] = score
    for index in range(len(bars)):
        value = gauges[index]
        if abs(value) <= LEAST:
            continue
        start, width, scale = bars[index, 0], bars[index, 1], bars[index, 2]
        if width > 0:  # upright
            left, right = start, start + width
            end = min(max(int(FOOT - scale * value), 0), WINDOW_H // 8 - 1)
            top, bottom = min(end, FOOT), max(end, FOOT) + 1
        else:
            end = min(max(int(start + scale * value), 0), WINDOW_W - 1)
            left, right = min(start, end), max(start, end) + 1
            top, bottom = LYING_TOP, LYING_BOTTOM + 1
        for i in range(12):
            down = _overlap(top, bottom, i, PIXEL_H)
            for j in range(int(left / PIXEL_W), min(int(right / PIXEL_W) + 1, 96)):
                share = down * _overlap(left, right, j, PIXEL_W)
                light = -weights[3]
                for part in range(3):
                    light += weights[part] * max(share * bars[index, 3 + part] - MIXED_LOSS, 0.0)
                under = (
                    picture[VIEW_H + i, j] if width > 0 else picture[VIEW_H + i, j] * (1 - share)
                )
                picture[VIEW_H + i, j] = np.float32(under + max(light, 0.0))


@kernel("void(f4[:,::1], f8[::1], f8[:,::1], i8[::1], f8[:,::1], f4[:,::1], f4[::1], f8[::1])")
def draw_overlay(
    picture: Plane,
    state: Floats,
    hull: Floats,
    ends: Ints,
    bars: Floats,
    score: Plane,
    levels: Plane,
    weights: Floats,
) -> None:
    """Draw the car and the panel into one plane of the picture.

    Args:
        picture: float32[96, 96].
        state: of the car.
        hull: float64[n, 2], the corners of the hull's polygons, in car units.
        ends: of each polygon, the index after its last corner.
        bars: float64[7, 6], of each bar: where it begins, its width (0 if it lies), its length on
            the surface per unit of its value, and its colour.
        score: float32[12, 12], the corner with the score.
        levels: of the plane's colours.
        weights: of red, green and blue in the plane, and what cutting to an integer takes off.
    """
    _draw_car(picture, state, hull, ends, levels)
    _draw_panel(picture, score, state[GAUGES:], bars, weights)
