"""Draws the ground: the playing field, the tiles and the kerbs.

A shape covers pixels by area: the share inside a straight edge is exact, and the share inside a
quadrilateral is the product of the shares of its two strips.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, STATE_W, WINDOW_H, WINDOW_W

from training.simulator.drawing.scale import PIXEL_H, PIXEL_W, VIEW_H
from training.simulator.kernels.jit import inlined, jit, kernel
from training.simulator.kernels.layout import (
    COS,
    FIELD,
    GRASS,
    KERB_RED,
    KERB_WHITE,
    ROAD,
    SIN,
    TINTS,
    ZOOM,
    Flags,
    Floats,
    Ints,
    Plane,
    X,
    Y,
)

# How far stock's polygon filling grows a shape, in pixels of its surface.
_GROWTH: Final = 0.5
# No shape of a track is longer, in world units.
_LONGEST: Final = 20.0
# Pixels of a row that are computed together; the picture's width is a multiple of it.
_CHUNK: Final = 16
# From the car to the picture's furthest corner, in surface pixels.
_FURTHEST: Final = math.hypot(WINDOW_W / 2, WINDOW_H * 3 / 4)

_0, _HALF, _1, _WHITE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(255)

_Edge = tuple[np.float32, np.float32, np.float32, np.float32]


@jit
def _edge(across: float, down: float) -> _Edge:
    """What `_share` needs of an edge: how its distance changes from a pixel to the next."""
    a, b = max(abs(across), abs(down)), min(abs(across), abs(down))
    bend = 1 / (2 * a * b) if b > 0.001 * a else 0.0
    return np.float32((a + b) / 2), np.float32((a - b) / 2), np.float32(1 / a), np.float32(bend)


@jit
def _share(distance: np.float32, edge: _Edge) -> np.float32:
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
    x0, xu, xv = (
        np.float32(x + cos * left - sin * ahead),
        np.float32(cos * wide),
        np.float32(sin * high),
    )
    y0, yu, yv = (
        np.float32(y + sin * left + cos * ahead),
        np.float32(sin * wide),
        np.float32(-cos * high),
    )
    edge_x, edge_y = _edge(cos * wide, sin * high), _edge(sin * wide, cos * high)
    growth = _GROWTH / zoom
    period, inverse = np.float32(2 * GRASS_DIM), np.float32(0.5 / GRASS_DIM)
    half, middle = np.float32(GRASS_DIM / 2 + growth), np.float32(GRASS_DIM / 2)
    field, lighter = levels[FIELD], levels[GRASS] - levels[FIELD]
    for i in range(VIEW_H):
        row = ground[i]
        for j in range(STATE_W):
            px = x0 + np.float32(j) * xu + np.float32(i) * xv
            py = y0 + np.float32(j) * yu + np.float32(i) * yv
            dx, dy = px - middle, py - middle
            # To the middle of the nearest square.
            dx = abs(dx - period * np.floor(dx * inverse + _HALF))
            dy = abs(dy - period * np.floor(dy * inverse + _HALF))
            square = _share(half - dx, edge_x) * _share(half - dy, edge_y)
            row[j] = field + lighter * square
    if max(abs(x), abs(y)) + _FURTHEST / zoom < PLAYFIELD:
        return
    bound = np.float32(PLAYFIELD + growth)
    for i in range(VIEW_H):
        row = ground[i]
        for j in range(STATE_W):
            px = x0 + np.float32(j) * xu + np.float32(i) * xv
            py = y0 + np.float32(j) * yu + np.float32(i) * yv
            row[j] *= _share(bound - abs(px), edge_x) * _share(bound - abs(py), edge_y)


@jit
def _is_near(shapes: Floats, index: int, state: Floats, reach: float) -> bool:
    """Whether a shape may be in the picture."""
    dx, dy = shapes[index, 0, 0] - state[X], shapes[index, 0, 1] - state[Y]
    return bool(dx * dx + dy * dy < reach * reach)


@jit
def _take_quad(shapes: Floats, index: int, state: Floats, edges: Plane, box: Ints) -> bool:
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
    return bool(low_u < high_u and low_v < high_v)


@inlined
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
    reach = _FURTHEST / state[ZOOM] + _LONGEST
    road[:] = _0
    tint[:] = _0
    for index in range(len(tiles)):
        if not _is_near(tiles, index, state, reach) or not _take_quad(
            tiles, index, state, edges, box
        ):
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
        if not _is_near(kerbs, index, state, reach) or not _take_quad(
            kerbs, index, state, edges, box
        ):
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


@kernel(
    "void(f4[:,::1], f4[:,:,::1], f8[::1], f8[:,:,::1], u1[::1], f8[:,:,::1], u1[::1], f4[::1])"
)
def draw_ground(
    picture: Plane,
    layers: Plane,
    state: Floats,
    tiles: Floats,
    touched: Flags,
    kerbs: Floats,
    white: Flags,
    levels: Plane,
) -> None:
    """Draw the ground into one plane of the picture.

    Args:
        picture: float32[96, 96]; the rows of the panel stay as they are.
        layers: float32[3, 84, 96], what to draw on.
        state: of the car.
        tiles: float64[n, 4, 2], corners in world units: left, right, right, left.
        touched: of each tile, whether it was touched.
        kerbs: float64[m, 4, 2], corners in the same order.
        white: of each kerb, whether it is white; red otherwise.
        levels: of the plane's colours.
    """
    _lay_grass(layers[0], state, levels)
    _lay_road(picture, layers, state, tiles, touched, kerbs, white, levels)
