"""What a run reports of its episodes, against the episodes themselves."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from tests.training.conftest import LOCAL
from tests.training.picture_env import make_picture_env
from training.coaching import SCORE, Coaching
from training.ppo import build_config
from training.recipe import Recipe
from training.returns import ReportReturns


@pytest.fixture(autouse=True)
def without_simulator(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray.is_initialized()
    monkeypatch.setattr("training.ppo.make_env", make_picture_env)


def train(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[float]]:
    """One iteration's result, and the scores of the episodes that ended in it."""
    algorithm = build_config(recipe, LOCAL, seed=2).build_algo()
    scores: list[float] = []
    runner = algorithm.env_runner
    sample = runner.sample

    def keep(*args: Any, **options: Any) -> Any:
        episodes = sample(*args, **options)
        scores.extend(e.get_infos(-1)[SCORE] for e in episodes if e.is_done)
        return episodes

    monkeypatch.setattr(runner, "sample", keep)
    result = algorithm.train()
    algorithm.stop()
    return result, scores


@pytest.mark.parametrize("coaching", [Coaching(), Coaching(endless=True)])
def test_returns_are_those_of_the_simulator(
    tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch, coaching: Coaching
) -> None:
    recipe = dataclasses.replace(tiny_recipe, coaching=coaching)
    result, scores = train(recipe, monkeypatch)
    assert len(scores) > 1
    assert result["return_mean"] == pytest.approx(sum(scores) / len(scores))
    assert (result["return_min"], result["return_max"]) == (min(scores), max(scores))


def test_before_an_episode_ended_there_is_no_number(
    tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe, train_batch_size_per_learner=2, minibatch_size=2, num_envs_per_env_runner=1
    )
    result, scores = train(recipe, monkeypatch)
    assert not scores
    assert math.isnan(result["return_mean"])


def test_an_episode_that_was_cut_has_no_return_of_its_own() -> None:
    logged: list[float] = []
    metrics = SimpleNamespace(log_value=lambda _key, value, **_: logged.append(value))
    runner = SimpleNamespace(config=SimpleNamespace(num_env_runners=2))
    for infos in ({"frames": 4}, {"frames": 4, SCORE: 7.5}):
        episode = SingleAgentEpisode(
            observations=[0, 1], actions=[0], rewards=[0.0], infos=[{}, infos], truncated=True
        )
        ReportReturns().on_episode_end(
            episode=episode,
            env_runner=runner,
            metrics_logger=metrics,
        )
    assert logged == [7.5] * 3
