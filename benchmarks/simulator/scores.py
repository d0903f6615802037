"""Scores of one driver on both simulators, track by track."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.environment.observation import Pipeline, Pixels
from training.environment.pipeline import Simulator, make_env
from training.evaluation.rollout import drive
from training.evaluation.sources import load_policy

_FIRST_SEED: Final = 2000

# What the sight driver looks at in the newest 84×84 picture.
_ROAD_LEVELS: Final = (92, 118)
_ROWS: Final = (50, 40, 30)
_CAR_COLUMN: Final = 41.5
_SPEED_BAR: Final = np.s_[74:83, 11:14]


def sight_driver(observation: Pixels) -> NDArray[np.float32]:
    """Steer by the road in the picture alone, so that every difference of pixels can count.

    Args:
        observation: (84, 84, stack) uint8, the newest picture last.

    Returns:
        float32[3]: steering, gas, brake.
    """
    picture = observation[..., -1].astype(np.int16)
    low, high = _ROAD_LEVELS
    offsets = []
    place = _CAR_COLUMN
    for row in _ROWS:
        columns = np.flatnonzero((picture[row] > low) & (picture[row] < high))
        near = columns[np.abs(columns - place) < 20]
        if not len(near):
            break
        place = float(near.mean())
        offsets.append((place - _CAR_COLUMN) / (63 - row))
    error = fmean(offsets) if offsets else 0.6
    bend = abs(offsets[-1] - offsets[0]) if len(offsets) == len(_ROWS) else 1.0
    speed = float(picture[_SPEED_BAR].sum())
    wanted = 1200 - 700 * min(abs(error) + bend, 1.0)
    gas = 0.4 if speed < wanted else 0.0
    brake = 0.2 if speed > 1.3 * wanted else 0.0
    return np.array((np.clip(0.8 * error, -1, 1), gas, brake), np.float32)


def _sight_score(seed: int, simulator: Simulator) -> float:
    env = make_env(Pipeline(), simulator=simulator, scaled_rewards=False)
    observation, _ = env.reset(seed=seed)
    score, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(sight_driver(observation))
        score += float(reward)
        over = terminated or truncated
    return score


def _policy_score(source: str) -> Callable[[int, Simulator], float]:
    policy = load_policy(source)
    return lambda seed, simulator: drive(policy, seed, simulator=simulator).score


def report(tracks: int, policy: str | None) -> None:
    """Drive every track on both, and print the paired difference."""
    score = _sight_score if policy is None else _policy_score(policy)
    begin = time.perf_counter()
    fast, stock = (
        [score(_FIRST_SEED + k, simulator) for k in range(tracks)]
        for simulator in ("fast", "stock")
    )
    differences = np.subtract(fast, stock)
    error = stdev(differences) / math.sqrt(tracks)
    print(f"\n{policy or 'a driver that steers by the picture alone'}, {tracks} tracks")
    print(
        f"fast {fmean(fast):.1f} ± {stdev(fast):.1f}, stock {fmean(stock):.1f} ± {stdev(stock):.1f}"
    )
    print(
        f"paired difference {fmean(differences):+.2f} ± {error:.2f} (standard error); "
        f"{np.count_nonzero(differences == 0)} tracks equal; "
        f"{time.perf_counter() - begin:.0f} s"
    )
