"""A search on a real cluster, whose trials learn nothing."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import Trainable
from ray.tune.schedulers import ASHAScheduler

from tests.training.results import result
from training.recipe import Asha, Choice, LogUniform, Recipe
from training.rllib.resources import plan
from training.runs.progress_report import ProgressReport
from training.runs.run import Run
from training.runs.tuning import Outcome, TrialsFailedError, _KeepScheduler, tune_trials
from training.store.storage import Storage


class Quick(Trainable):  # type: ignore[misc]
    """A trial that learns nothing, and returns the less the later it was made."""

    together: str
    """A folder where the first two wait for each other."""

    def setup(self, config: dict[str, Any]) -> None:
        self._number = int(self.trial_id.rpartition("_")[2])

    def step(self) -> dict[str, Any]:
        if self.iteration == 0 and self._number < 2:
            folder = Path(self.together)
            (folder / str(self._number)).touch()
            while len(list(folder.iterdir())) < 2:
                time.sleep(0.01)
        return result(self.iteration + 1, return_mean=-float(self._number))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state").touch()

    def load_checkpoint(self, checkpoint: Any) -> None:
        del checkpoint

    def be_patient(self, seconds: float) -> None:
        del seconds


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_runs_side_by_side_and_gives_up_on_some(
    tmp_path: Path, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not end if trials ran one after the other."""
    together = tmp_path / "together"
    together.mkdir()
    trainable = type("Quick", (Quick,), {"together": str(together)})
    monkeypatch.setattr("training.runs.tuning.DrivingPPO", trainable)
    recipe = dataclasses.replace(
        tiny_recipe,
        max_iters=4,
        asha=Asha(grace_period=3, reduction_factor=4),
        search={"lr": LogUniform(1e-5, 1e-3), "num_epochs": Choice((1, 2))},
    )
    run = Run(Storage.open(str(tmp_path / "root")), "search")
    report = ProgressReport(run.storage, run.name, recipe, resume=False)
    outcome = tune_trials(
        run,
        recipe,
        plan(cpus=2, gpus=0, trials=4, num_env_runners=1),
        trials=4,
        seed=0,
        callbacks=[report],
        resume=False,
    )
    assert not outcome.failures
    assert outcome.interrupted_by is None
    tried = outcome.hyperparameters.values()
    assert len({values["lr"] for values in tried}) == 4
    assert {values["num_epochs"] for values in tried} <= {1, 2}
    iterations = dict.fromkeys(outcome.hyperparameters, 0)
    for row in report.rows:
        iterations[row.trial] = max(iterations[row.trial], row.iteration)
    first, _, third, fourth = sorted(iterations)
    assert iterations[first] == 4
    assert iterations[third] == iterations[fourth] == 3, "halving stopped neither"


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
