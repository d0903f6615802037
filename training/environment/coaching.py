"""What is different while training: penalties, early ends, spins, a lap's end that is none.

A discounted, endless drive pays for speed: a lap that is 3 % faster earns 3 % more, some 30 points,
where the score gains 2. So penalties may have to be far above what a mistake costs the score.
Scores are never taken behind it. The learner's rewards are shaped by it; what is reported of an
episode is the return that the simulator gave, in its own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

SCORE = "score"
"""Key in ``info`` at a drive's end: the simulator's own return, unshaped and unscaled."""

_REACH = 40
"""Tiles ahead of the furthest one among which a new one is progress: 140 units of road. Further
ahead it may be road that passes close by, until two neighbours say that the car drives there."""


_SPIN = (6.0, 18.0)
"""Rate of a spin in rad/s, to either side. At speed it turns the car by 90 to 360 degrees."""


@dataclass(frozen=True)
class Coaching:
    """The numbers of it; the defaults change nothing."""

    skipped_tile: float = 0.0
    """Points taken for each tile that the car drove past without touching it."""
    gap: float = 0.0
    """Points taken for each gap that the car leaves: tiles that it drove past without touching one.
    Whether one or ten, the lap cannot be completed any more."""
    lost: float = 0.0
    """Points taken where an episode is lost: off the playing field, or out of patience."""
    patience: int = 0
    """Simulator frames without a new tile after which an episode ends; 0 is never."""
    spin: float = 0.0
    """Chance per decision that the episode is cut there, and the next one goes on from the same
    place with the car thrown into a spin, at whatever is left of its speed. A good driver rarely
    loses the car, and so would never learn to find back to the road, or even to drive off again
    where it has come to stand. Cut, because no decision before the spin is to be blamed for it.
    """
    endless: bool = False
    """Whether the value of driving on is granted at the end of a lap: the driver cannot see where
    it ends, and a return that stops there would tell it to be slow."""

    def __post_init__(self) -> None:
        """Refuse negative numbers with a ValueError that names them."""
        for name in ("skipped_tile", "gap", "lost", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.spin <= 1:
            raise ValueError(f"spin is {self.spin}; it must be in [0, 1]")


class Coached(gym.Wrapper[Any, Any, Any, Any]):
    """Trains by the rules in ``coaching``, which may be replaced while it drives.

    It meets every decision, with the simulator's rewards summed.

    Example:
        ``Coached(RepeatAction(CarRacing(), 4), Coaching(patience=100))``
    """

    def __init__(self, env: gym.Env[Any, Any], coaching: Coaching) -> None:
        super().__init__(env)
        self.coaching = coaching
        self._score = 0.0
        self._visited = 0
        self._furthest = 0
        self._waited = 0
        self._spins: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode: on a track's first tile, or in a spin where the last one was cut.

        With a seed it is always the former.
        """
        simulator: Any = self.unwrapped
        observation, self._spins = self._spins, None
        if observation is not None and seed is None:
            _throw(simulator.car, self.np_random)
            return observation, {}
        result = self.env.reset(seed=seed, options=options)
        self._score = 0.0
        self._visited = simulator.tile_visited_count
        self._furthest = _furthest_visited(simulator.road, 0)
        self._waited = 0
        return result

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; the info of an episode's last step holds the ``score`` of the whole drive.

        One that is cut for a spin has none, as the drive goes on.
        """
        coaching, simulator = self.coaching, self.unwrapped
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._score += float(reward)
        self._waited += info["frames"]
        if simulator.tile_visited_count != self._visited:  # type: ignore[attr-defined]
            self._visited = simulator.tile_visited_count  # type: ignore[attr-defined]
            self._waited = 0
            if skipped := self._skipped(simulator):
                reward = float(reward) - coaching.gap - coaching.skipped_tile * skipped
        lap_finished = info.get("lap_finished", False)
        if coaching.patience and self._waited >= coaching.patience and not truncated:
            terminated = True
        if terminated and not lap_finished:
            reward = float(reward) - coaching.lost
        if terminated and lap_finished and coaching.endless:
            terminated, truncated = False, True
        if terminated or truncated:
            info = {**info, SCORE: self._score}
        elif coaching.spin and self.np_random.random() < coaching.spin:
            self._spins, truncated = observation, True
        return observation, float(reward), terminated, truncated, info

    def _skipped(self, simulator: Any) -> int:
        """Tiles between the furthest one so far and the furthest now that were not touched."""
        before, self._furthest = self._furthest, _furthest_visited(simulator.road, self._furthest)
        return sum(not tile.road_visited for tile in simulator.road[before : self._furthest])


def _throw(car: Any, random: np.random.Generator) -> None:
    """Throw a car into a spin, at between none and all of its speed."""
    left = random.uniform()
    for body in (car.hull, *car.wheels):
        body.linearVelocity = left * body.linearVelocity
    for wheel in car.wheels:
        wheel.omega *= left
    car.hull.angularVelocity = random.choice((-1.0, 1.0)) * random.uniform(*_SPIN)


def _furthest_visited(road: Sequence[Any], start: int) -> int:
    """Index of the tile to which the car has come from ``start`` on, itself if it has not moved."""
    for index in range(min(start + _REACH, len(road)) - 1, start, -1):
        if road[index].road_visited:
            return index
    # Half the road ahead: what is behind the car lies at the end of the list.
    for index in range(min(start + len(road) // 2, len(road)) - 1, start + _REACH, -1):
        if road[index].road_visited and road[index - 1].road_visited:
            return index
    return start
