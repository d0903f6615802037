"""The bars of the black panel: what they show, and where stock draws them on its surface."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from gymnasium.envs.box2d.car_dynamics import Car

from training.simulator.drawing.palette import Colour

# The panel is 1000 × 100 surface pixels, laid out in units.
UNIT_W: Final = 25
_UNIT_H: Final = 20

FOOT: Final = 4 * _UNIT_H
"""Row of the panel that upright bars stand on."""
LYING_TOP: Final = _UNIT_H
LYING_BOTTOM: Final = 3 * _UNIT_H
"""Last row of a lying bar."""
LEAST: Final = 1e-4
"""Stock leaves out a bar whose value is smaller."""


class Bar(NamedTuple):
    """One bar of the panel."""

    unit: int
    """Where it begins, in units of width."""
    scale: float
    """Surface pixels of its length per unit of the value; upright bars grow upwards."""
    colour: Colour


UPRIGHT: Final = (
    Bar(5, 0.02 * _UNIT_H, (255, 255, 255)),
    Bar(7, 0.01 * _UNIT_H, (0, 0, 255)),
    Bar(8, 0.01 * _UNIT_H, (0, 0, 255)),
    Bar(9, 0.01 * _UNIT_H, (51, 0, 255)),
    Bar(10, 0.01 * _UNIT_H, (51, 0, 255)),
)
LYING: Final = (Bar(20, -10.0 * UNIT_W, (0, 255, 0)), Bar(30, -0.8 * UNIT_W, (255, 0, 0)))


class Gauges(NamedTuple):
    """The values of the bars."""

    upright: tuple[float, ...]
    """The car's speed in world units a second, and the four wheels' turning in rad/s."""
    lying: tuple[float, float]
    """The front left wheel's angle to the hull in rad, and the hull's turning in rad/s."""


def read_gauges(car: Car) -> Gauges:
    """The values as they are now."""
    hull, wheels = car.hull, car.wheels
    velocity = hull.linearVelocity
    speed = math.hypot(velocity.x, velocity.y)
    return Gauges(
        (speed, *(wheel.omega for wheel in wheels)), (wheels[0].joint.angle, hull.angularVelocity)
    )
