"""What an env runner samples, against the environments and the network that it samples with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns

from tests.training.conftest import LOCAL
from tests.training.rllib.picture_env import make_picture_env
from training.environment.coaching import Coaching
from training.environment.seeds import environment_seeds, spread
from training.recipe import RECIPES, Recipe
from training.rllib.config import build_config, make_training_env
from training.rllib.sampling.env_runner import DrivingEnvRunner

ENVS = 3
STEPS = 20
SEED = 4


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)


@pytest.fixture(params=["published", "swift"])
def recipe(request: pytest.FixtureRequest, tiny_recipe: Recipe) -> Recipe:
    if request.param == "swift":
        tiny_recipe = dataclasses.replace(
            tiny_recipe,
            critic="shared",
            network=RECIPES["swift"].network,
            action_mapping="steering_and_pedal",
        )
    return dataclasses.replace(
        tiny_recipe, num_envs_per_env_runner=ENVS, train_batch_size_per_learner=ENVS * STEPS
    )


@pytest.fixture
def runner(recipe: Recipe) -> Iterator[DrivingEnvRunner]:
    runner = DrivingEnvRunner(config=build_config(recipe, LOCAL, seed=SEED))
    # Means that matter, so that different actions give different pictures.
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in runner.module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    yield runner
    runner.stop()


def stacks(chunk: Any, stack: int = 4) -> NDArray[np.uint8]:
    """The observations of a chunk, and the one after it: (T + 1, size, size, stack)."""
    pictures = chunk.get_observations(slice(1 - stack, None), neg_index_as_lookback=True)
    return np.stack([pictures[t : t + stack] for t in range(len(chunk) + 1)]).transpose(0, 2, 3, 1)


def test_each_sample_has_the_same_number_of_decisions(runner: DrivingEnvRunner) -> None:
    for _ in range(3):
        chunks = runner.sample()
        assert sum(len(chunk) for chunk in chunks) == ENVS * STEPS
        assert {(chunk.is_terminated, chunk.is_truncated) for chunk in chunks} == {
            (True, False),
            (False, True),
            (False, False),
        }
    assert runner.get_metrics()["num_env_steps_sampled_lifetime"].peek() == 3 * ENVS * STEPS


def test_chunks_are_what_the_environments_gave(runner: DrivingEnvRunner, recipe: Recipe) -> None:
    """The same actions again, in environments that RLlib would make one by one."""
    samples = [runner.sample() for _ in range(3)]
    # Each sample holds the chunks of the first environment, then those of the next one.
    by_env: list[list[Any]] = [[] for _ in range(ENVS)]
    for sample in samples:
        steps = 0
        for chunk in sample:
            by_env[steps // STEPS].append(chunk)
            steps += len(chunk)
    for seed, chunks in zip(environment_seeds(spread(SEED), ENVS), by_env, strict=True):
        env = make_training_env(recipe)
        observation, _ = env.reset(seed=seed)
        for chunk in chunks:
            seen = stacks(chunk)
            for t, action in enumerate(chunk.get_actions()):
                np.testing.assert_array_equal(seen[t], observation)
                observation, reward, terminated, truncated, _ = env.step(action)
                assert chunk.get_rewards(t) == pytest.approx(reward)
                ended = t == len(chunk) - 1
                assert terminated == (ended and chunk.is_terminated)
                assert truncated == (ended and chunk.is_truncated)
            np.testing.assert_array_equal(seen[-1], observation)
            if chunk.is_done:
                observation, _ = env.reset()


def test_what_the_network_said_comes_with_the_actions(runner: DrivingEnvRunner) -> None:
    runner.sample()
    chunks = runner.sample()
    observations = torch.from_numpy(np.concatenate([stacks(chunk)[:-1] for chunk in chunks]))

    def column(name: str) -> torch.Tensor:
        return torch.from_numpy(
            np.concatenate([chunk.get_extra_model_outputs(name) for chunk in chunks])
        )

    with torch.no_grad():
        expected = runner.module.actor(observations)
        torch.testing.assert_close(column(Columns.ACTION_DIST_INPUTS), expected)
        distribution = runner.module.get_exploration_action_dist_cls().from_logits(expected)
        actions = torch.from_numpy(np.concatenate([chunk.get_actions() for chunk in chunks]))
        torch.testing.assert_close(
            column(Columns.ACTION_LOGP), distribution.logp(actions), atol=1e-4, rtol=1e-4
        )
        if Columns.VF_PREDS in chunks[0].extra_model_outputs:
            values = runner.module.compute_values({Columns.OBS: observations})
            torch.testing.assert_close(column(Columns.VF_PREDS), values)


def test_a_shared_critic_predicts_values_while_sampling(tiny_recipe: Recipe) -> None:
    for critic in ("shared", "separate"):
        recipe = dataclasses.replace(tiny_recipe, critic=critic)
        runner = DrivingEnvRunner(config=build_config(recipe, LOCAL, seed=SEED))
        (chunk, *_) = runner.sample()
        assert (Columns.VF_PREDS in chunk.extra_model_outputs) == (critic == "shared")
        runner.stop()


def test_episodes_carry_single_pictures(runner: DrivingEnvRunner) -> None:
    chunks = runner.sample()
    decisions = sum(len(chunk) for chunk in chunks)
    pictures = sum(len(chunk.observations.data) for chunk in chunks)
    assert pictures == decisions + 4 * len(chunks)
    assert chunks[0].observations.data.dtype == np.uint8
    assert chunks[0].observations.data.shape[1:] == (84, 84)


def test_the_returns_are_those_of_whole_unshaped_episodes(tiny_recipe: Recipe) -> None:
    """Also of episodes that go over the end of a sample."""
    coaching = Coaching(lost=1000.0, endless=True)
    recipe = dataclasses.replace(
        tiny_recipe,
        coaching=coaching,
        num_envs_per_env_runner=1,
        train_batch_size_per_learner=5,
        minibatch_size=5,
        pipeline=dataclasses.replace(tiny_recipe.pipeline, reward_scale=0.5),
    )
    runner = DrivingEnvRunner(config=build_config(recipe, LOCAL, seed=SEED))
    returns, total = [], 0.0
    env = make_training_env(dataclasses.replace(recipe, coaching=Coaching()))
    env.reset(seed=environment_seeds(spread(SEED), 1)[0])
    for _ in range(12):
        for chunk in runner.sample():
            for action in chunk.get_actions():
                total += float(env.step(action)[1])
            if chunk.is_done:
                returns.append(total)
                total = 0.0
                env.reset()
    metrics = copy.deepcopy(runner.get_metrics())
    assert len(returns) > 5
    for kind, expected in (("min", min(returns)), ("max", max(returns))):
        assert metrics[f"return_{kind}"].peek() == pytest.approx(expected)
    assert metrics["return_mean"].peek() == pytest.approx(np.mean(returns))
    runner.stop()


def test_another_seed_samples_other_episodes(recipe: Recipe) -> None:
    first, second = (
        DrivingEnvRunner(config=build_config(recipe, LOCAL, seed=seed)).sample()[0]
        for seed in (SEED, SEED + 1)
    )
    assert not np.array_equal(first.get_observations(0), second.get_observations(0))
