"""The way between environments and network while sampling, without RLlib's detours.

RLlib's default connectors take a batch of observations apart, file the items by episode, and put
them together again; then the same with the network's outputs. An env runner of this project has
one agent, one network without memory, and its environments always in the same order, so the
batch can stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core.columns import Columns
from torch import Tensor


def whole(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The array whose rows these are, without copying where they still lie in one."""
    base = rows[0].base
    if (
        isinstance(base, np.ndarray)
        and base.shape == (len(rows), *rows[0].shape)
        # Rows overlap only where they are the same one.
        and all(np.may_share_memory(a, b) for a, b in zip(rows, base, strict=True))
    ):
        return base
    return np.stack(rows)


class ObservationsToTensor(ConnectorV2):  # type: ignore[misc]
    """Environments → network: the observations of all environments as one tensor."""

    def __init__(
        self,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
        *,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, **options)
        self._device = device

    def __call__(self, *, batch: dict[str, Any], **columns: Any) -> dict[str, Tensor]:
        """Look at the vector environment's own array; nothing is copied on the CPU."""
        tensor = torch.from_numpy(whole(columns[Columns.OBS]))
        return {**batch, Columns.OBS: tensor.to(self._device)}


class SampleActions(GetActions):  # type: ignore[misc]
    """Network → environments: sampled actions and what was computed with them, as arrays."""

    def __call__(self, **arguments: Any) -> dict[str, NDArray[Any]]:
        """Sample as RLlib does (or act greedily when it does not explore)."""
        outputs: dict[str, Tensor] = super().__call__(**arguments)
        return {column: tensor.numpy(force=True) for column, tensor in outputs.items()}


def _env_to_module(_env: Any, _spaces: Any, device: torch.device | None) -> ConnectorV2:
    return ObservationsToTensor(device=device or "cpu")


def _module_to_env(_env: Any, _spaces: Any) -> ConnectorV2:
    return SampleActions()


def sample_in_batches(config: PPOConfig) -> PPOConfig:
    """Sample through a vector environment of our own and the two connectors above."""
    return config.env_runners(
        gym_env_vectorize_mode="vector_entry_point",
        env_to_module_connector=_env_to_module,
        module_to_env_connector=_module_to_env,
        add_default_connectors_to_env_to_module_pipeline=False,
        add_default_connectors_to_module_to_env_pipeline=False,
    )
