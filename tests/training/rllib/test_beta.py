"""RLlib's face of the Beta, against torch's distribution."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, kl_divergence

from training.policy.distributions import INSIDE, concentrations, mean
from training.rllib.beta import TorchBeta


@pytest.fixture
def parameters() -> Tensor:
    return torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3


def reference(parameters: Tensor) -> Any:
    return Beta(*concentrations(parameters))


def test_log_probability_entropy_and_divergence_are_torchs_summed(parameters: Tensor) -> None:
    ours, theirs = TorchBeta.from_logits(parameters), reference(parameters)
    actions = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 0.98 + 0.01
    torch.testing.assert_close(ours.logp(actions), theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))
    others = parameters.flip(0)
    torch.testing.assert_close(
        ours.kl(TorchBeta.from_logits(others)),
        kl_divergence(theirs, reference(others)).sum(-1),
    )


def test_samples_are_torchs_and_have_finite_log_probabilities(parameters: Tensor) -> None:
    torch.manual_seed(2)
    ours = TorchBeta.from_logits(parameters).sample()
    torch.manual_seed(2)
    assert torch.equal(ours, reference(parameters).sample().clamp(INSIDE, 1 - INSIDE))
    extreme = TorchBeta.from_logits(torch.tensor([[-30.0, 30.0, 30.0, -30.0]]))
    for _ in range(200):
        assert extreme.logp(extreme.sample()).isfinite().all()


def test_reparameterized_samples_carry_gradients() -> None:
    parameters = torch.zeros(3, 4, requires_grad=True)
    TorchBeta.from_logits(parameters).rsample().sum().backward()
    assert parameters.grad is not None
    assert parameters.grad.abs().min() > 0


def test_log_probabilities_carry_the_gradients_of_torchs(parameters: Tensor) -> None:
    actions = torch.full((50, 2), 0.3)
    gradients = []
    for distribution in (TorchBeta.from_logits, reference):
        leaf = parameters.clone().requires_grad_()
        made: Any = distribution(leaf)
        log_probability = made.logp if isinstance(made, TorchBeta) else made.log_prob
        log_probability(actions).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0] is not None
    torch.testing.assert_close(*gradients)


def test_acting_greedily_is_the_mean(parameters: Tensor) -> None:
    greedy = TorchBeta.from_logits(parameters).to_deterministic().sample()
    assert torch.equal(greedy, mean("beta", parameters))


def test_a_network_needs_two_outputs_for_each_number_of_an_action() -> None:
    space = gym.spaces.Box(0, 1, (2,), np.float32)
    assert TorchBeta.required_input_dim(space) == 4
