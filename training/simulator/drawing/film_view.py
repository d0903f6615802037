"""Pictures for people: what stock's ``rgb_array`` shows, drawn by OpenCV at the film's own size."""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from gymnasium.envs.box2d.car_dynamics import SIZE, Car
from gymnasium.envs.box2d.car_racing import (
    GRASS_DIM,
    PLAYFIELD,
    SCALE,
    VIDEO_H,
    VIDEO_W,
    WINDOW_H,
    WINDOW_W,
    ZOOM,
    CarRacing,
)
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from training.simulator.drawing.digits import draw_score
from training.simulator.drawing.gauges import (
    FOOT,
    LEAST,
    LYING,
    LYING_BOTTOM,
    LYING_TOP,
    UNIT_W,
    UPRIGHT,
    read_gauges,
)
from training.simulator.drawing.palette import HULL, WHEEL, WHEEL_MARK, Colour, shrunk
from training.simulator.physics.car_shapes import HULL_SHAPES, Polygon, mark_shape, wheel_shape

_WIDE: Final = VIDEO_W / WINDOW_W
_HIGH: Final = VIDEO_H / WINDOW_H
_PANEL_TOP: Final = VIDEO_H * 7 // 8
_SCORE_WIDTH: Final = VIDEO_W // 8
# Places go to OpenCV as integers, in this fraction of a pixel: 2 to the power of bits.
_BITS: Final = 4
_STEPS: Final = 1 << _BITS
# What pygame's smoothscale takes off every colour at this size.
_LOSS: Final = 1

Corners = NDArray[np.float64]


