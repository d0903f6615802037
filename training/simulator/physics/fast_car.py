"""Gymnasium's car with the same arithmetic in plain Python floats."""

from __future__ import annotations

import math
from typing import Any, Final

import Box2D
from gymnasium.envs.box2d.car_dynamics import (
    ENGINE_POWER,
    FRICTION_LIMIT,
    SIZE,
    WHEEL_MOMENT_OF_INERTIA,
    WHEEL_R,
    Car,
)

from training.simulator.physics.car_parts import Body, make_hull, make_wheel

_ROAD_FRICTION: Final = FRICTION_LIMIT * 1.0
_GRASS_FRICTION: Final = FRICTION_LIMIT * 0.6
_STIFFNESS: Final = 205000 * SIZE * SIZE
_BRAKE_FORCE: Final = 15
_WHEEL_RADIUS: Final = 1.0 * WHEEL_R * SIZE
_RIGHT: Final = (1, 0)


class FastCar(Car):
    """Drives exactly as `Car` does: every operation is the same, in the same order.

    Args:
        world: the Box2D world to build it in.
        angle: first heading in rad.
        x: first place in world units.
        y: first place in world units.
        traces: whether to keep the skid marks, which only `render` draws.
    """

    def __init__(
        self, world: Box2D.b2World, angle: float, x: float, y: float, traces: bool
    ) -> None:
        # Without Car's own constructor, which leaves memory behind (see car_parts).
        self.world = world
        self.hull: Body = make_hull(world, angle, x, y)
        self.wheels: list[Body] = [
            make_wheel(world, self.hull, (x, y), angle, place) for place in range(4)
        ]
        self.drawlist = [*self.wheels, self.hull]
        self.particles: list[Any] = []
        self.fuel_spent = 0.0
        self._traces = traces
        # Bound once: a body's attribute look-ups cost as much as its calls.
        self._parts: list[tuple[Any, ...]] = [
            (w, w.joint, w.tiles, w.GetWorldVector, w.ApplyForceToCenter) for w in self.wheels
        ]

    def drive(self, steer: float, gas: float, brake: float) -> None:
        """Set the controls.

        Args:
            steer: -1 (left) to 1 (right); the wheels take time to follow.
            gas: 0..1, clipped; the rear wheels' grows by at most 0.1 a frame.
            brake: 0..1; from 0.9 on the wheels are blocked.
        """
        front_left, front_right, rear_left, rear_right = self.wheels
        front_left.steer = front_right.steer = -steer
        front_left.brake = front_right.brake = rear_left.brake = rear_right.brake = brake
        gas = min(max(gas, 0.0), 1.0)
        for w in (rear_left, rear_right):
            more = gas - w.gas
            w.gas += more if more < 0.1 else 0.1

    def step(self, dt: float) -> None:
        """Turn the wheels and apply their forces for `dt` seconds."""
        power = dt * ENGINE_POWER
        for w, joint, tiles, world_vector, apply_force in self._parts:
            off = w.steer - joint.angle
            turn = 50.0 * off
            joint.motorSpeed = 3.0 if turn > 3.0 else -3.0 if turn < -3.0 else turn

            limit = _ROAD_FRICTION if tiles else _GRASS_FRICTION
            side = world_vector(_RIGHT)
            cos, sin = side.x, side.y
            velocity = w.linearVelocity
            vx, vy = velocity.x, velocity.y
            forward = cos * vy - sin * vx
            sideways = cos * vx + sin * vy

            omega = w.omega
            gas = w.gas
            if gas:
                omega += power * gas / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
                self.fuel_spent += power * gas
            brake = w.brake
            if brake >= 0.9:
                omega = 0.0
            elif brake > 0:
                slower = min(_BRAKE_FORCE * brake, abs(omega))
                omega -= slower if omega > 0 else -slower
            w.phase += omega * dt

            along = (omega * _WHEEL_RADIUS - forward) * _STIFFNESS
            across = -sideways * _STIFFNESS
            force = math.sqrt(along * along + across * across)
            if self._traces:
                self._trace(w, force > 2.0 * limit, not tiles)
            if force > limit:
                along = along / force * limit
                across = across / force * limit
            w.omega = omega - dt * along * _WHEEL_RADIUS / WHEEL_MOMENT_OF_INERTIA
            apply_force((across * cos - along * sin, across * sin + along * cos), True)

    def _trace(self, w: Body, skids: bool, grass: bool) -> None:
        """Begin, lengthen or end the mark that wheel `w` leaves."""
        if not skids:
            w.skid_start = None
            w.skid_particle = None
        elif w.skid_particle and w.skid_particle.grass == grass and len(w.skid_particle.poly) < 30:
            w.skid_particle.poly.append((w.position[0], w.position[1]))
        elif w.skid_start is None:
            w.skid_start = w.position
        else:
            create = self._create_particle
            w.skid_particle = create(w.skid_start, w.position, grass)  # type: ignore[no-untyped-call]
            w.skid_start = None
