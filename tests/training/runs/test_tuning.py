"""A search on a real cluster, whose trials learn nothing."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Trainable

from tests.training.results import result
from training.recipe import Asha, Choice, LogUniform, Recipe
from training.rllib.resources import plan
from training.runs.progress_report import ProgressReport
from training.runs.run import Run
from training.runs.search import TrialRecords
from training.runs.tuning import Outcome, TrialsFailedError, tune_trials
from training.store.background import StorageQueue
from training.store.storage import Storage
from training.trials.trial_store import TrialSettings


class Quick(Trainable):  # type: ignore[misc]
    """A trial that learns nothing, and returns the less the later it was made."""

    together: str
    """A folder where the first two wait for each other."""

    def setup(self, config: dict[str, Any]) -> None:
        self._number = int(self.trial_name.rpartition("_")[2])

    def step(self) -> dict[str, Any]:
        if self.iteration == 0 and self._number < 2:
            folder = Path(self.together)
            (folder / str(self._number)).touch()
            while len(list(folder.iterdir())) < 2:
                time.sleep(0.01)
        return result(self.iteration + 1, return_mean=-float(self._number))

    @classmethod
    def with_settings(cls, settings: TrialSettings) -> type[Quick]:
        del settings
        return cls


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
    queue = StorageQueue("test")
    records = TrialRecords.open(run.storage, run.folder, queue, recipe=recipe, trials=4, seed=0)
    report = ProgressReport(run.storage, run.name, recipe, queue)

    def search(records: TrialRecords) -> Outcome:
        return tune_trials(
            run,
            recipe,
            plan(cpus=2, gpus=0, trials=4, num_env_runners=1),
            records=records,
            rows=report.rows,
            seed=0,
            callbacks=[report],
        )

    outcome = search(records)
    assert not outcome.failures
    assert outcome.interrupted_by is None
    tried = outcome.hyperparameters.values()
    assert len({values["lr"] for values in tried}) == 4
    assert {values["num_epochs"] for values in tried} <= {1, 2}
    iterations = dict.fromkeys(outcome.hyperparameters, 0)
    for row in report.rows:
        iterations[row.trial] = max(iterations[row.trial], row.iteration)
    first, second, third, fourth = sorted(iterations)
    assert iterations[first] == 4
    assert iterations[third] == iterations[fourth] == 3, "halving stopped neither"
    queue.finish(300)

    # As after a kill of the driver: these trials store no checkpoints, so they begin again.
    again = TrialRecords.open(run.storage, run.folder, queue, recipe=recipe, trials=4, seed=0)
    assert again.trials == records.trials
    printed_before = len(report.rows)
    repeated = search(again)
    assert repeated.hyperparameters == outcome.hyperparameters
    assert len(report.rows) == printed_before
    assert {row.trial for row in report.rows} == {first, second, third, fourth}


def test_trials_that_failed_are_named_with_their_errors() -> None:
    outcome = Outcome(hyperparameters={}, failures={"t-1": "out of memory"}, interrupted_by=None)
    with pytest.raises(TrialsFailedError, match="trial t-1 failed: out of memory"):
        outcome.raise_failures()
