"""Frames per second through Stable-Baselines3: FastCarRacing-v3 against CarRacing-v3.

Both step in turns through SB3's DummyVecEnv and VecFrameStack with the same actions, resets
included.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

IDS: Final = ("CarRacing-v3", "training.simulator:FastCarRacing-v3")
_STACK: Final = 4
_SEED: Final = 7


@dataclass(frozen=True)
class Options:
    """What is measured."""

    envs: int = 4
    """environments that step together"""
    steps: int = 250
    """steps of each environment in a round"""
    rounds: int = 5


def drive(envs: VecEnv, actions: NDArray[np.float32]) -> float:
    """Step with ``actions``, float32[steps, envs, 3], and return the frames per second."""
    started = time.perf_counter()
    for action in actions:
        envs.step(action)
    frames = len(actions) * envs.num_envs
    return frames / (time.perf_counter() - started)


def measure(options: Options) -> dict[str, list[float]]:
    """Frames per second of each environment, one number a round."""
    random = np.random.default_rng(_SEED)
    # Mostly straight on with some gas, so that cars stay near the road for a while.
    size = options.steps, options.envs
    actions = np.stack(
        [random.uniform(-0.3, 0.3, size), random.uniform(0, 0.4, size), np.zeros(size)], -1
    ).astype(np.float32)
    contenders = {
        name: VecFrameStack(make_vec_env(name, options.envs, seed=_SEED), _STACK) for name in IDS
    }
    rates: dict[str, list[float]] = {name: [] for name in IDS}
    for envs in contenders.values():
        envs.reset()
        drive(envs, actions[:10])
    for _ in range(options.rounds):
        for name, envs in contenders.items():
            rates[name].append(drive(envs, actions))
    for envs in contenders.values():
        envs.close()
    return rates


def main() -> None:
    """Measure, and print a table."""
    rates = measure(tyro.cli(Options, description=__doc__))
    stock = statistics.median(rates[IDS[0]])
    print("| environment | frames/s (lowest–highest) | × CarRacing-v3 |\n|---|---|---|")
    for name, row in rates.items():
        rate = statistics.median(row)
        print(f"| {name} | {rate:,.0f} ({min(row):,.0f}–{max(row):,.0f}) | {rate / stock:.1f} |")


if __name__ == "__main__":
    main()
