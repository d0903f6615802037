"""What a run reports of its episodes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import ray

from tests.training.conftest import LOCAL
from tests.training.rllib.picture_env import make_picture_env
from training.recipe import Recipe
from training.rllib.config import build_config


@pytest.fixture(autouse=True)
def without_simulator(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray.is_initialized()
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)


def train(recipe: Recipe) -> dict[str, Any]:
    """One iteration's result."""
    algorithm = build_config(recipe, LOCAL, seed=1).build_algo()
    result: dict[str, Any] = algorithm.train()
    algorithm.stop()
    return result


def test_a_result_holds_the_returns(tiny_recipe: Recipe) -> None:
    result = train(tiny_recipe)
    assert result["return_min"] < result["return_mean"] < result["return_max"]
    assert result["env_runners"]["episode_return_mean"] == result["return_mean"]


def test_before_an_episode_ended_there_is_no_number(tiny_recipe: Recipe) -> None:
    recipe = dataclasses.replace(
        tiny_recipe, train_batch_size_per_learner=2, minibatch_size=2, num_envs_per_env_runner=1
    )
    assert math.isnan(train(recipe)["return_mean"])
