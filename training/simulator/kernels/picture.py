"""The compiled code that draws one plane of the 96x96 picture, and that shrinks it.

Importing this module imports numba, and compiles the code or loads it from numba's cache; only
``view`` imports it. The cache notices changes of this file and of no other.

A shape covers pixels by area: the share inside a straight edge is exact, and the share inside a
quadrilateral is the product of the shares of its two strips.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_R, WHEEL_W, WHEELPOS
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, STATE_W, WINDOW_H, WINDOW_W
from numpy.typing import NDArray

from training.simulator.gauges import FOOT, LEAST, LYING_BOTTOM, LYING_TOP
from training.simulator.kernels.jit import jit, kernel
from training.simulator.palette import MIXED_LOSS
from training.simulator.scale import PIXEL_H, PIXEL_W, VIEW_H

# Indices into the levels of a plane; three TINTS follow, by a tile's index modulo 3.
FIELD, GRASS, ROAD, TINTS, KERB_RED, KERB_WHITE, HULL, WHEEL, MARK = 0, 1, 2, 3, 6, 7, 8, 9, 10
# Indices into the car's state; TURNS and PHASES have one for each wheel.
X, Y, COS, SIN, ZOOM, TURNS, PHASES, GAUGES = 0, 1, 2, 3, 4, 5, 9, 13

# How far stock's polygon filling grows a shape, in pixels of its surface.
_GROWTH: Final = 0.5
# No shape of a track is longer, in world units.
_LONGEST: Final = 20.0
# Pixels of a row that are computed together; the picture's width is a multiple of it.
_CHUNK: Final = 16
# The squares of grass lie in between, in world units.
_SQUARES_MIDDLE, _SQUARES_HALF = -GRASS_DIM / 2, PLAYFIELD - GRASS_DIM / 2
# The rows and columns of the picture that the car can reach, and the same on the surface.
_TOP, _BOTTOM, _LEFT, _RIGHT = 66, 78, 45, 51
_SURFACE_LEFT, _SURFACE_RIGHT = int(_LEFT * PIXEL_W), math.ceil(_RIGHT * PIXEL_W)
_SURFACE_TOP, _SURFACE_BOTTOM = int(_TOP * PIXEL_H), math.ceil(_BOTTOM * PIXEL_H)
_SURFACE_LOW = WINDOW_H - _SURFACE_BOTTOM

_WHEELS: Final = np.array(WHEELPOS, np.float64)
_0, _HALF, _1, _WHITE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(255)

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]
Flags = NDArray[np.uint8]
Edge = tuple[np.float32, np.float32, np.float32, np.float32]


@jit
def _edge(across: float, down: float) -> Edge:
    """What `_share` needs of an edge: how its distance changes from a pixel to the next."""
    a, b = max(abs(across), abs(down)), min(abs(across), abs(down))
    bend = 1 / (2 * a * b) if b > 0.001 * a else 0.0
    return np.float32((a + b) / 2), np.float32((a - b) / 2), np.float32(1 / a), np.float32(bend)


@jit
def _share(distance: np.float32, edge: Edge) -> np.float32:
    """The share of a pixel that is inside an edge, `distance` from the pixel's centre."""
    reach, straight, slope, bend = edge
    far = min(abs(distance), reach)
    late = max(far - straight, _0)
    share = far * slope - late * late * bend
    return _HALF + (share if distance > _0 else -share)


