"""Both simulators without drawing in ``step``, and what there is to compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from training.simulator import FastCarRacing


class QuietCarRacing(CarRacing):
    """Stock without drawing in ``step``; ``picture`` draws."""

    def _render(self, mode: str) -> Any:
        return None if mode == "state_pixels" else super()._render(mode)

    def picture(self, score: float) -> NDArray[np.uint8]:
        """Stock's observation, with ``score`` in its corner."""
        reward, self.reward = self.reward, score
        observation = super()._render("state_pixels")
        self.reward = reward
        return np.asarray(observation, np.uint8)


def state(env: CarRacing) -> list[Any]:
    """Every number of the physics that later frames depend on."""
    car = env.car
    assert car is not None
    numbers = [env.reward, env.tile_visited_count, env.t, env.new_lap]
    for body in (car.hull, *car.wheels):
        numbers += [*body.position, body.angle, *body.linearVelocity, body.angularVelocity]
    for wheel in car.wheels:
        numbers += [wheel.omega, wheel.phase, wheel.gas, wheel.brake, wheel.steer]
        numbers += [wheel.joint.angle, wheel.joint.motorSpeed, len(wheel.tiles)]
    return numbers


@pytest.fixture(scope="module")
def stock() -> QuietCarRacing:
    """One stock environment for a module's tests."""
    return QuietCarRacing()


@pytest.fixture(scope="module")
def fast() -> Iterator[FastCarRacing]:
    """One lazy fast environment for a module's tests."""
    env = FastCarRacing(lazy=True)
    yield env
    env.close()
