"""Sampling through our own connectors and vector environment, against RLlib's own way."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import register_env

from tests.training.conftest import LOCAL
from tests.training.picture_env import make_picture_env
from training.ppo import ENV_NAME, build_config, make_registered_env
from training.recipe import Recipe
from training.sampling import sample_in_batches, whole
from training.seeds import environment_seeds

ENVS = 3
SEED = 4


class OwnSeed(gym.Wrapper[Any, Any, Any, Any]):
    """Starts with the seed that an environment of the same number has in our vectorisation."""

    def reset(self, *, seed: int | None = None, **options: Any) -> Any:
        if seed is not None:
            seed = environment_seeds(SEED, ENVS)[seed - SEED]
        return self.env.reset(seed=seed, **options)


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.ppo.make_env", make_picture_env)


def configure(recipe: Recipe, *, batched: bool) -> PPOConfig:
    """The config of a run whose environments have the same seeds either way."""
    recipe = dataclasses.replace(recipe, num_envs_per_env_runner=ENVS)
    config = build_config(recipe, LOCAL, seed=SEED, batched=False)
    if batched:
        config = sample_in_batches(config)

    def make(context: dict[str, Any]) -> Any:
        env = make_registered_env(recipe, context)
        return OwnSeed(env) if isinstance(env, gym.Env) else env

    register_env(ENV_NAME, make)
    return config


def build_runner(recipe: Recipe, *, batched: bool) -> Any:
    runner = SingleAgentEnvRunner(config=configure(recipe, batched=batched))
    # Means that matter, so that different actions give different pictures.
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in runner.module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    return runner


def columns(episode: Any) -> dict[str, Any]:
    """Everything that a chunk of an episode hands to the learner."""
    return {
        "started": episode.t_started,
        "length": len(episode),
        "ended": (episode.is_terminated, episode.is_truncated),
        Columns.OBS: episode.get_observations(),
        Columns.ACTIONS: episode.get_actions(),
        Columns.REWARDS: episode.get_rewards(),
        Columns.INFOS: episode.get_infos(),
        **{
            key: episode.get_extra_model_outputs(key) for key in sorted(episode.extra_model_outputs)
        },
    }


def assert_same(a: Any, b: Any) -> None:
    first, second = columns(a), columns(b)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert type(value) is type(second[key]), key
        if isinstance(value, np.ndarray):
            assert value.dtype == second[key].dtype, key
            np.testing.assert_array_equal(value, second[key], key)
        else:
            assert value == second[key], key


@pytest.fixture(params=[True, False], ids=["sampled", "greedy"])
def explore(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_episodes_are_the_ones_of_rllibs_own_way(tiny_recipe: Recipe, explore: bool) -> None:
    results = []
    for batched in (True, False):
        runner = build_runner(tiny_recipe, batched=batched)
        torch.manual_seed(1)
        # Fragments, so that chunks of cut episodes are compared too, and then whole episodes.
        samples = [runner.sample(num_timesteps=40, explore=explore) for _ in range(3)]
        samples.append(runner.sample(num_episodes=5, explore=explore))
        results.append([episode for sample in samples for episode in sample])
        runner.stop()
    ours, rllibs = results
    assert len(ours) == len(rllibs)
    for a, b in zip(ours, rllibs, strict=True):
        assert_same(a, b)
    assert {(e.is_terminated, e.is_truncated) for e in ours} == {
        (True, False),
        (False, True),
        (False, False),
    }
    assert any(e.t_started > 0 for e in ours), "no episode went over a fragment's end"
    assert np.std(np.concatenate([e.get_actions() for e in ours])) > 0


def test_metrics_are_the_ones_of_rllibs_own_way(tiny_recipe: Recipe) -> None:
    results = []
    for batched in (True, False):
        runner = build_runner(tiny_recipe, batched=batched)
        torch.manual_seed(1)
        runner.sample(num_timesteps=60)
        metrics = runner.get_metrics()
        results.append(
            {
                key: value.peek() if hasattr(value, "peek") else value
                for key, value in metrics.items()
                if key.startswith(("episode_", "num_")) and "duration" not in key
            }
        )
        runner.stop()
    assert {"episode_return_mean", "episode_return_min", "episode_return_max"} <= results[0].keys()
    assert results[0]["num_env_steps_sampled_lifetime"] >= 60
    assert results[0] == results[1]


@pytest.fixture
def run(ray_cluster: None, tiny_recipe: Recipe) -> Iterator[Any]:
    """Trains twice, either way: the returns that it reports and the weights that it ends with."""
    algorithms = []

    def train(*, batched: bool) -> tuple[list[dict[str, float]], dict[str, Any]]:
        recipe = dataclasses.replace(
            tiny_recipe, train_batch_size_per_learner=60, minibatch_size=20, num_epochs=2
        )
        algorithm = configure(recipe, batched=batched).build_algo()
        algorithms.append(algorithm)
        reported = []
        for _ in range(2):
            result = algorithm.train()
            returns = {
                f"return_{kind}": result[f"return_{kind}"] for kind in ("min", "mean", "max")
            }
            reported.append({**returns, "steps": result["num_env_steps_sampled_lifetime"]})
        weights = copy.deepcopy(algorithm.get_module().state_dict())
        return reported, weights

    yield train
    for algorithm in algorithms:
        algorithm.stop()


def test_training_learns_the_same(run: Any) -> None:
    (reported, weights), (expected, expected_weights) = run(batched=True), run(batched=False)
    assert reported == expected
    assert np.isfinite([list(row.values()) for row in reported]).all()
    for name, weight in expected_weights.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=0, msg=name)


def test_rows_of_one_array_are_that_array() -> None:
    batch = np.zeros((3, 2, 4))
    assert whole(list(batch)) is batch


def test_rows_that_lie_elsewhere_are_copied_together() -> None:
    batch = np.zeros((3, 2, 4))
    batch[:] = np.arange(24).reshape(3, 2, 4)
    for rows in (
        [batch[1], batch[0], batch[2]],
        [batch[0], batch[1]],
        [batch[0], batch[1], batch[2].copy()],
        [row.copy() for row in batch],
    ):
        together = whole(rows)
        assert together.base is not batch
        assert together is not batch
        np.testing.assert_array_equal(together, rows)
