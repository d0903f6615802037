"""The same to the bit: tracks, physics, rewards, tiles, ends of episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing

from benchmarks.simulator.drivers import KINDS, Driver
from tests.training.simulator.conftest import QuietCarRacing, state
from training.simulator import FastCarRacing


def tiles(env: CarRacing) -> list[tuple[list[float], bool]]:
    """Each tile's colour and whether it was visited."""
    road: list[Any] = env.road or []
    return [(tile.color.tolist(), tile.road_visited) for tile in road]


@pytest.mark.parametrize("seed", range(6))
def test_an_episode_is_stocks_to_the_bit(
    stock: QuietCarRacing, fast: FastCarRacing, seed: int
) -> None:
    stock.reset(seed=seed)
    fast.reset(seed=seed)
    assert fast.track == stock.track
    assert [corners for corners, _ in fast.road_poly] == [c for c, _ in stock.road_poly]
    driver = Driver(KINDS[seed % 3], seed)
    for frame in range(1000):
        if frame % 4 == 0:
            action = driver(stock)
            if frame % 100 == 96:  # more gas than there is, and blocked wheels
                action = np.array((action[0], 1.5, 0.95), np.float32)
        assert fast.step(action)[1:] == stock.step(action)[1:]
        assert state(fast) == state(stock)
        if frame % 25 == 0:
            assert tiles(fast) == tiles(stock)


def test_discrete_actions_are_stocks_to_the_bit() -> None:
    stock, fast = QuietCarRacing(continuous=False), FastCarRacing(continuous=False, lazy=True)
    stock.reset(seed=3)
    fast.reset(seed=3)
    for action in np.random.default_rng(3).integers(0, 5, 300):
        assert fast.step(action)[1:] == stock.step(action)[1:]
        assert state(fast) == state(stock)


def test_the_next_track_without_a_seed_is_stocks(
    stock: QuietCarRacing, fast: FastCarRacing
) -> None:
    stock.reset(seed=11)
    fast.reset(seed=11)
    for _ in range(3):
        stock.reset()
        fast.reset()
        assert fast.track == stock.track
        assert state(fast) == state(stock)


def test_skid_marks_are_stocks() -> None:
    stock, fast = QuietCarRacing("rgb_array"), FastCarRacing("rgb_array", lazy=True)
    stock.reset(seed=6)
    fast.reset(seed=6)
    for frame in range(240):
        action = np.array((0.6 if frame > 100 else 0, 1, 0), np.float32)
        stock.step(action)
        fast.step(action)
    assert stock.car is not None
    assert fast.car is not None
    marks, expected = ([(p.poly, p.color) for p in c.particles] for c in (fast.car, stock.car))
    assert marks == expected
    assert len(marks) > 0
