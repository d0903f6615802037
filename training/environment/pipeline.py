"""CarRacing-v3 to what the network sees: one wrapper for each step of the pipeline.

CarRacing → time limit → repeat the action → look: grey, 84×84 → reward ×0.1 → stack of four,
channels last. Pixels stay uint8; the network scales them to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray
from PIL import Image

from training.environment.observation import (
    EPISODE_FRAMES,
    FRAME_SHAPE,
    Pipeline,
    Pixels,
)
from training.simulator import FastCarRacing
from training.simulator.drawing.film_view import FilmView

Simulator = Literal["fast", "stock"]
"""``fast`` trains and films; ``stock`` is Gymnasium's own, on which scores are taken."""

_GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])


def to_grey(frame: Pixels) -> Pixels:
    """Grey as ``gymnasium.wrappers.GrayscaleObservation`` computes it: (H, W, 3) → (H, W)."""
    grey: Pixels = np.sum(np.multiply(frame, _GREY_WEIGHTS), axis=-1).astype(np.uint8)
    return grey


def shrink(grey: Pixels, size: int) -> Pixels:
    """Resize a (H, W) uint8 picture to (size, size) with Pillow's bilinear filter."""
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR))


class UndrawnCarRacing(CarRacing):
    """Stock CarRacing that draws what the driver sees only when :meth:`look` asks for it.

    Drawing is 98 % of a frame's time, and a frame skip throws three pictures of four away.
    Physics, rewards and what the driver sees are the parent's, to the bit.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self._blank = np.zeros(FRAME_SHAPE, np.uint8)
        self._score_in_picture = 0.0
        self._film = FilmView()

    def _render(self, mode: str) -> Any:
        if mode == "rgb_array":
            return self._film.draw(self)
        self._score_in_picture = self.reward
        return self._blank

    def look(self) -> Pixels:
        """Draw what ``step`` would have returned for the current frame: (96, 96, 3) uint8."""
        # The parent draws before it takes this frame's 0.1 off the score that the picture shows.
        score, self.reward = self.reward, self._score_in_picture
        picture: Pixels = super()._render("state_pixels")
        self.reward = score
        return picture

    def look_grey(self, size: int) -> Pixels:
        """The same, grey, square and small: (size, size) uint8."""
        return shrink(to_grey(self.look()), size)


class RepeatAction(gym.Wrapper[Any, Any, Any, Any]):
    """Hold an action for some frames, and sum their rewards."""

    def __init__(self, env: gym.Env[Any, Any], frames: int) -> None:
        super().__init__(env)
        self.frames = frames

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step until the frames are over or the episode is.

        ``info["frames"]`` holds the number of simulator frames that were stepped.
        """
        total = 0.0
        frames = 0
        over = False
        while frames < self.frames and not over:
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            frames += 1
            over = terminated or truncated
        return observation, total, terminated, truncated, {**info, "frames": frames}


class GreyPicture(gym.ObservationWrapper[Pixels, Any, Any]):
    """What the driver sees after a decision, drawn only here: (size, size) uint8."""

    def __init__(self, env: gym.Env[Any, Any], size: int) -> None:
        super().__init__(env)
        self.size = size
        self.observation_space = gym.spaces.Box(0, 255, (size, size), np.uint8)

    def observation(self, _: Any) -> Pixels:
        """The picture now; what the simulator returned with the frame is empty."""
        simulator: UndrawnCarRacing | FastCarRacing = self.unwrapped  # type: ignore[assignment]
        return simulator.look_grey(self.size)


class ScaleReward(gym.RewardWrapper[Any, Any]):
    """Multiply the reward; training only, scores are never taken behind it."""

    def __init__(self, env: gym.Env[Any, Any], scale: float) -> None:
        super().__init__(env)
        self.scale = scale

    def reward(self, reward: SupportsFloat) -> float:
        """The scaled reward."""
        return float(reward) * self.scale


def stacked_space(pictures: gym.Space[Any], stack: int) -> gym.spaces.Box:
    """The space of ``stack`` pictures as channels, for the space of one picture."""
    height, width = pictures.shape or (0, 0)
    return gym.spaces.Box(0, 255, (height, width, stack), np.uint8)


class PictureStack:
    """The last few pictures as channels, oldest first; a new episode repeats its first one."""

    def __init__(self, stack: int) -> None:
        self._stack = stack
        self._last: Pixels = np.zeros((0, 0, stack), np.uint8)

    def start(self, picture: Pixels) -> Pixels:
        """The observation, (size, size, stack), of an episode's first picture, (size, size)."""
        self._last = np.repeat(picture[..., np.newaxis], self._stack, axis=-1)
        return self._last.copy()

    def push(self, picture: Pixels) -> Pixels:
        """The observation with the next picture."""
        observation = np.empty_like(self._last)
        # One byte to the left makes each picture the next older one.
        observation.reshape(-1)[:-1] = self._last.reshape(-1)[1:]
        observation[..., -1] = picture
        self._last = observation
        return observation.copy()


class StackLast(gym.Wrapper[Pixels, Any, Pixels, Any]):
    """Stacks pictures as :class:`PictureStack` does."""

    def __init__(self, env: gym.Env[Pixels, Any], stack: int) -> None:
        super().__init__(env)
        self.observation_space = stacked_space(env.observation_space, stack)
        self._stack = PictureStack(stack)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Pixels, dict[str, Any]]:
        """Start an episode with its first picture repeated."""
        picture, info = self.env.reset(seed=seed, options=options)
        return self._stack.start(picture), info

    def step(self, action: Any) -> tuple[Pixels, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and push the new picture."""
        picture, reward, terminated, truncated, info = self.env.step(action)
        return self._stack.push(picture), reward, terminated, truncated, info


Wrap = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]
"""Puts a wrapper around an environment."""


def make_env(
    pipeline: Pipeline | None = None,
    *,
    scaled_rewards: bool = True,
    simulator: Simulator = "fast",
    max_frames: int = EPISODE_FRAMES,
    each_frame: Wrap | None = None,
    each_decision: Wrap | None = None,
    render_mode: str | None = None,
    stacked: bool = True,
) -> gym.Env[Pixels, NDArray[np.float32]]:
    """The environment that training, evaluation and the service drive in.

    Args:
        pipeline: Its numbers; the published ones when left out.
        scaled_rewards: Scale rewards for training; off wherever a score is taken.
        simulator: Which one; physics and rewards are the same to the bit, pictures nearly so.
        max_frames: Truncate after this many simulator frames.
        each_frame: A wrapper put inside the frame skip, where it meets every simulator frame.
        each_decision: A wrapper put around the frame skip, where it meets every decision's sum of
            rewards before they are scaled.
        render_mode: As CarRacing takes it; ``"rgb_array"`` for films.
        stacked: Stack pictures; off for who stacks them himself.

    Returns:
        Observations (size, size, stack) uint8, or (size, size) if they are not stacked; actions
        are controls, (3,) float32.
    """
    pipeline = pipeline or Pipeline()
    env: gym.Env[Any, Any] = (
        FastCarRacing(render_mode, lazy=True)
        if simulator == "fast"
        else UndrawnCarRacing(render_mode)
    )
    env = gym.wrappers.TimeLimit(env, max_frames)
    if each_frame is not None:
        env = each_frame(env)
    env = RepeatAction(env, pipeline.frame_skip)
    if each_decision is not None:
        env = each_decision(env)
    env = GreyPicture(env, pipeline.size)
    if scaled_rewards:
        env = ScaleReward(env, pipeline.reward_scale)
    return StackLast(env, pipeline.stack) if stacked else env