@jit
def _lay_grass(ground: Plane, state: Floats, levels: Plane) -> None:
    """Draw the playing field with its squares, black outside."""
    x, y, cos, sin, zoom = state[X], state[Y], state[COS], state[SIN], state[ZOOM]
    wide, high = PIXEL_W / zoom, PIXEL_H / zoom
    # World coordinates of the picture's first pixel, and from a pixel to the next.
    left, ahead = (PIXEL_W - WINDOW_W) / 2 / zoom, (WINDOW_H * 3 / 4 - PIXEL_H / 2) / zoom
    x0, xu, xv = np.float32(x + cos * left - sin * ahead), np.float32(cos * wide), np.float32(sin * high)
    y0, yu, yv = np.float32(y + sin * left + cos * ahead), np.float32(sin * wide), np.float32(-cos * high)
    edge_x, edge_y = _edge(cos * wide, sin * high), _edge(sin * wide, cos * high)
    growth = _GROWTH / zoom
    period, inverse = np.float32(2 * GRASS_DIM), np.float32(0.5 / GRASS_DIM)
    half, middle = np.float32(GRASS_DIM / 2 + growth), np.float32(GRASS_DIM / 2)
    whole_half, whole_middle = np.float32(_SQUARES_HALF + growth), np.float32(_SQUARES_MIDDLE)
    bound = np.float32(PLAYFIELD + growth)
    field, lighter = levels[FIELD], levels[GRASS] - levels[FIELD]
    for i in range(VIEW_H):
        row = ground[i]
        for j in range(row.size):
            px = x0 + np.float32(j) * xu + np.float32(i) * xv
            py = y0 + np.float32(j) * yu + np.float32(i) * yv
            dx, dy = px - middle, py - middle
            # To the middle of the nearest square.
            dx = abs(dx - period * np.floor(dx * inverse + _HALF))
            dy = abs(dy - period * np.floor(dy * inverse + _HALF))
            sx = min(half - dx, whole_half - abs(px - whole_middle))
            sy = min(half - dy, whole_half - abs(py - whole_middle))
            inside = _share(bound - abs(px), edge_x) * _share(bound - abs(py), edge_y)
            row[j] = inside * (field + lighter * (_share(sx, edge_x) * _share(sy, edge_y)))


@jit
def _is_near(shapes: Floats, index: int, state: Floats, reach: float) -> bool:
    """Whether a shape may be in the picture."""
    dx, dy = shapes[index, 0, 0] - state[X], shapes[index, 0, 1] - state[Y]
    return dx * dx + dy * dy < reach * reach


@jit
def _take_quad(
    shapes: Floats, index: int, state: Floats, edges: Plane, box: NDArray[np.int64]
) -> bool:
    """Write a shape's edges and bounds in the picture; False where it lies outside.

    Args:
        shapes: float64[n, 4, 2], corners in world units; sides 1 to 2 and 3 to 0 grow.
        index: which of the shapes.
        state: of the car.
        edges: float32[4, 7] to write: the distance to each edge at the first pixel, its change
            per column and per row, and what `_share` needs.
        box: Columns from and to, the first a chunk's, and rows from and to, to write.
    """
    x, y, cos, sin = state[X], state[Y], state[COS], state[SIN]
    wide, high = state[ZOOM] / PIXEL_W, state[ZOOM] / PIXEL_H
    u0, v0 = WINDOW_W / 2 / PIXEL_W - 0.5, WINDOW_H * 3 / 4 / PIXEL_H - 0.5
    dx, dy = shapes[index, 3, 0] - x, shapes[index, 3, 1] - y
    u, v = u0 + wide * (cos * dx + sin * dy), v0 + high * (sin * dx - cos * dy)
    low_u, high_u, low_v, high_v = u, u, v, v
    middle_u = middle_v = 0.0
    for corner in range(4):
        dx, dy = shapes[index, corner, 0] - x, shapes[index, corner, 1] - y
        next_u, next_v = u0 + wide * (cos * dx + sin * dy), v0 + high * (sin * dx - cos * dy)
        middle_u, middle_v = middle_u + next_u / 4, middle_v + next_v / 4
        low_u, high_u = min(low_u, next_u), max(high_u, next_u)
        low_v, high_v = min(low_v, next_v), max(high_v, next_v)
        length = math.sqrt((next_u - u) ** 2 + (next_v - v) ** 2) + 1e-9
        across, down = (v - next_v) / length, (next_u - u) / length
        edges[corner, 0] = -(across * u + down * v)
        edges[corner, 1], edges[corner, 2] = across, down
        u, v = next_u, next_v
    low_u, high_u = max(math.ceil(low_u - 1), 0), min(math.floor(high_u + 1) + 1, STATE_W)
    low_v, high_v = max(math.ceil(low_v - 1), 0), min(math.floor(high_v + 1) + 1, VIEW_H)
    for corner in range(4):
        across, down = edges[corner, 1], edges[corner, 2]
        if edges[corner, 0] + across * middle_u + down * middle_v < 0:
            edges[corner, 0], edges[corner, 1], edges[corner, 2] = -edges[corner, 0], -across, -down
        if corner % 2 == 0:
            edges[corner, 0] += _GROWTH * math.sqrt((across / PIXEL_W) ** 2 + (down / PIXEL_H) ** 2)
        reach, straight, slope, bend = _edge(across, down)
        edges[corner, 3], edges[corner, 4] = reach, straight
        edges[corner, 5], edges[corner, 6] = slope, bend
    # Whole chunks, which fit into the picture.
    box[0], box[1], box[2], box[3] = low_u // _CHUNK * _CHUNK, high_u, low_v, high_v
    return low_u < high_u and low_v < high_v


