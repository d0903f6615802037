"""Episodes → the batch that PPO learns from, the arrays kept whole.

RLlib's default connectors take episodes apart step by step, lengthen each by a step that is then
masked out of the loss, and leave the first epoch unshuffled. Here each column is one array from
the start, values are predicted in chunks, and only real steps are learned from.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

_CHUNK = 512
"""Observations whose values are predicted at once: all of a batch would need gigabytes."""


def advantages(
    rewards: NDArray[np.float32], values: NDArray[np.float32], gamma: float, lambda_: float
) -> NDArray[np.float32]:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16) of one episode chunk.

    Args:
        rewards: (T,), of each step.
        values: (T + 1,), of each step's observation and of the one after the last step, which is 0
            where the episode terminated there.
        gamma: Discount per step.
        lambda_: Weight of longer returns.

    Returns:
        (T,) float32.
    """
    errors = rewards + gamma * values[1:] - values[:-1]
    estimates = np.empty_like(errors, np.float32)
    running = 0.0
    for step in range(len(errors) - 1, -1, -1):
        running = errors[step] + gamma * lambda_ * running
        estimates[step] = running
    return estimates


class TrainBatch(ConnectorV2):  # type: ignore[misc]
    """Learner connector: what PPO's loss takes, from episode chunks and the value function."""

    def __init__(
        self,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
        *,
        gamma: float,
        lambda_: float,
        **options: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, **options)
        self._gamma = gamma
        self._lambda = lambda_

    def __call__(
        self, *, rl_module: Any, episodes: Sequence[SingleAgentEpisode], **_: Any
    ) -> dict[str, dict[str, Tensor]]:
        """The batch of the one module, shuffled, on the module's device."""
        module = rl_module[DEFAULT_MODULE_ID].unwrapped()
        device = next(module.parameters()).device
        seen = [episode.get_observations() for episode in episodes]
        observations = torch.from_numpy(np.concatenate([chunk[:-1] for chunk in seen])).to(device)
        after = torch.from_numpy(np.stack([chunk[-1] for chunk in seen])).to(device)
        values, bootstraps = _values(module, observations), _values(module, after)
        lengths = [len(episode) for episode in episodes]
        estimates = []
        for episode, known, bootstrap in zip(
            episodes, np.split(values, np.cumsum(lengths)[:-1]), bootstraps, strict=True
        ):
            follows = np.float32(0.0 if episode.is_terminated else bootstrap)
            rewards = np.asarray(episode.get_rewards(), np.float32)
            estimates.append(
                advantages(rewards, np.append(known, follows), self._gamma, self._lambda)
            )
        advantage = np.concatenate(estimates)
        # RLlib normalizes over the batch as well, with this floor.
        normalized = (advantage - advantage.mean()) / max(1e-4, float(advantage.std()))
        columns = {
            Columns.ACTIONS: _column([episode.get_actions() for episode in episodes]),
            **{
                name: _column([episode.get_extra_model_outputs(name) for episode in episodes])
                for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
            },
            Postprocessing.ADVANTAGES: torch.from_numpy(normalized),
            Postprocessing.VALUE_TARGETS: torch.from_numpy(advantage + values),
        }
        order = torch.randperm(len(observations))
        batch = {name: column.to(device)[order] for name, column in columns.items()}
        batch[Columns.OBS] = observations[order]
        return {DEFAULT_MODULE_ID: batch}


def _values(module: Any, observations: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        chunks = [
            module.compute_values({Columns.OBS: chunk})
            for chunk in torch.split(observations, _CHUNK)
        ]
    values: NDArray[np.float32] = torch.cat(chunks).numpy(force=True)
    return values


def _column(chunks: Sequence[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.concatenate(chunks))


def _learner_connector(
    observations: gym.Space[Any], actions: gym.Space[Any], *, gamma: float, lambda_: float
) -> ConnectorV2:
    return TrainBatch(observations, actions, gamma=gamma, lambda_=lambda_)


def learn_in_batches(config: PPOConfig) -> PPOConfig:
    """Make train batches with the connector above; gamma and lambda must be set already."""
    return config.learners(
        learner_connector=functools.partial(
            _learner_connector, gamma=config.gamma, lambda_=config.lambda_
        ),
        add_default_connectors_to_learner_pipeline=False,
    )
