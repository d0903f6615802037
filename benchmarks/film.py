"""A lap's film before and after: stock's drawing against the fast simulator's, in one run.

python -m benchmarks.film

Both drive the same actions with an untrained network of the published shape beside them, and
encode the same GIF that the service would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing

from app.films import FPS
from benchmarks.speed import record
from training.environment import (
    EPISODE_FRAMES,
    GreyPicture,
    Pipeline,
    RepeatAction,
    StackLast,
    UndrawnCarRacing,
    make_env,
)
from training.film import Film
from training.network import Actor
from training.policy import Policy
from training.recipe import Recipe
from training.rollout import Camera

_SEED: Final = 5000
_ROUNDS: Final = 3


class StockFilmed(UndrawnCarRacing):
    """Stock whose pictures for people are stock's own, too."""

    def _render(self, mode: str) -> Any:
        return CarRacing._render(self, mode) if mode == "rgb_array" else super()._render(mode)  # noqa: SLF001


def _before(film: Film) -> gym.Env[Any, Any]:
    pipeline = Pipeline()
    env: gym.Env[Any, Any] = gym.wrappers.TimeLimit(StockFilmed("rgb_array"), EPISODE_FRAMES)
    env = RepeatAction(Camera(env, FPS, film.add), pipeline.frame_skip)
    return StackLast(GreyPicture(env, pipeline.size), pipeline.stack)


def _after(film: Film) -> gym.Env[Any, Any]:
    return make_env(
        scaled_rewards=False,
        each_frame=lambda env: Camera(env, FPS, film.add),
        render_mode="rgb_array",
    )


def _film(
    env: gym.Env[Any, Any], film: Film, policy: Policy, seed: int, actions: Sequence[Any]
) -> tuple[float, bytes]:
    """Seconds of processor time that a film takes, and the film."""
    begin = time.process_time()
    observation, _ = env.reset(seed=seed)
    for action in actions:
        policy.act(observation[None])
        observation, _, terminated, truncated, _ = env.step(np.float32(action))
        if terminated or truncated:
            break
    content = film.encode()
    return time.process_time() - begin, content


def main() -> None:
    """Film the same lap both ways, alternating, and print the times."""
    description = Recipe().description()
    pipeline = description.pipeline
    actor = Actor(description.network, pipeline.size, pipeline.stack)
    policy = Policy(description, actor, version="untrained")
    seed, actions = record(_SEED)
    taken: dict[str, list[float]] = {"stock's drawing": [], "fast": []}
    print(
        f"{len(actions)} decisions, GIF of {FPS} pictures a second; load {os.getloadavg()[0]:.1f}"
    )
    for _ in range(_ROUNDS):
        for name, build in (("stock's drawing", _before), ("fast", _after)):
            film = Film()
            seconds, content = _film(build(film), film, policy, seed, actions)
            taken[name].append(seconds)
            print(f"{name}: {seconds:.2f} s, {len(film)} pictures, {len(content) // 1024} KiB")
    before, after = (median(values) for values in taken.values())
    print(
        f"median of {_ROUNDS}: {before:.2f} s before, {after:.2f} s after, {before / after:.1f} ×"
    )


if __name__ == "__main__":
    main()
