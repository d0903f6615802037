"""Hull and wheels in a Box2D world, made as Gymnasium's ``Car`` makes them.

Gymnasium defines every fixture anew for every car, and Box2D's Python bindings never free a
definition: 2.4 kB an episode. Here they are defined once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import Box2D
from Box2D.b2 import fixtureDef, polygonShape, revoluteJointDef
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_COLOR, WHEEL_R, WHEEL_W, WHEELPOS

from training.simulator.physics.car_shapes import HULL_SHAPES, Polygon

# Box2D has no type stubs; its bodies also carry the car's own attributes.
Body = Any


def _polygon(shape: Polygon) -> Any:
    return polygonShape(vertices=[(x * SIZE, y * SIZE) for x, y in shape])


@cache
def _hull_fixtures() -> list[Any]:
    return [fixtureDef(shape=_polygon(shape), density=1.0) for shape in HULL_SHAPES]


@cache
def _wheel_fixture() -> Any:
    w, r = WHEEL_W, WHEEL_R
    return fixtureDef(
        shape=_polygon(((-w, r), (w, r), (w, -r), (-w, -r))),
        density=0.1,
        categoryBits=0x0020,
        maskBits=0x001,
        restitution=0.0,
    )


def make_hull(world: Box2D.b2World, angle: float, x: float, y: float) -> Body:
    """The hull at (x, y), in world units, heading to ``angle`` rad."""
    hull = world.CreateDynamicBody(position=(x, y), angle=angle, fixtures=_hull_fixtures())
    hull.color = (0.8, 0.0, 0.0)
    return hull


def make_wheel(
    world: Box2D.b2World, hull: Body, centre: tuple[float, float], angle: float, place: int
) -> Body:
    """The wheel at ``place`` (0 to 3), standing still and joined to the hull.

    Args:
        world: Where to make it.
        hull: What to join it to.
        centre: The hull's place, in world units and double precision, which Box2D has not.
        angle: The hull's heading in rad, as precise.
        place: Which wheel.
    """
    x, y = WHEELPOS[place]
    wheel = world.CreateDynamicBody(
        position=(centre[0] + x * SIZE, centre[1] + y * SIZE),
        angle=angle,
        fixtures=_wheel_fixture(),
    )
    wheel.wheel_rad = WHEEL_R * SIZE
    wheel.color = WHEEL_COLOR
    wheel.gas = wheel.brake = wheel.steer = 0.0
    wheel.phase = wheel.omega = 0.0
    wheel.skid_start = wheel.skid_particle = None
    wheel.tiles = set()
    wheel.userData = wheel
    wheel.fixtures[0].userData = ~place
    wheel.joint = world.CreateJoint(
        revoluteJointDef(
            bodyA=hull,
            bodyB=wheel,
            localAnchorA=(x * SIZE, y * SIZE),
            localAnchorB=(0, 0),
            enableMotor=True,
            enableLimit=True,
            maxMotorTorque=180 * 900 * SIZE * SIZE,
            motorSpeed=0,
            lowerAngle=-0.4,
            upperAngle=0.4,
        )
    )
    return wheel
