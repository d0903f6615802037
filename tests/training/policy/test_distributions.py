"""The distributions, against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta

from training.policy.distributions import (
    INSIDE,
    bounded,
    concentrations,
    mean,
    parameter_count,
    sample,
)


def gaussian(mean_: float, log_std: float, number: int = 1) -> Tensor:
    return torch.tensor([mean_] * 3 + [log_std] * 3).expand(number, 6)


def test_the_greedy_output_of_a_gaussian_is_its_mean() -> None:
    assert mean("diagonal_gaussian", gaussian(0.25, 1)).tolist() == [[0.25] * 3]


def test_samples_of_a_gaussian_have_its_mean_and_deviation() -> None:
    parameters = gaussian(1, math.log(2), number=20_000)
    samples = sample("diagonal_gaussian", parameters, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(0), torch.full((3,), 1.0), atol=0.05, rtol=0)
    torch.testing.assert_close(samples.std(0), torch.full((3,), 2.0), atol=0.05, rtol=0)


def test_a_sample_without_deviation_is_the_mean() -> None:
    parameters = gaussian(0.5, -math.inf)
    drawn = sample("diagonal_gaussian", parameters, torch.Generator())
    assert torch.equal(drawn, mean("diagonal_gaussian", parameters))


def test_concentrations_are_above_one_and_follow_the_parameters() -> None:
    alpha, beta = concentrations(torch.tensor([[-30.0, 0.0, 2.0, 50.0]]))
    assert alpha.tolist() == [[pytest.approx(1), pytest.approx(1 + math.log(2))]]
    assert beta.tolist() == [[pytest.approx(1 + math.log(1 + math.exp(2))), pytest.approx(51)]]


@pytest.mark.parametrize("row", [[0.0, 1.0, 2.0, -1.0], [5.0, -3.0, 0.0, 4.0]])
def test_mean_and_samples_of_a_beta_are_torchs(row: list[float]) -> None:
    parameters = torch.tensor([row])
    expected = Beta(*concentrations(parameters))
    torch.testing.assert_close(mean("beta", parameters), expected.mean)
    generator = torch.Generator().manual_seed(1)
    samples = sample("beta", parameters.expand(40_000, 4), generator)
    torch.testing.assert_close(samples.mean(0), expected.mean[0], atol=0.005, rtol=0)
    torch.testing.assert_close(samples.std(0), expected.stddev[0], atol=0.005, rtol=0)


def test_samples_of_a_beta_stay_inside() -> None:
    parameters = torch.tensor([[-30.0, 30.0, 30.0, -30.0]]).expand(10_000, 4)
    samples = sample("beta", parameters, torch.Generator().manual_seed(2))
    assert samples.min() >= INSIDE
    assert samples.max() <= 1 - INSIDE


@pytest.mark.parametrize("row", [[0.0] * 4, [0.0] * 6])
@pytest.mark.parametrize("name", ["diagonal_gaussian", "beta"])
def test_one_generator_draws_the_same_again(name: str, row: list[float]) -> None:
    drawn = [
        sample(name, torch.tensor([row]), torch.Generator().manual_seed(3))  # type: ignore[arg-type]
        for _ in range(2)
    ]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (1, len(row) // parameter_count(name))  # type: ignore[arg-type]


@pytest.mark.parametrize(("log_std", "kept"), [(1e6, 20.0), (-1e6, -20.0), (0.3, 0.3)])
def test_log_standard_deviations_are_bounded_as_rllibs_are(log_std: float, kept: float) -> None:
    outputs = gaussian(1e6, log_std)
    assert bounded("diagonal_gaussian", outputs).tolist() == [
        [pytest.approx(1e6)] * 3 + [pytest.approx(kept)] * 3
    ]
