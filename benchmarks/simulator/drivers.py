"""Scripted drivers: at random, along the road, and off the road."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

KINDS: Final = ("random", "good", "astray")


class Driver:
    """Chooses actions for one episode from the simulator's own state.

    Args:
        kind: ``random``, ``good``, or ``astray``, which is good until it leaves the field.
        seed: Of its chances.
    """

    def __init__(self, kind: str, seed: int) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; choose one of {KINDS}")
        self._kind = kind
        self._rng = np.random.default_rng(seed)
        self._place = 0
        self._leave_at = int(self._rng.integers(10, 120))
        self._decision = 0
        self._held = np.zeros(3, np.float32)

    def __call__(self, env: CarRacing) -> NDArray[np.float32]:
        """The next action, float32[3]: steering, gas, brake."""
        self._decision += 1
        if self._kind == "random":
            return self._hold()
        if self._kind == "astray" and self._decision > self._leave_at:
            swerve = 0.08 * math.sin(self._decision * 0.05)
            return np.array([swerve, 0.8, 0.0], np.float32)
        return self._follow(env)

    def _hold(self) -> NDArray[np.float32]:
        """Hold each random action for three decisions; brake in three of ten."""
        if self._decision % 3 == 1:
            held = self._rng.uniform((-1, 0, 0), (1, 1, 0.6)).astype(np.float32)
            if self._rng.random() < 0.7:
                held[2] = 0.0
            self._held = held
        return self._held

    def _follow(self, env: CarRacing) -> NDArray[np.float32]:
        """Aim at a point of the centre line ahead, slower where the road bends."""
        car, track = env.car, env.track
        if car is None:
            raise ValueError("the environment must be reset before it is driven")
        x, y = car.hull.position
        speed = math.hypot(*car.hull.linearVelocity)
        count = len(track)
        near = [(self._place + k) % count for k in range(-5, 12)]
        self._place = min(near, key=lambda i: (track[i][2] - x) ** 2 + (track[i][3] - y) ** 2)
        ahead = track[(self._place + 4 + int(speed / 14)) % count]
        wanted = math.atan2(-(ahead[2] - x), ahead[3] - y)
        error = (wanted - car.hull.angle + math.pi) % (2 * math.pi) - math.pi
        far = track[(self._place + 6 + int(speed / 5)) % count]
        bend = abs((far[1] - track[self._place][1] + math.pi) % (2 * math.pi) - math.pi)
        target = max(45, 85 - 55 * bend)
        gas = 0.5 * (1.0 - min(1.0, 1.0 * abs(error))) if speed < target else 0.0
        brake = 0.35 if speed > target + 8 else 0.0
        return np.array([np.clip(-2.2 * error, -1, 1), gas, brake], np.float32)
