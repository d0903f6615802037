"""What a policy head's outputs mean: the distribution of actions, in plain PyTorch.

``diagonal_gaussian``: means, then log standard deviations, which are kept within
±:data:`LOG_STD_LIMIT`. ``beta``: for each number of an action two concentrations, first all α, then
all β, as softplus + 1; both above 1, so the density has one peak, and its support is [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

DistributionName = Literal["diagonal_gaussian", "beta"]

LOG_STD_LIMIT = 20.0
"""Bound of a Gaussian's log standard deviation, RLlib's ``log_std_clip_param``."""
INSIDE = 1e-6
"""Samples of a Beta keep this far from 0 and 1, where its density may be 0."""


def parameter_count(name: DistributionName) -> int:
    """Parameters for each number of an action."""
    match name:
        case "diagonal_gaussian" | "beta":
            return 2


def bounded(name: DistributionName, outputs: Tensor) -> Tensor:
    """Distribution parameters, (…, 2n), for a policy head's outputs, (…, 2n)."""
    if name == "beta":
        return outputs
    means, log_stds = outputs.chunk(2, dim=-1)
    return torch.cat([means, log_stds.clamp(-LOG_STD_LIMIT, LOG_STD_LIMIT)], dim=-1)


def concentrations(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """α and β, each (…, n), for the parameters, (…, 2n), of a Beta."""
    alpha, beta = (softplus(parameters) + 1.0).chunk(2, dim=-1)
    return alpha, beta


def mean(name: DistributionName, parameters: Tensor) -> Tensor:
    """The greedy action, (…, n), for parameters, (…, 2n): the distribution's mean."""
    if name == "beta":
        alpha, beta = concentrations(parameters)
        return alpha / (alpha + beta)
    return parameters.chunk(2, dim=-1)[0]


def sample(name: DistributionName, parameters: Tensor, generator: torch.Generator) -> Tensor:
    """A sampled action, (…, n), for parameters, (…, 2n)."""
    if name == "beta":
        alpha, beta = concentrations(parameters)
        # A Beta is the share of one gamma variable in the sum of two.
        gammas = torch._standard_gamma(torch.stack([alpha, beta]), generator=generator)  # noqa: SLF001
        return (gammas[0] / gammas.sum(0)).clamp(INSIDE, 1.0 - INSIDE)
    means, log_stds = parameters.chunk(2, dim=-1)
    noise = torch.randn(means.shape, generator=generator)
    return means + log_stds.exp() * noise