@jit
def _cover(cover: Plane, row: int, column: int, edges: Plane) -> None:
    """Write the shares of `_CHUNK` pixels, from `column` on, inside a shape."""
    i, j = np.float32(row), np.float32(column)
    step0 = edges[0, 1]
    start0 = edges[0, 0] + edges[0, 2] * i + step0 * j
    edge0 = edges[0, 3], edges[0, 4], edges[0, 5], edges[0, 6]
    step1 = edges[1, 1]
    start1 = edges[1, 0] + edges[1, 2] * i + step1 * j
    edge1 = edges[1, 3], edges[1, 4], edges[1, 5], edges[1, 6]
    step2 = edges[2, 1]
    start2 = edges[2, 0] + edges[2, 2] * i + step2 * j
    edge2 = edges[2, 3], edges[2, 4], edges[2, 5], edges[2, 6]
    step3 = edges[3, 1]
    start3 = edges[3, 0] + edges[3, 2] * i + step3 * j
    edge3 = edges[3, 3], edges[3, 4], edges[3, 5], edges[3, 6]
    for k in range(_CHUNK):
        j = np.float32(k)
        across = _share(start0 + step0 * j, edge0) + _share(start2 + step2 * j, edge2) - _1
        along = _share(start1 + step1 * j, edge1) + _share(start3 + step3 * j, edge3) - _1
        cover[k] = max(across, _0) * max(along, _0)


@jit
def _lay_road(
    picture: Plane,
    layers: Plane,
    state: Floats,
    tiles: Floats,
    touched: Flags,
    kerbs: Floats,
    white: Flags,
    levels: Plane,
) -> None:
    """Draw the tiles and kerbs over the grass in `layers[0]`."""
    ground, road, tint = layers[0], layers[1], layers[2]
    edges, box = np.empty((4, 7), np.float32), np.empty(4, np.int64)
    cover = np.empty(_CHUNK, np.float32)
    # To the picture's furthest corner, and the length of a shape.
    reach = math.hypot(WINDOW_W / 2, WINDOW_H * 3 / 4) / state[ZOOM] + _LONGEST
    road[:] = _0
    tint[:] = _0
    for index in range(len(tiles)):
        if not _is_near(tiles, index, state, reach) or not _take_quad(tiles, index, state, edges, box):
            continue
        lighter = _0 if touched[index] else levels[TINTS + index % 3]
        for i in range(box[2], box[3]):
            for j in range(box[0], box[1], _CHUNK):
                _cover(cover, i, j, edges)
                covered, tinted = road[i, j : j + _CHUNK], tint[i, j : j + _CHUNK]
                for k in range(_CHUNK):
                    covered[k] += cover[k]
                    tinted[k] += cover[k] * lighter
    level = levels[ROAD]
    for i in range(VIEW_H):
        for j in range(STATE_W):
            road[i, j] = min(road[i, j], _1)
            picture[i, j] = ground[i, j] + (level - ground[i, j]) * road[i, j] + tint[i, j]
    for index in range(len(kerbs)):
        if not _is_near(kerbs, index, state, reach) or not _take_quad(kerbs, index, state, edges, box):
            continue
        kerb = levels[KERB_WHITE] if white[index] else levels[KERB_RED]
        for i in range(box[2], box[3]):
            for j in range(box[0], box[1], _CHUNK):
                _cover(cover, i, j, edges)
                covered, under = road[i, j : j + _CHUNK], ground[i, j : j + _CHUNK]
                row = picture[i, j : j + _CHUNK]
                for k in range(_CHUNK):
                    hidden = max(covered[k] + cover[k] - _1, _0)
                    mixed = row[k] + cover[k] * (kerb - under[k]) + hidden * (under[k] - level)
                    row[k] = min(max(mixed, _0), _WHITE)


