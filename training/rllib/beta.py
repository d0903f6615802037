"""The Beta distribution behind RLlib's interface: bounded actions, greedy at the mean."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchDeterministic,
    TorchDistribution,
)
from torch import Tensor

from training.policy.distributions import INSIDE, concentrations, mean, parameter_count


class TorchBeta(TorchDistribution):  # type: ignore[misc]
    """Independent Betas over [0, 1], one for each number of an action.

    Log-probabilities, entropies and divergences are sums over these numbers.
    """

    _dist: torch.distributions.Beta

    def __init__(self, logits: Tensor) -> None:
        """Make it of a network's outputs.

        Args:
            logits: (…, 2n), as ``training.policy.distributions.concentrations`` reads them.
        """
        self._logits = logits
        super().__init__(logits)

    def _get_torch_distribution(self, logits: Tensor) -> torch.distributions.Beta:
        return torch.distributions.Beta(*concentrations(logits), validate_args=False)

    def sample(self, *, sample_shape: tuple[int, ...] | None = None) -> Tensor:
        """A sample, (…, n), never 0 or 1 themselves."""
        drawn: Tensor = super().sample(sample_shape=sample_shape)
        return drawn.clamp(INSIDE, 1.0 - INSIDE)

    def rsample(self, *, sample_shape: tuple[int, ...] | None = None) -> Tensor:
        """The same, through which gradients flow."""
        drawn: Tensor = super().rsample(sample_shape=sample_shape)
        return drawn.clamp(INSIDE, 1.0 - INSIDE)

    def logp(self, value: Tensor, **_: Any) -> Tensor:
        """Logarithm of the density at (…, n) numbers from 0 to 1: (…)."""
        logs: Tensor = super().logp(value)
        return logs.sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy, in nats: (…)."""
        entropies: Tensor = super().entropy()
        return entropies.sum(-1)

    def kl(self, other: TorchBeta) -> Tensor:
        """Kullback-Leibler divergence KL(self ‖ other), in nats: (…)."""
        divergences: Tensor = super().kl(other)
        return divergences.sum(-1)

    @staticmethod
    def required_input_dim(space: gym.Space[Any], **_: Any) -> int:
        """Outputs that a network needs for a Box of actions."""
        return parameter_count("beta") * int(np.prod(space.shape or (), dtype=np.int64))

    def to_deterministic(self) -> TorchDeterministic:
        """What acts greedily: the mean."""
        return TorchDeterministic(loc=mean("beta", self._logits))
