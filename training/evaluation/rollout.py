"""Drive episodes with a policy and keep what happened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from training.environment.actions import ActionFilter
from training.environment.observation import EPISODE_FRAMES, SIMULATOR_FPS, Pipeline, Pixels
from training.environment.pipeline import Simulator, Wrap, make_env
from training.policy.acting import Policy


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


Driver = Callable[[Pixels], NDArray[np.float32]]
"""Decides: an observation in, controls, (3,) float32, out."""


class PolicyDriver:
    """A policy at the wheel for one episode: its decisions, smoothed."""

    def __init__(
        self, policy: Policy, *, action_filter: ActionFilter | None = None, seed: int | None = None
    ) -> None:
        """Take a seat.

        Args:
            policy: Chooses the controls.
            action_filter: Smoothing of the controls; None takes the policy's own.
            seed: None drives greedily; with a number, decision k, counted from 0, is sampled with
                ``seed + k``.
        """
        self._policy = policy
        self._filter = (action_filter or policy.description.action_filter).start()
        self._seed = seed

    def __call__(self, observation: Pixels) -> NDArray[np.float32]:
        """The controls, (3,) float32, for an observation, (size, size, stack)."""
        decided = self._policy.act(observation[None], seed=self._seed)[0]
        if self._seed is not None:
            self._seed += 1
        return self._filter(decided)


class Drive:
    """One episode on one track, driven decision by decision until it is :attr:`over`."""

    def __init__(
        self,
        driver: Driver,
        seed: int,
        *,
        pipeline: Pipeline,
        simulator: Simulator = "stock",
        max_frames: int = EPISODE_FRAMES,
        each_frame: Wrap | None = None,
    ) -> None:
        """Put the car at the start.

        Args:
            driver: Chooses the controls for an observation.
            seed: The track's seed, as ``CarRacing.reset`` takes it.
            pipeline: What the driver sees, and how long a decision is held.
            simulator: Where to drive.
            max_frames: Stop after this many simulator frames.
            each_frame: A wrapper that meets every simulator frame and may render it.

        Raises:
            ValueError: ``max_frames`` is below 1.
        """
        if max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}; it must be at least 1")
        self.seed = seed
        self.frames = 0
        """Simulator frames driven."""
        self.over = False
        self.lap_finished = False
        self._driver = driver
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []
        self._env = make_env(
            pipeline,
            scaled_rewards=False,
            simulator=simulator,
            max_frames=min(max_frames, EPISODE_FRAMES),
            each_frame=each_frame,
            render_mode="rgb_array" if each_frame is not None else None,
        )
        self.observation, _ = self._env.reset(seed=seed)
        """What the driver sees now."""

    @property
    def score(self) -> float:
        """Sum of the simulator's rewards so far, unscaled."""
        return float(sum(self._rewards))

    def advance(self) -> int:
        """Decide once and drive it; the simulator frames that it took."""
        action = self._driver(self.observation)
        self.observation, reward, terminated, truncated, info = self._env.step(action)
        self.over = terminated or truncated
        self.lap_finished = bool(info.get("lap_finished", False))
        frames: int = info["frames"]
        self.frames += frames
        self._actions.append(action)
        self._rewards.append(float(reward))
        return frames

    def episode(self) -> Episode:
        """What was driven so far."""
        racing: CarRacing = self._env.unwrapped  # type: ignore[assignment]
        tiles = len(racing.track)
        return Episode(
            seed=self.seed,
            score=self.score,
            frames=self.frames,
            lap_finished=self.lap_finished,
            tiles=tiles,
            tiles_missed=tiles - racing.tile_visited_count,
            actions=np.asarray(self._actions, np.float32).reshape(-1, 3),
            rewards=np.asarray(self._rewards, np.float64),
        )

    def close(self) -> None:
        """Close the environment; no more can be driven."""
        self._env.close()  # type: ignore[no-untyped-call]


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
        policy: Chooses the controls.
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
    each_frame: Wrap | None = None
    if shoot is not None:
        fps, take = SIMULATOR_FPS if film_fps is None else film_fps, shoot
        each_frame = lambda env: Camera(env, fps, take)  # noqa: E731
    driven = Drive(
        PolicyDriver(policy, action_filter=action_filter),
        seed,
        pipeline=policy.description.pipeline,
        simulator=simulator,
        max_frames=max_frames,
        each_frame=each_frame,
    )
    with closing(driven):
        while not driven.over:
            frames = driven.advance()
            if on_frames is not None:
                on_frames(frames)
        return driven.episode()
