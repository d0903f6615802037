"""What the driver sees: the track, the car and the panel, drawn by the compiled kernel."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from gymnasium.envs.box2d.car_dynamics import Car
from gymnasium.envs.box2d.car_racing import SCALE, STATE_H, STATE_W, ZOOM
from numpy.typing import NDArray

from training.simulator.drawing.digits import draw_score
from training.simulator.drawing.gauges import LYING, UNIT_W, UPRIGHT, read_gauges
from training.simulator.drawing.palette import (
    HULL,
    KERB_RED,
    KERB_WHITE,
    WHEEL,
    WHEEL_MARK,
    Ground,
    Plane,
)
from training.simulator.drawing.scale import VIEW_H
from training.simulator.kernels import Kernels
from training.simulator.kernels.layout import STATE_SIZE
from training.simulator.physics.car_shapes import HULL_SHAPES

# Columns and rows of the score.
_SCORE_SIZE: Final = 12

_HULL: Final = np.array([corner for shape in HULL_SHAPES for corner in shape], np.float64)
_HULL_ENDS: Final = np.cumsum([len(shape) for shape in HULL_SHAPES])


def _bars() -> NDArray[np.float64]:
    """float64[7, 6]: where each bar begins, its width (0 if lying), its scale and its colour."""
    units = [bar.unit for bar in UPRIGHT]
    # Both borders are drawn, but the next bar hides the last column.
    widths = [UNIT_W + (unit + 1 not in units) for unit in units] + [0] * len(LYING)
    return np.array(
        [
            (bar.unit * UNIT_W, width, bar.scale, *bar.colour)
            for bar, width in zip((*UPRIGHT, *LYING), widths, strict=True)
        ],
        np.float64,
    )


_BARS: Final = _bars()


@lru_cache(maxsize=256)
def _levels(plane: Plane, ground: Ground) -> NDArray[np.float32]:
    """Return the level of each colour in the plane, in the kernel's order."""
    tiles = [plane.level(colour) for colour in ground.tiles]
    kerbs_and_car = (KERB_RED, KERB_WHITE, HULL, WHEEL, WHEEL_MARK)
    levels = [
        *(plane.level(colour) for colour in (ground.field, ground.grass)),
        tiles[0],
        *(tile - tiles[0] for tile in tiles),
        *(plane.level(colour) for colour in kerbs_and_car),
    ]
    return np.array(levels, np.float32)


@lru_cache(maxsize=2048)
def _score(score: int, plane: Plane) -> NDArray[np.float32]:
    """The corner with the score, float32[12, 12]."""
    return plane.of(draw_score(score, _SCORE_SIZE, _SCORE_SIZE)).astype(np.float32)


class View:
    """Draws the pictures of one environment, in one or more planes."""

    def __init__(self, kernels: Kernels, planes: tuple[Plane, ...]) -> None:
        self._kernels = kernels
        self._planes = planes
        self._weights = [np.array((*plane.weights, plane.cut), np.float64) for plane in planes]
        self._pictures = np.zeros((len(planes), STATE_H, STATE_W), np.float32)
        self._layers = np.zeros((3, VIEW_H, STATE_W), np.float32)
        self._state = np.zeros(STATE_SIZE)
        self._track: object = None

    def show(self, road_poly: list[Any], touched: bytearray, ground: Ground) -> None:
        """Take the track of stock's `road_poly`, unless it is the one shown already.

        Args:
            road_poly: tiles and kerbs.
            touched: of each tile, whether it was touched; it may change after this call.
            ground: the track's colours.
        """
        if road_poly is self._track:
            return
        # On a rare straight "bend" stock draws a kerb without width, a line of one surface pixel.
        kerbs = [
            (corners, colour[1] > 0)
            for corners, colour in road_poly
            if isinstance(colour, tuple) and corners[0] != corners[1]
        ]
        tiles = [corners for corners, colour in road_poly if not isinstance(colour, tuple)]
        self._tiles = np.array(tiles, np.float64)
        self._kerbs = np.array([corners for corners, _ in kerbs], np.float64).reshape(-1, 4, 2)
        self._white = np.array([white for _, white in kerbs], np.uint8)
        self._touched = np.frombuffer(touched, np.uint8)
        self._levels = [_levels(plane, ground) for plane in self._planes]
        self._track = road_poly

    def look(self, car: Car, time: float, score: float) -> NDArray[np.float32]:
        """Return float32[planes, 96, 96], levels 0..255; it is drawn over by the next call.

        Args:
            car: the car to look from.
            time: seconds since the reset, which sets the first second's zoom.
            score: the score to show.
        """
        hull, wheels = car.hull, car.wheels
        x, y = hull.position
        angle = hull.angle
        gauges = read_gauges(car)
        self._state[:] = (
            x,
            y,
            math.cos(angle),
            math.sin(angle),
            0.1 * SCALE * max(1 - time, 0) + ZOOM * SCALE * min(time, 1),
            *[wheel.joint.angle for wheel in wheels],
            *[wheel.phase for wheel in wheels],
            *gauges.upright,
            *gauges.lying,
        )
        for picture, plane, levels, weights in zip(
            self._pictures, self._planes, self._levels, self._weights, strict=True
        ):
            self._kernels.draw_ground(
                picture,
                self._layers,
                self._state,
                self._tiles,
                self._touched,
                self._kerbs,
                self._white,
                levels,
            )
            self._kernels.draw_overlay(
                picture,
                self._state,
                _HULL,
                _HULL_ENDS,
                _BARS,
                _score(int(score), plane),
                levels,
                weights,
            )
        return self._pictures
