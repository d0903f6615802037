"""A real search on a real cluster, with a recipe small enough for a test."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler

from training.progress_report import ProgressReport
from training.recipe import Asha, Choice, LogUniform, Recipe
from training.resources import plan
from training.run import Run
from training.storage import Storage
from training.tuning import Outcome, TrialsFailedError, _KeepScheduler, tune_trials

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("ray_cluster")]


class Stopwatch(Callback):  # type: ignore[misc]
    """When each trial started and ended."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.ended: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self.started.setdefault(trial.trial_id, time.monotonic())

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self.ended[trial.trial_id] = time.monotonic()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Storage.open(str(tmp_path)), "search")


@pytest.fixture
def searching_recipe(tiny_recipe: Recipe) -> Recipe:
    return dataclasses.replace(
        tiny_recipe,
        train_batch_size_per_learner=300,  # an episode ends in every iteration
        minibatch_size=100,
        max_iters=4,
        # By the third iteration batches of other sizes have seen other episodes end, so returns
        # differ; and only one of the best quarter so far goes on.
        asha=Asha(grace_period=3, reduction_factor=4),
        search={
            "lr": LogUniform(1e-5, 1e-3),
            "train_batch_size_per_learner": Choice((300, 350)),
        },
    )


def test_a_search_runs_side_by_side_and_gives_up_on_some(
    run: Run, searching_recipe: Recipe
) -> None:
    report = ProgressReport(run.storage, run.name, searching_recipe, resume=False)
    stopwatch = Stopwatch()
    resources = plan(cpus=2, gpus=0, trials=4, num_env_runners=1)
    outcome = tune_trials(
        run,
        searching_recipe,
        resources,
        trials=4,
        seed=0,
        callbacks=[report, stopwatch],
        resume=False,
    )
    assert resources.max_concurrent_trials == 2
    assert not outcome.failures
    assert outcome.interrupted_by is None
    tried = outcome.hyperparameters.values()
    assert len({values["lr"] for values in tried}) == 4
    assert {values["train_batch_size_per_learner"] for values in tried} <= {300, 350}
    first, second = sorted(stopwatch.started, key=stopwatch.started.__getitem__)[:2]
    assert stopwatch.started[second] < stopwatch.ended[first], "they ran one after the other"
    iterations = dict.fromkeys(outcome.hyperparameters, 0)
    for row in report.rows:
        iterations[row.trial] = max(iterations[row.trial], row.iteration)
    assert max(iterations.values()) == 4
    assert min(iterations.values()) == 3, "halving stopped no trial"


def halving() -> ASHAScheduler:
    scheduler = ASHAScheduler(
        time_attr="training_iteration", max_t=100, grace_period=10, reduction_factor=2
    )
    scheduler.set_search_properties("score", "max")
    return scheduler


def test_a_resumed_search_remembers_what_its_trials_reached() -> None:
    """Otherwise a young trial would be compared with what an old one reached much later."""
    old, young = (SimpleNamespace(trial_id=name) for name in ("old", "young"))
    before = halving()
    before.on_trial_add(None, old)
    before.on_trial_result(None, old, {"training_iteration": 10, "score": 5.0})
    state = pickle.loads(pickle.dumps(_KeepScheduler(before).get_state()))
    after = halving()
    _KeepScheduler(after).set_state(state)
    after.on_trial_add(None, young)
    assert after.on_trial_result(None, old, {"training_iteration": 11, "score": 90.0}) == "CONTINUE"
    decision = after.on_trial_result(None, young, {"training_iteration": 10, "score": 6.0})
    assert decision == "CONTINUE", "6 beats the 5 that the old one had at this age"


def test_trials_that_failed_are_named_with_their_errors() -> None:
    outcome = Outcome(hyperparameters={}, failures={"t-1": "out of memory"}, interrupted_by=None)
    with pytest.raises(TrialsFailedError, match="trial t-1 failed: out of memory"):
        outcome.raise_failures()


def test_an_outcome_without_failures_raises_nothing() -> None:
    Outcome(hyperparameters={}, failures={}, interrupted_by=None).raise_failures()
