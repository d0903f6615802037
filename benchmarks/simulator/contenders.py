"""The simulators that are compared, each with the project's observation pipeline.

``python -m benchmarks.simulator.contenders NAME`` reads a JSON object
``{"episodes": [[seed, actions], …]}`` per line, drives it, and answers with
``{"decisions", "seconds"}``. It also runs in the peers' environment, so it imports nothing that
is not installed there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing

from training.environment.observation import EPISODE_FRAMES, Pipeline, Pixels
from training.environment.pipeline import (
    RepeatAction,
    ScaleReward,
    StackLast,
    make_env,
    shrink,
    to_grey,
)

Episode = tuple[int, list[list[float]]]
"""A track's seed, and the actions of its decisions."""


class ShrinkPicture(gym.ObservationWrapper[Pixels, Any, Pixels]):
    """Grey, square and small, of pictures that the simulator has drawn already."""

    def __init__(self, env: gym.Env[Any, Any], size: int) -> None:
        super().__init__(env)
        self._size = size
        self.observation_space = gym.spaces.Box(0, 255, (size, size), np.uint8)

    def observation(self, observation: Pixels) -> Pixels:
        """One picture, reduced."""
        return shrink(to_grey(observation), self._size)


class EnvPoolCar(gym.Env[Any, Any]):
    """One EnvPool environment; its tracks are its own, whatever the seed."""

    observation_space = gym.spaces.Box(0, 255, (96, 96, 3), np.uint8)

    def __init__(self) -> None:
        import envpool

        self._pool = envpool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=1)
        self.action_space = self._pool.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the pool's next episode."""
        super().reset(seed=seed, options=options)
        observation, _ = self._pool.reset()
        return observation[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One frame, drawn."""
        observation, reward, terminated, truncated, _ = self._pool.step(action[None])
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


def _under_pipeline(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    pipeline = Pipeline()
    env = ShrinkPicture(env, pipeline.size)
    return StackLast(ScaleReward(env, pipeline.reward_scale), pipeline.stack)


def _plain() -> gym.Env[Any, Any]:
    env: gym.Env[Any, Any] = gym.wrappers.TimeLimit(CarRacing(), EPISODE_FRAMES)
    return _under_pipeline(RepeatAction(env, Pipeline().frame_skip))


def _npfl139() -> gym.Env[Any, Any]:
    # The package's own __init__ imports far more than its simulator.
    package = importlib.util.find_spec("npfl139")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("npfl139 is not installed")
    path = Path(package.submodule_search_locations[0]) / "envs/car_racing.py"
    spec = importlib.util.spec_from_file_location("npfl139_car_racing", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _under_pipeline(module.CarRacingFS(frame_skip=Pipeline().frame_skip))


def _envpool() -> gym.Env[Any, Any]:
    return _under_pipeline(RepeatAction(EnvPoolCar(), Pipeline().frame_skip))


CONTENDERS: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    "plain": _plain,
    "stock": lambda: make_env(simulator="stock"),
    "npfl139": _npfl139,
    "envpool": _envpool,
    "fast": make_env,
}


def run(env: gym.Env[Any, Any], episodes: list[Episode]) -> dict[str, float]:
    """Drive all actions; where an episode ends early, the next one takes the rest of them.

    Returns:
        The number of decisions, and the processor time in seconds of all threads of this process.
    """
    begin = time.process_time()
    decisions = 0
    for seed, actions in episodes:
        env.reset(seed=seed)
        for action in np.array(actions, np.float32):
            _, _, terminated, truncated, _ = env.step(action)
            decisions += 1
            if terminated or truncated:
                env.reset()
    return {"decisions": decisions, "seconds": time.process_time() - begin}


def main(name: str) -> None:
    """Answer requests until there are no more."""
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    env = CONTENDERS[name]()
    for line in sys.stdin:
        print(json.dumps(run(env, json.loads(line)["episodes"])), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
