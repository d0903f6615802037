"""Batches for the learner, against RLlib's own way of making them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from tests.training.conftest import LOCAL
from tests.training.picture_env import make_picture_env
from training.coaching import Coaching
from training.ppo import build_config
from training.recipe import RECIPES, Recipe
from training.train_batch import advantages


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.ppo.make_env", make_picture_env)


@pytest.fixture(params=["published", "swift"])
def recipe(request: pytest.FixtureRequest, tiny_recipe: Recipe) -> Recipe:
    if request.param == "published":
        return tiny_recipe
    return dataclasses.replace(RECIPES["swift"], coaching=Coaching(), num_envs_per_env_runner=3)


@pytest.fixture
def sampled(recipe: Recipe) -> Iterator[tuple[Recipe, list[Any]]]:
    """Chunks of episodes: whole ones, beginnings and ends, terminated, truncated and cut."""
    runner = SingleAgentEnvRunner(config=build_config(recipe, LOCAL, seed=4))
    yield recipe, [chunk for _ in range(3) for chunk in runner.sample(num_timesteps=40)]
    runner.stop()


def make_batch(recipe: Recipe, episodes: list[Any], *, batched: bool) -> tuple[Any, Any]:
    """What a learner of the same weights makes of the episodes; and that learner."""
    config = build_config(recipe, LOCAL, seed=4, batched=batched)
    torch.manual_seed(0)
    runner = SingleAgentEnvRunner(config=config)
    learner = config.build_learner(
        env=runner.env,
        spaces={
            DEFAULT_MODULE_ID: (runner.env.single_observation_space, runner.env.single_action_space)
        },
    )
    runner.stop()
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
    )
    return batch[DEFAULT_MODULE_ID], learner


def by_action(batch: Any) -> dict[str, Tensor]:
    """The real decisions of a batch, in the order of their actions, which are all different."""
    real = batch[Columns.LOSS_MASK] if Columns.LOSS_MASK in batch else slice(None)
    columns = {
        name: torch.as_tensor(batch[name])[real]
        for name in (
            Columns.OBS,
            Columns.ACTIONS,
            Columns.ACTION_LOGP,
            Columns.ACTION_DIST_INPUTS,
            Postprocessing.ADVANTAGES,
            Postprocessing.VALUE_TARGETS,
        )
    }
    order = columns[Columns.ACTIONS][:, 0].argsort()
    return {name: column[order] for name, column in columns.items()}


def test_batches_hold_what_rllibs_own_connectors_make(sampled: tuple[Recipe, list[Any]]) -> None:
    recipe, episodes = sampled
    assert {(e.is_terminated, e.is_truncated) for e in episodes} == {
        (True, False),
        (False, True),
        (False, False),
    }
    ours, theirs = (
        by_action(make_batch(recipe, copy.deepcopy(episodes), batched=batched)[0])
        for batched in (True, False)
    )
    assert len(ours[Columns.ACTIONS]) == sum(len(episode) for episode in episodes)
    for name in (Columns.OBS, Columns.ACTIONS, Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS):
        assert torch.equal(ours[name], theirs[name]), name
    torch.testing.assert_close(
        ours[Postprocessing.VALUE_TARGETS], theirs[Postprocessing.VALUE_TARGETS], atol=1e-4, rtol=0
    )
    # RLlib normalizes with the steps that it masks out afterwards: the same up to a line.
    expected = theirs[Postprocessing.ADVANTAGES]
    estimates = torch.stack((expected, torch.ones_like(expected)), dim=1)
    line = torch.linalg.lstsq(estimates, ours[Postprocessing.ADVANTAGES][:, None]).solution
    torch.testing.assert_close(
        (estimates @ line)[:, 0], ours[Postprocessing.ADVANTAGES], atol=1e-3, rtol=0
    )
    assert float(line[0, 0]) > 0


def test_advantages_are_normalized_and_decisions_shuffled(
    sampled: tuple[Recipe, list[Any]],
) -> None:
    recipe, episodes = sampled
    batch, _ = make_batch(recipe, episodes, batched=True)
    estimates = batch[Postprocessing.ADVANTAGES]
    assert float(estimates.mean()) == pytest.approx(0, abs=1e-5)
    assert float(estimates.std(correction=0)) == pytest.approx(1, abs=1e-4)
    in_order = np.concatenate([episode.get_actions() for episode in episodes])
    assert not np.array_equal(batch[Columns.ACTIONS].numpy(), in_order)


def test_observations_stay_bytes(sampled: tuple[Recipe, list[Any]]) -> None:
    recipe, episodes = sampled
    batch, _ = make_batch(recipe, episodes, batched=True)
    assert batch[Columns.OBS].dtype == torch.uint8


def test_advantages_are_those_of_the_papers_equation() -> None:
    """Equation 16 of Schulman et al. 2016, as the double sum that it is."""
    random = np.random.default_rng(0)
    rewards = random.normal(size=7).astype(np.float32)
    values = random.normal(size=8).astype(np.float32)
    gamma, lambda_ = 0.9, 0.8
    errors = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(7)]
    expected = [
        sum((gamma * lambda_) ** (later - t) * errors[later] for later in range(t, 7))
        for t in range(7)
    ]
    estimates = advantages(rewards, values, gamma, lambda_)
    assert estimates.dtype == np.float32
    np.testing.assert_allclose(estimates, expected, rtol=1e-5)
