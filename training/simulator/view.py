"""What the driver sees: the track's bitmaps, the car and the panel put together."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from gymnasium.envs.box2d.car_dynamics import Car
from gymnasium.envs.box2d.car_racing import SCALE, STATE_H, STATE_W, ZOOM
from numpy.typing import NDArray

from training.simulator import car_sprite, panel
from training.simulator.gauges import read_gauges
from training.simulator.palette import Plane
from training.simulator.scale import VIEW_H, Scale
from training.simulator.track_bitmap import TrackBitmap

_FINE: Final = Scale(per_unit=3.0, softness=0.45, growth=0.03)
_COARSE: Final = Scale(per_unit=1.0, softness=0.8, growth=0.2)

# From which zoom on (stock's surface pixels per world unit) a bitmap serves, and with how many
# samples per picture pixel and axis. Only the first second of an episode needs more than one.
_CHOICES: Final = (
    (14.5, _FINE, 1),
    (9.0, _FINE, 2),
    (4.0, _FINE, 3),
    (1.5, _COARSE, 3),
    (0.0, _COARSE, 5),
)


class View:
    """Draws the pictures of one environment, in one or more planes."""

    def __init__(self, planes: tuple[Plane, ...]) -> None:
        self._planes = planes
        self._bitmaps = {scale: TrackBitmap(scale, planes) for scale in (_FINE, _COARSE)}
        self._track: object = None
        self._pictures = np.zeros((len(planes), STATE_H, STATE_W), np.float32)

    def show(self, road_poly: list[Any]) -> None:
        """Draw the track of stock's `road_poly`, unless it is the one shown already."""
        if road_poly is self._track:
            return
        # On a rare straight "bend" stock draws a kerb without width, a line of one surface pixel.
        kerbs = [
            (corners, colour[1] > 0)
            for corners, colour in road_poly
            if isinstance(colour, tuple) and corners[0] != corners[1]
        ]
        tiles = np.array([p for p, colour in road_poly if not isinstance(colour, tuple)])
        kerb_corners = np.array([p for p, _ in kerbs]).reshape(-1, 4, 2)
        for bitmap in self._bitmaps.values():
            bitmap.draw(tiles, kerb_corners, [white for _, white in kerbs])
        self._track = road_poly

    def look(self, car: Car, time: float, score: float, touched: list[int]) -> NDArray[np.float32]:
        """Return float32[planes, 96, 96], levels 0..255; it is drawn over by the next call.

        Args:
            car: the car to look from.
            time: seconds since the reset, which sets the first second's zoom.
            score: the score to show.
            touched: the indices of the tiles touched so far, in that order.
        """
        zoom = 0.1 * SCALE * max(1 - time, 0) + ZOOM * SCALE * min(time, 1)
        _, scale, samples = next(choice for choice in _CHOICES if zoom >= choice[0])
        bitmap = self._bitmaps[scale]
        bitmap.touch(touched)
        hull, wheels = car.hull, car.wheels
        position = hull.position
        turns = [wheel.joint.angle for wheel in wheels]
        phases = [wheel.phase for wheel in wheels]
        gauges = read_gauges(car)

        views = bitmap.crop(zoom, position.x, position.y, hull.angle, samples)
        for picture, view, plane in zip(self._pictures, views, self._planes, strict=True):
            picture[:VIEW_H] = view
            free, light = car_sprite.car_layer(turns, phases, zoom, plane)
            part = picture[car_sprite.ROWS, car_sprite.COLUMNS]
            part *= free
            part += light
            panel.draw(picture[panel.ROWS], score, gauges, plane)
        return self._pictures
