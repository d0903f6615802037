"""Batches for the learner and what it learns of them, against RLlib's own way."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from tests.training.conftest import LOCAL
from tests.training.rllib.picture_env import make_picture_env
from training.environment.coaching import Coaching
from training.recipe import RECIPES, Recipe
from training.rllib.config import build_config
from training.rllib.learning.batch import advantages, make_batch, minibatches
from training.rllib.sampling.env_runner import DrivingEnvRunner


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)


@pytest.fixture(params=["published", "swift"])
def recipe(request: pytest.FixtureRequest, tiny_recipe: Recipe) -> Recipe:
    """Forty decisions of two environments a batch."""
    recipe = tiny_recipe
    if request.param == "swift":
        # RLlib has no option for Adam's epsilon.
        recipe = dataclasses.replace(RECIPES["swift"], coaching=Coaching(), adam_epsilon=1e-8)
    return dataclasses.replace(
        recipe,
        num_envs_per_env_runner=2,
        train_batch_size_per_learner=40,
        minibatch_size=40,
        num_epochs=2,
    )


def build_learner(recipe: Recipe, *, batched: bool = True) -> Any:
    """A learner with the same first weights each time."""
    config = build_config(recipe, LOCAL, seed=4, batched=batched)
    torch.manual_seed(0)
    runner_class = DrivingEnvRunner if batched else SingleAgentEnvRunner
    runner = runner_class(config=config)
    spaces = {
        DEFAULT_MODULE_ID: (runner.env.single_observation_space, runner.env.single_action_space)
    }
    if not batched:
        config = config.copy(copy_frozen=False).learners(learner_class=PPOTorchLearner)
    learner = config.build_learner(env=runner.env, spaces=spaces)
    runner.stop()
    return learner


def module_of(learner: Any) -> Any:
    return learner.module[DEFAULT_MODULE_ID].unwrapped()


def sample(recipe: Recipe, learner: Any) -> list[Any]:
    """Chunks of episodes that the learner's network drove: terminated, truncated and cut ones."""
    runner = DrivingEnvRunner(config=build_config(recipe, LOCAL, seed=4))
    runner.module.load_state_dict(module_of(learner).state_dict(), strict=False)
    runner.sample()
    episodes = runner.sample()
    runner.stop()
    assert {(e.is_terminated, e.is_truncated) for e in episodes} == {
        (True, False),
        (False, True),
        (False, False),
    }
    return episodes


def stacked(episode: Any) -> SingleAgentEpisode:
    """The chunk as RLlib's own env runner would give it: with whole observations."""
    pictures = episode.get_observations(slice(-3, None), neg_index_as_lookback=True)
    return SingleAgentEpisode(
        observations=[np.stack(pictures[t : t + 4], axis=-1) for t in range(len(episode) + 1)],
        infos=[{}] * (len(episode) + 1),
        actions=list(episode.get_actions()),
        rewards=list(episode.get_rewards()),
        extra_model_outputs={
            name: list(episode.get_extra_model_outputs(name))
            for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
        },
        terminated=episode.is_terminated,
        truncated=episode.is_truncated,
        len_lookback_buffer=0,
    ).to_numpy()


def batch_of(learner: Any, recipe: Recipe, episodes: list[Any]) -> dict[str, Tensor]:
    return make_batch(module_of(learner), episodes, gamma=recipe.gamma, lambda_=recipe.gae_lambda)


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


def test_batches_hold_what_rllibs_own_connectors_make(recipe: Recipe) -> None:
    learner = build_learner(recipe)
    episodes = sample(recipe, learner)
    ours = by_action(batch_of(learner, recipe, episodes))
    assert len(ours[Columns.ACTIONS]) == 40
    rllibs = build_learner(recipe, batched=False)
    rllibs.module.set_state(learner.module.get_state())
    connected = rllibs._learner_connector(
        rl_module=rllibs.module,
        batch={},
        episodes=[stacked(episode) for episode in episodes],
        shared_data={},
    )
    theirs = by_action(connected[DEFAULT_MODULE_ID])
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


def test_an_update_learns_what_rllibs_own_learns_from_the_same_batch(recipe: Recipe) -> None:
    learner, rllibs = build_learner(recipe), build_learner(recipe, batched=False)
    rllibs.module.set_state(learner.module.get_state())
    before = copy.deepcopy(module_of(learner).state_dict())
    episodes = sample(recipe, learner)
    batch = batch_of(learner, recipe, episodes)
    learner.update(
        training_data=TrainingData(episodes=episodes),
        timesteps={},
        num_epochs=recipe.num_epochs,
        minibatch_size=recipe.minibatch_size,
    )
    rllibs.update(
        batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(batch)}, 40),
        timesteps={},
        num_epochs=recipe.num_epochs,
        minibatch_size=recipe.minibatch_size,
    )
    expected = module_of(rllibs).state_dict()
    for name, weight in module_of(learner).state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=2e-5, rtol=0, msg=name)
    assert any(not torch.equal(before[name], weight) for name, weight in expected.items())


def test_advantages_are_normalized(recipe: Recipe) -> None:
    learner = build_learner(recipe)
    estimates = batch_of(learner, recipe, sample(recipe, learner))[Postprocessing.ADVANTAGES]
    assert float(estimates.mean()) == pytest.approx(0, abs=1e-5)
    assert float(estimates.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_each_epoch_is_whole_minibatches_in_another_order() -> None:
    numbers = torch.arange(10)
    batch = {Columns.OBS: numbers, "twice": 2 * numbers}
    orders = []
    for first, second, third in zip(*[minibatches(batch, size=3, epochs=4)] * 3, strict=True):
        epoch = torch.cat([first[Columns.OBS], second[Columns.OBS], third[Columns.OBS]])
        assert len(set(epoch.tolist())) == 9
        assert torch.equal(first["twice"], 2 * first[Columns.OBS])
        orders.append(tuple(epoch.tolist()))
    assert len(set(orders)) == 4


def test_a_batch_smaller_than_a_minibatch_is_one() -> None:
    (minibatch,) = minibatches({Columns.OBS: torch.arange(3)}, size=8, epochs=1)
    assert sorted(minibatch[Columns.OBS].tolist()) == [0, 1, 2]


def test_observations_stay_bytes(recipe: Recipe) -> None:
    learner = build_learner(recipe)
    batch = batch_of(learner, recipe, sample(recipe, learner))
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
