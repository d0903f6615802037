"""Episodes → the batch that PPO learns from, as whole tensors, and its minibatches.

RLlib's default connectors take episodes apart step by step, lengthen each by a step that is then
masked out of the loss, and leave the first epoch unshuffled. Here each column is one tensor from
the start, and only real steps are learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

_CHUNK = 512
"""Observations whose values are predicted at once: all of a batch would need gigabytes."""

Batch = dict[str, Tensor]
"""Columns by name; the first axis of each is the decision."""


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


def make_batch(
    module: Any, episodes: Sequence[SingleAgentEpisode], *, gamma: float, lambda_: float
) -> Batch:
    """The columns of PPO's loss, in the episodes' order, on the module's device.

    Args:
        module: Predicts the values that were not predicted while sampling.
        episodes: Chunks with single pictures, the stack's older ones in their lookback buffers.
        gamma: Discount per step.
        lambda_: Weight of longer returns.
    """
    device = next(module.parameters()).device
    stack = module.description.pipeline.stack
    stacked = [_stacks(episode, stack) for episode in episodes]
    observations = torch.from_numpy(np.concatenate([seen[:-1] for seen in stacked])).to(device)
    after = torch.from_numpy(np.stack([seen[-1] for seen in stacked])).to(device)
    columns = {
        name: np.concatenate([episode.get_extra_model_outputs(name) for episode in episodes])
        for name in episodes[0].extra_model_outputs
    }
    columns[Columns.ACTIONS] = np.concatenate([episode.get_actions() for episode in episodes])
    values = columns.pop(Columns.VF_PREDS, None)
    if values is None:
        values = _values(module, observations)
    estimates = []
    starts = np.cumsum([len(episode) for episode in episodes])[:-1]
    for episode, known, bootstrap in zip(
        episodes, np.split(values, starts), _values(module, after), strict=True
    ):
        follows = np.float32(0.0 if episode.is_terminated else bootstrap)
        rewards = np.asarray(episode.get_rewards(), np.float32)
        estimates.append(advantages(rewards, np.append(known, follows), gamma, lambda_))
    advantage = np.concatenate(estimates)
    columns[Postprocessing.VALUE_TARGETS] = advantage + values
    # RLlib normalizes over the batch as well, with this floor.
    columns[Postprocessing.ADVANTAGES] = (advantage - advantage.mean()) / max(
        1e-4, float(advantage.std())
    )
    batch = {name: torch.from_numpy(column).to(device) for name, column in columns.items()}
    return batch | {Columns.OBS: observations}


def minibatches(batch: Batch, *, size: int, epochs: int) -> Iterator[Batch]:
    """Whole minibatches, each epoch in an order of its own; what is left over is another each time.

    Args:
        batch: All columns.
        size: Decisions of a minibatch; of all of them if there are fewer.
        epochs: Passes over the batch.
    """
    decisions = len(batch[Columns.OBS])
    size = min(size, decisions)
    for _ in range(epochs):
        order = torch.randperm(decisions).to(batch[Columns.OBS].device)
        for rows in torch.split(order[: decisions // size * size], size):
            yield {name: column.index_select(0, rows) for name, column in batch.items()}


def _stacks(episode: SingleAgentEpisode, stack: int) -> NDArray[np.uint8]:
    """The observations of a chunk, (T + 1, size, size, stack), as a view of its pictures."""
    pictures = episode.get_observations(slice(1 - stack or None, None), neg_index_as_lookback=True)
    return np.lib.stride_tricks.sliding_window_view(pictures, stack, axis=0)


def _values(module: Any, observations: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        chunks = [
            module.compute_values({Columns.OBS: chunk})
            for chunk in torch.split(observations, _CHUNK)
        ]
    values: NDArray[np.float32] = torch.cat(chunks).numpy(force=True)
    return values
