"""Several environments stepped as one, for RLlib's vector entry point.

What gymnasium's own vectorisation would do, in one pass: the controls of all environments are
mapped at once, and their pictures are stacked in the one array that network and episodes share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from training.actions import ActionMapping, output_space, to_controls
from training.environment import Pixels, stacked_space
from training.seeds import environment_seeds

PictureEnv = gym.Env[Pixels, NDArray[np.float32]]
"""An environment that gives single pictures, (height, width) uint8, and takes controls."""


class VectorDriving(VectorEnv[Pixels, NDArray[np.float32], NDArray[Any]]):
    """Environments side by side; actions are network outputs, observations picture stacks.

    A step after an episode's end ignores the action and starts the next episode: its reward is 0
    and its observation the first one (gymnasium's ``NEXT_STEP`` autoreset). Every step returns
    an observation array of its own, which may be kept but must not be written to.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self, make: Callable[[], PictureEnv], count: int, *, stack: int, mapping: ActionMapping
    ) -> None:
        """Make the environments.

        Args:
            make: Makes one of them.
            count: How many.
            stack: Pictures in an observation, oldest first.
            mapping: From network outputs to controls.
        """
        self.envs: Sequence[PictureEnv] = [make() for _ in range(count)]
        self.num_envs = count
        self.begins_after = 0
        """Iterations of the trial that came before its first episodes, see ``training.seeds``."""
        self._mapping = mapping
        self.single_observation_space = stacked_space(self.envs[0].observation_space, stack)
        self.single_action_space = output_space(mapping)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self._observations: Pixels = np.zeros(self.observation_space.shape or (), np.uint8)
        self._over = np.zeros(count, np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Pixels, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: Of the env runner (see ``training.seeds``), or one per environment as it is.
            options: Handed on.
        """
        seeds: Sequence[int | None] | None = (
            environment_seeds(seed, self.num_envs, after=self.begins_after)
            if isinstance(seed, int)
            else seed
        )
        observations = np.empty_like(self._observations)
        infos: dict[str, Any] = {}
        for i, (env, own) in enumerate(
            zip(self.envs, seeds or [None] * self.num_envs, strict=True)
        ):
            picture, info = env.reset(seed=own, options=options)
            observations[i] = picture[..., np.newaxis]
            infos = self._add_info(infos, info, i)
        self._observations = observations
        self._over = np.zeros(self.num_envs, np.bool_)
        return observations, infos

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Pixels, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One decision in every environment, or a new episode where the last one is over."""
        controls = to_controls(actions, self._mapping)
        observations = np.empty_like(self._observations)
        # Pictures are the last axis, so one byte to the left makes each the next older one; what
        # crosses into a neighbouring pixel lands in the newest picture's place.
        observations.reshape(-1)[:-1] = self._observations.reshape(-1)[1:]
        rewards = np.zeros(self.num_envs, np.float64)
        terminated = np.zeros(self.num_envs, np.bool_)
        truncated = np.zeros(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        for i, env in enumerate(self.envs):
            if self._over[i]:
                picture, info = env.reset()
                observations[i] = picture[..., np.newaxis]
            else:
                picture, rewards[i], terminated[i], truncated[i], info = env.step(controls[i])
                observations[i, ..., -1] = picture
            infos = self._add_info(infos, info, i)
        self._observations = observations
        self._over = terminated | truncated
        return observations, rewards, terminated, truncated, infos

    def close_extras(self, **_: Any) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()  # type: ignore[no-untyped-call]
