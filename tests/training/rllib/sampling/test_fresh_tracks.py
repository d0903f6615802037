"""Where the environments of a resumed trial start."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import LOCAL
from tests.training.rllib.picture_env import make_picture_env
from training.environment.seeds import environment_seeds, spread
from training.recipe import Recipe
from training.rllib.config import build_config
from training.trials.trainable import DrivingPPO


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)


def starts(algorithm: DrivingPPO) -> list[int]:
    """Where the random numbers of its environments started."""
    return [env.unwrapped.np_random_seed for env in algorithm.env_runner.env.unwrapped.envs]


@pytest.mark.usefixtures("ray_cluster")
def test_a_trial_that_goes_on_drives_other_tracks_than_it_began_with(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    config = build_config(tiny_recipe, LOCAL, seed=1)
    begun, resumed = DrivingPPO(config=config), DrivingPPO(config=config)
    begun.train()
    saved = begun.save(str(tmp_path))
    resumed.restore(saved)
    resumed.train()
    begun.train()
    assert starts(begun) == environment_seeds(spread(1), 1)
    assert starts(resumed) == environment_seeds(spread(1), 1, after=1)
    for algorithm in (begun, resumed):
        algorithm.stop()


@pytest.mark.usefixtures("ray_cluster")
def test_an_env_runner_in_the_place_of_a_lost_one_does_not_begin_again(tiny_recipe: Recipe) -> None:
    resources = dataclasses.replace(LOCAL, num_env_runners=1)
    trial = DrivingPPO(config=build_config(tiny_recipe, resources, seed=1))

    def ask(question: Callable[[Any], int]) -> list[int]:
        return list(trial.env_runner_group.foreach_env_runner(question, local_env_runner=False))

    trial.train()
    trial.train()
    assert ask(lambda runner: runner.begins_after) == [0]
    (lost,) = ask(lambda _: os.getpid())
    os.kill(lost, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while ask(lambda _: os.getpid()) in ([], [lost]):
        assert time.monotonic() < deadline
        trial.train()
    (begins_after,) = ask(lambda runner: runner.begins_after)
    assert begins_after >= 2
    trial.stop()