@jit
def _fill(surface: Plane, xs: NDArray[np.int64], ys: NDArray[np.int64], level: np.float32) -> None:
    """Fill a convex polygon as pygame's ``draw.polygon`` does; `surface` has a plane of ones."""
    count = len(xs)
    low, high = ys.min(), ys.max()
    for y in range(low, high + 1):
        first, last = 1 << 30, -1
        for k in range(count):
            x1, y1, x2, y2 = xs[k - 1], ys[k - 1], xs[k], ys[k]
            if y1 > y2:
                x1, y1, x2, y2 = x2, y2, x1, y1
            if y1 == y2:
                if not (y == y1 and (low < y < high or low == high)):
                    continue
                first, last = min(first, x1, x2), max(last, x1, x2)
            elif y1 <= y < y2 or (y == high and y2 == high):
                x = x1 + (y - y1) * (x2 - x1) // (y2 - y1)
                first, last = min(first, x), max(last, x)
        if last >= 0:
            surface[0, y, first : last + 1] = _0
            surface[1, y, first : last + 1] = level


@jit
def _fill_quad(
    surface: Plane, place: int, turn: float, front: float, rear: float, unit: float, level: float
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
def _draw_car(
    picture: Plane, state: Floats, hull: Floats, ends: NDArray[np.int64], levels: Plane
) -> None:
    """Draw the car on a part of stock's surface, and average that."""
    unit = SIZE * state[ZOOM]
    surface = np.empty((2, _SURFACE_BOTTOM - _SURFACE_TOP, _SURFACE_RIGHT - _SURFACE_LEFT), np.float32)
    surface[0] = _1
    surface[1] = _0
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
    sums = np.empty((2, surface.shape[2]), np.float32)
    for i in range(_TOP, _BOTTOM):
        sums[:] = _0
        for y in range(int(i * PIXEL_H), math.ceil((i + 1) * PIXEL_H)):
            share = np.float32(_overlap(y, y + 1, i, PIXEL_H))
            # Stock draws with y upwards, and turns the surface over.
            row = _SURFACE_BOTTOM - 1 - y
            for x in range(sums.shape[1]):
                sums[0, x] += share * surface[0, row, x]
                sums[1, x] += share * surface[1, row, x]
        for j in range(_LEFT, _RIGHT):
            free = light = _0
            for x in range(int(j * PIXEL_W), math.ceil((j + 1) * PIXEL_W)):
                share = np.float32(_overlap(x, x + 1, j, PIXEL_W))
                free += share * sums[0, x - _SURFACE_LEFT]
                light += share * sums[1, x - _SURFACE_LEFT]
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
                under = picture[VIEW_H + i, j] if width > 0 else picture[VIEW_H + i, j] * (1 - share)
                picture[VIEW_H + i, j] = np.float32(under + max(light, 0.0))


@kernel(
    "void(f4[:,::1], f4[:,:,::1], f8[::1], f8[:,:,::1], u1[::1], f8[:,:,::1], u1[::1],"
    "f8[:,::1], i8[::1], f8[:,::1], f4[:,::1], f4[::1], f8[::1])"
)
def draw(
    picture, layers, state, tiles, touched, kerbs, white, hull, ends, bars, score, levels, weights
):
    """Draw one plane of the picture, float32[96, 96] with levels from 0 to 255."""
    _lay_grass(layers[0], state, levels)
    _lay_road(picture, layers, state, tiles, touched, kerbs, white, levels)
    _draw_car(picture, state, hull, ends, levels)
    _draw_panel(picture, score, state[GAUGES:], bars, weights)
