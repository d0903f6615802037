"""Several environments stepped as one, for RLlib's vector entry point.

What gymnasium's own vectorisation would do, in one pass: the controls of all environments are
mapped at once, and their pictures come in one array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from training.environment.actions import ActionMapping, output_space, to_controls
from training.environment.observation import Pixels

PictureEnv = gym.Env[Pixels, NDArray[np.float32]]
"""An environment that gives single pictures, (height, width) uint8, and takes controls."""
FINAL_PICTURE = "final_obs"
FINAL_INFO = "final_info"


class VectorDriving(VectorEnv[Pixels, NDArray[np.float32], NDArray[Any]]):
    """Environments side by side; actions are network outputs, observations single pictures.

    The step that ends an episode also starts the next one (gymnasium's ``SAME_STEP`` autoreset):
    it returns the new episode's first picture, and its info holds the last one's final picture
    (``final_obs``) and info (``final_info``). All other infos are empty.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, make: Callable[[], PictureEnv], count: int, *, mapping: ActionMapping
    ) -> None:
        """Make the environments.

        Args:
            make: Makes one of them.
            count: How many.
            mapping: From network outputs to controls.
        """
        self.envs: Sequence[PictureEnv] = [make() for _ in range(count)]
        self.num_envs = count
        self._mapping = mapping
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = output_space(mapping)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Pixels, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: One per environment; or the first one's, and the others count on from it.
            options: Handed on.

        Returns:
            Pictures, (environments, height, width) uint8, and no infos.
        """
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(self.num_envs)]
        return np.stack(
            [
                env.reset(seed=own, options=options)[0]
                for env, own in zip(self.envs, seed, strict=True)
            ]
        ), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Pixels, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One decision in every environment.

        Args:
            actions: Network outputs, (environments, outputs) float32.

        Returns:
            Pictures, (environments, height, width) uint8; rewards, float32; terminated and
            truncated, bool; and the infos of ended episodes.
        """
        controls = to_controls(actions, self._mapping)
        pictures: list[Pixels] = []
        rewards = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, np.bool_)
        truncated = np.zeros(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        for i, env in enumerate(self.envs):
            picture, rewards[i], terminated[i], truncated[i], info = env.step(controls[i])
            if terminated[i] or truncated[i]:
                infos = self._add_info(infos, {FINAL_PICTURE: picture, FINAL_INFO: info}, i)
                picture, _ = env.reset()
            pictures.append(picture)
        return np.stack(pictures), rewards, terminated, truncated, infos

    def close_extras(self, **_: Any) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()  # type: ignore[no-untyped-call]
