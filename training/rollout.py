"""Drive episodes with a policy and keep what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from training.actions import ActionFilter
from training.environment import (
    EPISODE_FRAMES,
    SIMULATOR_FPS,
    Pixels,
    Simulator,
    Wrap,
    make_env,
)
from training.policy import Policy


@dataclass(frozen=True)
class Shot:
    """A picture of a film and how long it is shown, in simulator frames."""

    picture: Pixels
    frames: int


@dataclass(frozen=True)
class Episode:
    """One driven episode."""

    seed: int
    score: float
    """Sum of the simulator's rewards, unscaled."""
    frames: int
    """Simulator frames driven."""
    lap_finished: bool
    tiles: int
    """Tiles of the track."""
    tiles_missed: int
    """Tiles that no wheel had touched when the episode ended."""
    actions: NDArray[np.float32]
    """(decisions, 3) controls as they were driven."""
    rewards: NDArray[np.float64]
    """(decisions,) unscaled rewards."""


class Camera(gym.Wrapper[Any, Any, Any, Any]):
    """Takes a picture of every simulator frame that a film of some rate shows.

    Frames fall on the simulator's own clock, so the film runs at its speed exactly: at 30
    pictures a second some are shown for one frame (20 ms) and some for two.
    """

    def __init__(self, env: gym.Env[Any, Any], fps: float, shoot: Callable[[Shot], None]) -> None:
        super().__init__(env)
        if not 0 < fps <= SIMULATOR_FPS:
            raise ValueError(
                f"fps is {fps}; it must be above 0 and at most {SIMULATOR_FPS}, the simulator's own"
            )
        self._interval = SIMULATOR_FPS / fps
        self._shoot = shoot
        self._frame = 0
        self._shot = 0

    def _due(self, shot: int) -> int:
        return round(shot * self._interval)

    def _take(self) -> None:
        if self._frame < self._due(self._shot):
            return
        shown_for = self._due(self._shot + 1) - self._due(self._shot)
        self._shoot(Shot(self.env.render(), shown_for))  # type: ignore[arg-type]
        self._shot += 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with a picture of its first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frame = self._shot = 0
        self._take()
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and take a picture where one is due."""
        result = self.env.step(action)
        self._frame += 1
        self._take()
        return result


def drive(
    policy: Policy,
    seed: int,
    *,
    simulator: Simulator = "stock",
    max_frames: int = EPISODE_FRAMES,
    action_filter: ActionFilter | None = None,
    film_fps: float | None = None,
    shoot: Callable[[Shot], None] | None = None,
    on_frames: Callable[[int], object] | None = None,
) -> Episode:
    """Drive one track greedily.

    Args:
        policy: Who drives.
        seed: The track's seed, as ``CarRacing.reset`` takes it.
        simulator: Where to drive. Scores are taken on stock; a film alone is made on fast.
        max_frames: Stop after this many simulator frames.
        action_filter: Smoothing of the controls; None takes the policy's own.
        film_fps: Pictures per second of simulated time, with ``shoot``.
        shoot: Gets every picture of the film as it is taken.
        on_frames: Gets the number of simulator frames of each decision once it is driven.

    Raises:
        ValueError: ``max_frames`` is below 1 or the rate is out of range.
    """
    if max_frames < 1:
        raise ValueError(f"max_frames is {max_frames}; it must be at least 1")
    pipeline = policy.description.pipeline
    each_frame: Wrap | None = None
    if shoot is not None:
        fps, take = SIMULATOR_FPS if film_fps is None else film_fps, shoot
        each_frame = lambda env: Camera(env, fps, take)  # noqa: E731
    env = make_env(
        pipeline,
        scaled_rewards=False,
        simulator=simulator,
        max_frames=min(max_frames, EPISODE_FRAMES),
        each_frame=each_frame,
        render_mode="rgb_array" if shoot is not None else None,
    )
    controls_filter = (action_filter or policy.description.action_filter).start()
    actions: list[NDArray[np.float32]] = []
    rewards: list[float] = []
    frames = 0
    info: dict[str, Any] = {}
    try:
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = controls_filter(policy.act(observation[None])[0])
            observation, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            actions.append(action)
            rewards.append(float(reward))
            frames += info["frames"]
            if on_frames is not None:
                on_frames(info["frames"])
        racing: CarRacing = env.unwrapped  # type: ignore[assignment]
        tiles, tiles_missed = len(racing.track), len(racing.track) - racing.tile_visited_count
    finally:
        env.close()  # type: ignore[no-untyped-call]
    return Episode(
        seed=seed,
        score=float(sum(rewards)),
        frames=frames,
        lap_finished=bool(info.get("lap_finished", False)),
        tiles=tiles,
        tiles_missed=tiles_missed,
        actions=np.asarray(actions, np.float32).reshape(-1, 3),
        rewards=np.asarray(rewards, np.float64),
    )
