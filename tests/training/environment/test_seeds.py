from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import pytest
import torch

from tests.training.conftest import LOCAL
from tests.training.rllib.picture_env import make_picture_env
from training.environment.seeds import GIVEN_SEEDS, SCORE_SEEDS, TRAINING_SEEDS, environment_seeds
from training.recipe import Recipe
from training.rllib.config import build_config
from training.rllib.sampling.env_runner import DrivingEnvRunner

ENVS = 3


@pytest.fixture
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)


def starts(envs: list[gym.Env[Any, Any]]) -> list[int]:
    """Where the random numbers of environments started."""
    return [env.unwrapped.np_random_seed for env in envs]


def test_environments_of_neighbouring_env_runners_have_seeds_of_their_own() -> None:
    seeds = [seed for runner in range(16) for seed in environment_seeds(runner, 8)]
    assert len(set(seeds)) == 16 * 8
    assert environment_seeds(3, 8) == environment_seeds(3, 8)
    assert environment_seeds(3, 2) == environment_seeds(3, 8)[:2]


def test_a_trial_that_goes_on_has_other_seeds_at_each_iteration() -> None:
    seeds = [seed for after in range(16) for seed in environment_seeds(3, 8, after=after)]
    assert len(set(seeds)) == 16 * 8
    assert environment_seeds(3, 8, after=0) == environment_seeds(3, 8)
    assert all(seed in TRAINING_SEEDS for seed in seeds)


def test_scores_are_taken_on_a_hundred_tracks_outside_training_s_half() -> None:
    assert len(set(SCORE_SEEDS)) == 100
    assert set(SCORE_SEEDS) <= set(GIVEN_SEEDS[SCORE_SEEDS.start : SCORE_SEEDS.stop])
    assert GIVEN_SEEDS.stop == TRAINING_SEEDS.start


@pytest.mark.parametrize("runners", [range(64), SCORE_SEEDS, range(2**31 - 8, 2**31 + 8)])
def test_training_s_seeds_are_in_the_other_half(runners: range) -> None:
    seeds = [seed for runner in runners for seed in environment_seeds(runner, 8)]
    assert all(seed in TRAINING_SEEDS for seed in seeds)


@pytest.mark.usefixtures("without_simulator")
@pytest.mark.parametrize("seed", [0, SCORE_SEEDS[0], SCORE_SEEDS[-1], GIVEN_SEEDS[-1], None])
def test_env_runners_start_their_environments_in_training_s_half(
    tiny_recipe: Recipe, seed: int | None
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe, num_envs_per_env_runner=ENVS, train_batch_size_per_learner=60
    )
    found: list[int] = []
    for worker in range(2):
        runner = DrivingEnvRunner(
            config=build_config(recipe, LOCAL, seed=seed), worker_index=worker
        )
        # Long enough for some episodes to end and the next to start.
        runner.sample()
        envs = runner.env.unwrapped.envs
        assert all(len(env.unwrapped.seeds) > 1 for env in envs)
        found += starts(envs)
    assert len(set(found)) == 2 * ENVS
    assert min(found) >= TRAINING_SEEDS.start


@pytest.mark.usefixtures("without_simulator")
def test_runs_with_neighbouring_seeds_share_no_tracks_and_no_noise(tiny_recipe: Recipe) -> None:
    recipe = dataclasses.replace(tiny_recipe, num_envs_per_env_runner=ENVS)
    tracks: list[int] = []
    noise: list[int] = []
    for seed in (1, 2, 3):
        for worker in (1, 2, 3):
            runner = DrivingEnvRunner(
                config=build_config(recipe, LOCAL, seed=seed), worker_index=worker
            )
            noise.append(torch.initial_seed())
            runner.sample()
            tracks += starts(runner.env.unwrapped.envs)
    assert len(set(tracks)) == 9 * ENVS
    assert len(set(noise)) == 9


@pytest.mark.parametrize("seed", [SCORE_SEEDS[0], None])
def test_so_does_the_real_simulator(tiny_recipe: Recipe, seed: int | None) -> None:
    runner = DrivingEnvRunner(config=build_config(tiny_recipe, LOCAL, seed=seed))
    runner.sample()
    assert min(starts([*runner.env.unwrapped.envs])) >= TRAINING_SEEDS.start
    runner.stop()
