"""The car in the picture: always upright, at one place, put together from stored pieces."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import pygame
from gymnasium.envs.box2d.car_dynamics import SIZE
from gymnasium.envs.box2d.car_racing import SCALE, WINDOW_H, WINDOW_W, ZOOM
from numpy.typing import NDArray

from training.simulator.car_shapes import HULL_SHAPES, Polygon, mark_shape, wheel_shape
from training.simulator.palette import HULL, WHEEL, WHEEL_MARK, Plane
from training.simulator.scale import PIXEL_H, PIXEL_W

# The rows and columns of the 96x96 picture that the car can reach, and the same on the surface.
ROWS: Final = slice(66, 78)
COLUMNS: Final = slice(45, 51)
_LEFT: Final = int(COLUMNS.start * PIXEL_W)
_RIGHT: Final = math.ceil(COLUMNS.stop * PIXEL_W)
_TOP: Final = int(ROWS.start * PIXEL_H)
_BOTTOM: Final = math.ceil(ROWS.stop * PIXEL_H)
# Stock draws with y upwards, and turns the surface over.
_LOWEST: Final = WINDOW_H - _BOTTOM

STEADY_ZOOM: Final = ZOOM * SCALE
# Stored pieces are apart by this much, in rad.
_STEER_STEP: Final = 1 / 32
_PHASE_STEPS: Final = 128

_EMPTY, _WHEEL, _MARK, _RED = range(4)

# float32[2, 12, 6]: the share of each picture pixel left free, and the level to add.
Layer = NDArray[np.float32]


def _averaging(first: int, last: int, start: int, count: int, pixel: float) -> NDArray[np.float32]:
    """Return float32[count, last - first]: surface pixels' shares of picture pixels."""
    edges = np.arange(first, last)
    low = (start + np.arange(count))[:, None] * pixel
    share = np.minimum(edges + 1, low + pixel) - np.maximum(edges, low)
    return np.asarray(np.clip(share, 0, 1) / pixel, np.float32)


_DOWN: Final = _averaging(_TOP, _BOTTOM, ROWS.start, ROWS.stop - ROWS.start, PIXEL_H)
_ACROSS: Final = _averaging(
    _LEFT, _RIGHT, COLUMNS.start, COLUMNS.stop - COLUMNS.start, PIXEL_W
).T.copy()


def _polygon(surface: pygame.Surface, index: int, shape: Polygon, zoom: float) -> None:
    """Fill a polygon as stock's pygame call does."""
    scale = SIZE * zoom
    # pygame cuts corners to integers; subtracting integers keeps them what stock's are.
    corners = [
        (int(WINDOW_W / 2 + scale * x) - _LEFT, int(WINDOW_H / 4 + scale * y) - _LOWEST)
        for x, y in shape
    ]
    pygame.draw.polygon(surface, index, corners)


def _wheel(surface: pygame.Surface, place: int, turn: float, phase: float, zoom: float) -> None:
    """Draw one wheel and the mark that turns with it."""
    _polygon(surface, _WHEEL, wheel_shape(place, turn), zoom)
    mark = mark_shape(place, turn, phase)
    if mark is not None:
        _polygon(surface, _MARK, mark, zoom)


def _surface() -> pygame.Surface:
    return pygame.Surface((_RIGHT - _LEFT, _BOTTOM - _TOP), depth=8)


def _hull(surface: pygame.Surface, zoom: float, index: int = _RED) -> None:
    for shape in HULL_SHAPES:
        _polygon(surface, index, shape, zoom)


def _layer(surface: pygame.Surface, plane: Plane) -> Layer:
    """Average what was drawn down to the picture's pixels."""
    drawn = pygame.surfarray.pixels2d(surface).T[::-1]
    levels = [0, *(plane.level(colour) for colour in (WHEEL, WHEEL_MARK, HULL))]
    free = 1 - _DOWN @ (drawn != _EMPTY).astype(np.float32) @ _ACROSS
    return np.stack([free, _DOWN @ np.array(levels, np.float32)[drawn] @ _ACROSS])


def _drawn(turns: list[float], phases: list[float], zoom: float, plane: Plane) -> Layer:
    """Draw the whole car, for the first second's zooms."""
    surface = _surface()
    for place in range(4):
        _wheel(surface, place, turns[place], phases[place], zoom)
    _hull(surface, zoom)
    return _layer(surface, plane)


@cache
def _hull_layer(plane: Plane) -> Layer:
    surface = _surface()
    _hull(surface, STEADY_ZOOM)
    return _layer(surface, plane)


@cache
def _wheel_layer(place: int, turn_step: int, phase_step: int, plane: Plane) -> Layer:
    """Return what a wheel takes from the free share, and adds to the level."""
    surface = _surface()
    phase = (phase_step + 0.5) * (2 * math.pi / _PHASE_STEPS)
    _wheel(surface, place, turn_step * _STEER_STEP, phase, STEADY_ZOOM)
    _hull(surface, STEADY_ZOOM, _EMPTY)
    layer = _layer(surface, plane)
    layer[0] -= 1
    return layer


def car_layer(turns: list[float], phases: list[float], zoom: float, plane: Plane) -> Layer:
    """Return the car as a layer over ROWS and COLUMNS.

    Args:
        turns: the four wheels' angles to the hull, in rad.
        phases: the four wheels' rotation, in rad.
        zoom: surface pixels per world unit.
        plane: the plane of the picture.
    """
    if zoom != STEADY_ZOOM:
        return _drawn(turns, phases, zoom, plane)
    layer = _hull_layer(plane).copy()
    for place in range(4):
        turn_step = round(turns[place] / _STEER_STEP)
        phase_step = int(phases[place] * (_PHASE_STEPS / (2 * math.pi))) % _PHASE_STEPS
        layer += _wheel_layer(place, turn_step, phase_step, plane)
    return layer
