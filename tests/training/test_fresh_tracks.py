"""Where the environments of a resumed trial start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import LOCAL
from tests.training.picture_env import make_picture_env
from training.fresh_tracks import FreshTracks
from training.ppo import build_config
from training.recipe import Recipe
from training.seeds import environment_seeds
from training.trainable import DrivingPPO


@pytest.fixture(autouse=True)
def without_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.ppo.make_env", make_picture_env)


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
    assert starts(begun) == environment_seeds(1, 1)
    assert starts(resumed) == environment_seeds(1, 1, after=1)
    FreshTracks().on_env_runners_recreated(
        algorithm=resumed, env_runner_group=resumed.env_runner_group
    )
    assert resumed.env_runner.env.unwrapped.begins_after == 2
    for algorithm in (begun, resumed):
        algorithm.stop()
