"""The process that samples: environments and network, and the episodes that come of them.

RLlib's own env runner appends each environment's step to its episode, one value after the other,
and passes every batch through connectors that take it apart by episode. An env runner of this
project has one agent and one network without memory, so a rollout is a few whole arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import (
    EPISODE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
)

from training.environment.coaching import SCORE
from training.environment.observation import Pixels
from training.environment.seeds import environment_seeds
from training.environment.vector import FINAL_INFO, FINAL_PICTURE, VectorDriving


@dataclass
class Rollout:
    """What some environments did for some decisions; the first axis is time, the second which."""

    pictures: Pixels
    """(T + 1, N, size, size): before each decision, and after the last one."""
    older: Pixels
    """(stack - 1, N, size, size): those of the first observation's stack, but its newest."""
    columns: dict[str, NDArray[np.float32]]
    """Actions, and what the network said of them: (T, N, …)."""
    rewards: NDArray[np.float32]
    """(T, N)"""
    ends: list[tuple[int, int, bool, Pixels]]
    """Episodes' ends: decision, environment, whether it terminated, and the picture after it."""

    def chunks(self) -> list[SingleAgentEpisode]:
        """The episodes' parts, each with the stack's older pictures in its lookback buffer."""
        steps, count = self.rewards.shape
        chunks = []
        for i in range(count):
            start = 0
            for last, _, terminated, picture in [end for end in self.ends if end[1] == i]:
                chunks.append(self._chunk(i, start, last + 1, picture, terminated=terminated))
                start = last + 1
            if start < steps:
                chunks.append(self._chunk(i, start, steps, self.pictures[steps, i]))
        return chunks

    def _chunk(
        self, i: int, start: int, stop: int, after: Pixels, *, terminated: bool | None = None
    ) -> SingleAgentEpisode:
        """Environment ``i`` from one decision to another; ``terminated`` is None if it goes on."""
        seen = self.pictures[start:stop, i]
        # An episode begins with its first picture repeated.
        older = self.older[:, i] if start == 0 else np.repeat(seen[:1], len(self.older), axis=0)
        columns = {
            name: _padded(column[start:stop, i], len(older))
            for name, column in self.columns.items()
        }
        pictures = np.concatenate([older, seen, after[np.newaxis]])
        return SingleAgentEpisode(
            observations=pictures,
            infos=[{}] * len(pictures),
            actions=columns.pop(Columns.ACTIONS),
            rewards=_padded(self.rewards[start:stop, i], len(older)),
            extra_model_outputs=columns,
            terminated=terminated is True,
            truncated=terminated is False,
            len_lookback_buffer=len(older),
        )


def _padded(column: NDArray[np.float32], before: int) -> NDArray[np.float32]:
    """Zeros for the decisions of the lookback buffer, which only its pictures are kept of."""
    return np.concatenate([np.zeros((before, *column.shape[1:]), column.dtype), column])


class DrivingEnvRunner(SingleAgentEnvRunner):  # type: ignore[misc]
    """Samples with a :class:`VectorDriving`; episodes carry single pictures."""

    begins_after = 0
    """Iterations of the trial before this process began; it drives other tracks than those did."""
    _observations: Pixels | None = None
    """(N, size, size, stack): what the network is to see next; None before the first decision."""

    def sample(self) -> list[SingleAgentEpisode]:
        """Drive on for the configured rollout fragment in every environment."""
        observations = self._begin() if self._observations is None else self._observations
        rollout = self._drive(
            observations, self.config.get_rollout_fragment_length(self.worker_index)
        )
        steps = rollout.rewards.size
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        self.metrics.log_value(
            NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True
        )
        self.metrics.log_value(NUM_EPISODES, len(rollout.ends), reduce="sum")
        return rollout.chunks()

    def _begin(self) -> Pixels:
        """Start an episode in every environment."""
        seeds: list[int | None] | None = None
        if self.config.seed is not None:
            seeds = list(
                environment_seeds(
                    self.config.seed + (self.worker_index or 0),
                    self.num_envs,
                    after=self.begins_after,
                )
            )
        pictures, _ = self._environments.reset(seed=seeds)
        stack: int = self.module.description.pipeline.stack
        return np.repeat(pictures[..., np.newaxis], stack, axis=-1)

    @property
    def _environments(self) -> VectorDriving:
        environments: VectorDriving = self.env.unwrapped
        return environments

    def _drive(self, observations: Pixels, steps: int) -> Rollout:
        environments = self._environments
        distributions = self.module.get_exploration_action_dist_cls()
        older = np.moveaxis(observations[..., :-1], -1, 0).copy()
        pictures = [observations[..., -1]]
        columns: dict[str, list[NDArray[np.float32]]] = {}
        rewards = []
        ends = []
        for step in range(steps):
            with torch.no_grad():
                outputs = self.module.forward_exploration(
                    {Columns.OBS: torch.from_numpy(observations)}
                )
                distribution = distributions.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
                actions = distribution.sample()
                outputs |= {
                    Columns.ACTIONS: actions,
                    Columns.ACTION_LOGP: distribution.logp(actions),
                }
            for name, output in outputs.items():
                columns.setdefault(name, []).append(output.numpy())
            seen, gained, terminated, truncated, infos = environments.step(actions.numpy())
            observations = _pushed(observations, seen)
            for i in np.flatnonzero(terminated | truncated):
                observations[i] = seen[i, ..., np.newaxis]
                ends.append((step, int(i), bool(terminated[i]), infos[FINAL_PICTURE][i]))
                if SCORE in infos[FINAL_INFO] and infos[FINAL_INFO][f"_{SCORE}"][i]:
                    self._log_return(float(infos[FINAL_INFO][SCORE][i]))
            pictures.append(seen)
            rewards.append(gained)
        self._observations = observations
        return Rollout(
            pictures=np.stack(pictures),
            older=older,
            columns={name: np.stack(column) for name, column in columns.items()},
            rewards=np.stack(rewards),
            ends=ends,
        )

    def _log_return(self, score: float) -> None:
        """Log the unshaped, unscaled return of an episode that ended."""
        runners = self.config.num_env_runners or 1
        window = max(1, math.ceil(self.config.metrics_num_episodes_for_smoothing / runners))
        self.metrics.log_value(EPISODE_RETURN_MEAN, score, window=window)
        for kind in ("min", "mean", "max"):
            self.metrics.log_value(f"return_{kind}", score, reduce=kind, window=window)


def _pushed(observations: Pixels, pictures: Pixels) -> Pixels:
    """The next observations, (N, size, size, stack), with pictures, (N, size, size), as newest."""
    pushed = np.empty_like(observations)
    # Pictures are the last axis, so one byte to the left makes each the next older one; what
    # crosses into a neighbouring pixel lands in the newest picture's place.
    pushed.reshape(-1)[:-1] = observations.reshape(-1)[1:]
    pushed[..., -1] = pictures
    return pushed