def _squares() -> Corners:
    """float64[400, 4, 2]: the lighter squares of the grass, in world units."""
    low = GRASS_DIM * np.arange(-20, 20, 2)
    first = np.stack(np.meshgrid(low, low, indexing="ij"), -1).reshape(-1, 1, 2)
    return first + GRASS_DIM * np.array(((1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (1.0, 1.0)))


def _places(pixels: Corners) -> NDArray[np.int32]:
    """Places as OpenCV takes them, of those in pixels, (0, 0) being the picture's corner."""
    return np.rint((pixels - 0.5) * _STEPS).astype(np.int32)


def _fill(picture: NDArray[np.uint8], places: NDArray[np.int32], colour: Colour) -> None:
    cv2.fillConvexPoly(picture, places, colour, cv2.LINE_AA, _BITS)


_HULL: Final = shrunk(HULL, _LOSS)
_WHEEL: Final = shrunk(WHEEL, _LOSS)
_WHEEL_MARK: Final = shrunk(WHEEL_MARK, _LOSS)
_HULL_CORNERS: Final = np.concatenate([np.array(shape) for shape in HULL_SHAPES])
_HULL_ENDS: Final = np.cumsum([len(shape) for shape in HULL_SHAPES])[:-1]


class FilmView:
    """Draws the pictures of one environment, stock or fast."""

    def __init__(self) -> None:
        self._track: object = None
        self._shapes: Corners = np.empty((0, 4, 2))
        self._colours: list[Colour | NDArray[np.generic]] = []

    def draw(self, env: CarRacing) -> NDArray[np.uint8]:
        """The picture of ``env`` as it stands: (400, 600, 3) uint8.

        Raises:
            ResetNeeded: ``env`` was never reset.
        """
        car = env.car
        if car is None:
            raise ResetNeeded("call reset() before render()")
        if env.road_poly is not self._track:
            self._take_track(env)
        zoom = 0.1 * SCALE * max(1 - env.t, 0) + ZOOM * SCALE * min(env.t, 1)
        picture = np.zeros((VIDEO_H, VIDEO_W, 3), np.uint8)
        self._draw_ground(picture, car, zoom)
        self._draw_car(picture, car, zoom)
        picture[_PANEL_TOP:] = 0
        _draw_bars(picture, car)
        picture[_PANEL_TOP:, :_SCORE_WIDTH] = draw_score(
            int(env.reward), _SCORE_WIDTH, VIDEO_H - _PANEL_TOP
        )
        return picture

    def _take_track(self, env: CarRacing) -> None:
        road_poly: list[Any] = env.road_poly
        bound = PLAYFIELD * np.array([[[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]])
        squares = _squares()
        road = np.array([corners for corners, _ in road_poly])
        self._shapes = np.concatenate([bound, squares, road])
        # A tile's colour is the tile's own array, which changes when it is touched.
        field, grass = shrunk(env.bg_color, _LOSS), shrunk(env.grass_color, _LOSS)
        self._colours = [field, *[grass] * len(squares)]
        self._colours += (
            shrunk(colour, _LOSS) if isinstance(colour, tuple) else colour
            for _, colour in road_poly
        )
        self._middles = self._shapes.mean(1)
        self._reach = np.abs(self._shapes - self._middles[:, None]).sum(-1).max(1)
        self._track = road_poly

    def _draw_ground(self, picture: NDArray[np.uint8], car: Car, zoom: float) -> None:
        matrix, start = _camera(car, zoom)
        x, y = (self._middles @ matrix.T + start).T
        reach = self._reach * zoom
        shown = (x + reach > 0) & (x - reach < VIDEO_W) & (y + reach > 0) & (y - reach < VIDEO_H)
        places = _places(self._shapes[shown] @ matrix.T + start)
        for index, corners in zip(np.flatnonzero(shown).tolist(), places, strict=True):
            colour = self._colours[index]
            if not isinstance(colour, tuple):
                colour = shrunk(colour.tolist(), _LOSS)
            _fill(picture, corners, colour)
        marks = car.particles
        if not marks:
            return
        points = np.array([point for mark in marks for point in mark.poly])
        ends = np.cumsum([len(mark.poly) for mark in marks])[:-1]
        lines = np.split(_places(points @ matrix.T + start), ends)
        for mark, line in zip(marks, lines, strict=True):
            colour = shrunk(mark.color, _LOSS)
            cv2.polylines(picture, [line], False, colour, 1, cv2.LINE_AA, _BITS)

    def _draw_car(self, picture: NDArray[np.uint8], car: Car, zoom: float) -> None:
        # The camera turns with the hull, so the car stands upright at one place.
        scale = SIZE * zoom * np.array((_WIDE, -_HIGH))
        start = VIDEO_W / 2, VIDEO_H * 3 / 4
        strips: list[Polygon] = []
        colours: list[Colour] = []
        for place, wheel in enumerate(car.wheels):
            turn = wheel.joint.angle
            strips.append(wheel_shape(place, turn))
            colours.append(_WHEEL)
            mark = mark_shape(place, turn, wheel.phase)
            if mark is not None:
                strips.append(mark)
                colours.append(_WHEEL_MARK)
        for corners, colour in zip(_places(np.array(strips) * scale + start), colours, strict=True):
            _fill(picture, corners, colour)
        for corners in np.split(_places(_HULL_CORNERS * scale + start), _HULL_ENDS):
            _fill(picture, corners, _HULL)


def _camera(car: Car, zoom: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What takes world units to pixels: a matrix (2, 2), and what is added (2,)."""
    cos, sin = math.cos(car.hull.angle), math.sin(car.hull.angle)
    wide, high = zoom * _WIDE, zoom * _HIGH
    matrix = np.array(((cos * wide, sin * wide), (sin * high, -cos * high)))
    x, y = car.hull.position
    return matrix, np.array((VIDEO_W / 2, VIDEO_H * 3 / 4)) - matrix @ (x, y)


def _draw_bars(picture: NDArray[np.uint8], car: Car) -> None:
    gauges = read_gauges(car)
    sides: list[tuple[float, float, float, float]] = []
    colours: list[Colour] = []
    for bar, value in zip(UPRIGHT, gauges.upright, strict=True):
        if abs(value) > LEAST:
            left = float(bar.unit * UNIT_W)
            sides.append((left, FOOT - bar.scale * value, left + UNIT_W, FOOT))
            colours.append(shrunk(bar.colour, _LOSS))
    for bar, value in zip(LYING, gauges.lying, strict=True):
        if abs(value) > LEAST:
            left = float(bar.unit * UNIT_W)
            sides.append((left, LYING_TOP, left + bar.scale * value, LYING_BOTTOM))
            colours.append(shrunk(bar.colour, _LOSS))
    # Left, top; right, top; right, bottom; left, bottom.
    corners = np.array(sides).reshape(-1, 4)[:, (0, 1, 2, 1, 2, 3, 0, 3)].reshape(-1, 4, 2)
    places = _places(corners * (_WIDE, _HIGH) + (0, _PANEL_TOP))
    for place, colour in zip(places, colours, strict=True):
        _fill(picture, place, colour)
