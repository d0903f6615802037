"""The car's polygons, upright, in car units (1/50 of a world unit) around the hull's centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gymnasium.envs.box2d.car_dynamics import (
    HULL_POLY1,
    HULL_POLY2,
    HULL_POLY3,
    HULL_POLY4,
    WHEEL_R,
    WHEEL_W,
    WHEELPOS,
)

Polygon = Sequence[tuple[float, float]]

HULL_SHAPES: Final[tuple[Polygon, ...]] = (HULL_POLY1, HULL_POLY2, HULL_POLY3, HULL_POLY4)


def wheel_shape(place: int, turn: float) -> Polygon:
    """The wheel at ``place`` (0 to 3), turned by ``turn`` rad against the hull."""
    return _strip(place, turn, WHEEL_R, -WHEEL_R)


def mark_shape(place: int, turn: float, phase: float) -> Polygon | None:
    """The mark on a wheel that has rolled ``phase`` rad; None while it is underneath."""
    sin1, sin2 = math.sin(phase), math.sin(phase + 1.2)
    if sin1 > 0 and sin2 > 0:
        return None
    cos1, cos2 = math.cos(phase), math.cos(phase + 1.2)
    if sin1 > 0:
        cos1 = math.copysign(1.0, cos1)
    if sin2 > 0:
        cos2 = math.copysign(1.0, cos2)
    return _strip(place, turn, WHEEL_R * cos1, WHEEL_R * cos2)


def _strip(place: int, turn: float, front: float, rear: float) -> Polygon:
    """A wheel's width from ``front`` to ``rear`` of its centre, turned."""
    cos, sin = math.cos(turn), math.sin(turn)
    centre_x, centre_y = WHEELPOS[place]
    w = WHEEL_W
    return [
        (centre_x + cos * x - sin * y, centre_y + sin * x + cos * y)
        for x, y in ((-w, front), (w, front), (w, rear), (-w, rear))
    ]
