"""An environment that looks like the simulator's pipeline and costs nothing."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from training.environment.observation import Pipeline, Pixels
from training.environment.pipeline import StackLast, Wrap


class PictureEnv(gym.Env[Pixels, NDArray[np.float32]]):
    """Pictures that depend on seed and controls; episodes of random length, either way to end."""

    def __init__(self, size: int = 84) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (size, size), np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (3,), np.float32)
        self.road: list[Any] = []
        self.tile_visited_count = 0
        self.controls: list[NDArray[np.float32]] = []
        self.seeds: list[int | None] = []
        self.closed = False
        self._sum = 0.0
        self._left = 0

    def _picture(self) -> Pixels:
        picture: Pixels = self.np_random.integers(0, 256, self.observation_space.shape, np.uint8)
        picture[0, 0] = np.uint8(abs(self._sum) * 1000 % 256)
        return picture

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Pixels, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self._sum = 0.0
        self._left = int(self.np_random.integers(1, 9))
        return self._picture(), {}

    def step(self, action: Any) -> tuple[Pixels, float, bool, bool, dict[str, Any]]:
        assert self._left > 0, "stepped after its end"
        controls = np.array(action, np.float32)
        assert controls in self.action_space
        self.controls.append(controls)
        self._sum += float(controls.sum())
        self._left -= 1
        over, terminates = self._left == 0, bool(self.np_random.integers(2))
        info: dict[str, Any] = {"frames": 4}
        if over and terminates:
            info["lap_finished"] = True
        return self._picture(), self._sum, over and terminates, over and not terminates, info

    def close(self) -> None:
        self.closed = True


def make_picture_env(
    pipeline: Pipeline | None = None,
    *,
    stacked: bool = True,
    each_decision: Wrap | None = None,
    **_: Any,
) -> gym.Env[Any, Any]:
    """As ``training.environment.pipeline.make_env``, without a simulator."""
    pipeline = pipeline or Pipeline()
    env: gym.Env[Any, Any] = PictureEnv(pipeline.size)
    if each_decision is not None:
        env = each_decision(env)
    return StackLast(env, pipeline.stack) if stacked else env
