"""When checkpoints are chosen, and what becomes of one that cannot be stored."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from tests.training.conftest import LOCAL
from tests.training.trial_scene import Scene
from training.evaluation.progress import read_progress
from training.recipe import Recipe
from training.runs import tuning
from training.runs.progress_report import ProgressReport
from training.runs.publishing import PublishingCallback
from training.runs.recovery import Recovery
from training.runs.run import Run, RunError
from training.runs.trainable import _BRIEFLY_S
from training.runs.trial_table import TrialTables
from training.runs.tuning import tune_trials
from training.store.policies import PolicyStore
from training.store.storage import Storage, StorageError

pytestmark = pytest.mark.long


class Told(Callback):  # type: ignore[misc]
    """What an observer is told of checkpoints."""

    def __init__(self) -> None:
        self.iterations: list[int] = []

    def on_checkpoint(
        self, iteration: int, trials: Any, trial: Trial, checkpoint: Any, **_: Any
    ) -> None:
        self.iterations.append(trial.last_result["training_iteration"])


def begin(scene: Scene, *, taken_up: bool = True) -> tuple[Recovery, Told]:
    """Tune's first step."""
    told = Told()
    recovery = Recovery(scene.run, resume=True, observers=[told])
    if taken_up:
        recovery.set_state({})
    recovery.on_step_begin(0, [scene.trial])
    return recovery, told


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(str(tmp_path / "root"), tmp_path / "scratch")


def test_observers_are_told_of_a_checkpoint_that_tune_did_not_come_to_know(scene: Scene) -> None:
    """The driver died between the copy and its note; nothing was published."""
    scene.store("checkpoint_000000", 2)
    scene.store("checkpoint_000001", 4)
    scene.name("checkpoint_000000", 2)
    assert begin(scene)[1].iterations == [4]


def test_observers_are_not_told_again_of_one_that_tune_knows(scene: Scene) -> None:
    scene.store("checkpoint_000000", 2)
    scene.store("checkpoint_000001", 4)
    scene.name("checkpoint_000001", 4)
    scene.damage("checkpoint_000001")
    assert begin(scene)[1].iterations == []
    assert scene.chosen == ("checkpoint_000000", 2)


def test_a_lost_trial_s_checkpoint_is_chosen_anew(scene: Scene) -> None:
    scene.store("checkpoint_000000", 2)
    scene.name("checkpoint_000000", 2)
    recovery, _ = begin(scene)
    scene.store("checkpoint_000001", 4)
    recovery.on_step_begin(1, [scene.trial])
    assert scene.chosen == ("checkpoint_000000", 2)
    recovery.on_trial_recover(1, [scene.trial], scene.trial)
    recovery.on_step_begin(2, [scene.trial])
    assert scene.chosen == ("checkpoint_000001", 4)


def test_what_ends_the_run_is_kept_as_tune_may_wrap_it(scene: Scene) -> None:
    scene.store("checkpoint_000000", 2)
    scene.name("checkpoint_000000", 2)
    scene.damage("checkpoint_000000")
    recovery = Recovery(scene.run, resume=True, observers=[])
    recovery.set_state({})
    with pytest.raises(RunError) as raised:
        recovery.on_step_begin(0, [scene.trial])
    assert recovery.failure is raised.value


def test_a_state_that_tune_does_not_take_up_ends_the_run(scene: Scene) -> None:
    """Tune itself would begin from nothing, on top of what is there."""
    with pytest.raises(RunError, match="Tune cannot read its state"):
        begin(scene, taken_up=False)


def test_failures_before_a_stored_checkpoint_do_not_count_any_more(scene: Scene) -> None:
    scene.trial.run_metadata.num_failures = 4
    scene.trial.run_metadata.last_result = {"training_iteration": 6}
    scene.name("checkpoint_000002", 6)
    recovery = Recovery(scene.run, resume=False, observers=[])
    recovery.on_trial_save(0, [scene.trial], scene.trial)
    assert scene.trial.num_failures == 0


def test_a_resumed_trial_may_fail_as_often_as_a_new_one(scene: Scene) -> None:
    """Tune goes on counting where it gave the trial up."""
    scene.trial.run_metadata.num_failures = 6
    begin(scene)
    assert scene.trial.num_failures == 0


class Outage(Callback):  # type: ignore[misc]
    """Storage is away from one iteration's end until another's; a local root is a file then."""

    def __init__(self, root: Path, begins: int, ends: int | None) -> None:
        self._root = root
        self._begins = begins
        self._ends = ends
        self.failures = 0

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        self.failures = trial.num_failures
        away = self._root.with_name("away")
        if result["training_iteration"] == self._begins:
            self._root.rename(away)
            self._root.write_text("no folder")
        elif result["training_iteration"] == self._ends:
            self.end()

    def end(self) -> None:
        self._root.unlink()
        self._root.with_name("away").rename(self._root)


def train(run: Run, recipe: Recipe, outage: Outage) -> None:
    report = ProgressReport(run.storage, run.name, recipe, resume=False)
    tables = TrialTables(run.storage, run.name, recipe, resume=False)
    publishing = PublishingCallback(run.storage, run.name, "published")
    outcome = tune_trials(
        run,
        recipe,
        LOCAL,
        trials=1,
        seed=0,
        callbacks=[outage, report, tables, publishing],
        resume=False,
    )
    outcome.raise_failures()
    report.finish()
    tables.finish()
    publishing.finish()


@pytest.mark.usefixtures("ray_cluster")
def test_a_trial_trains_on_while_storage_is_away_and_is_stored_afterwards(
    tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    run = Run(Storage.open(str(root)), "run-a")
    recipe = dataclasses.replace(tiny_recipe, checkpoint_every=2)
    outage = Outage(root, begins=2, ends=3)
    with caplog.at_level(logging.WARNING):
        train(run, recipe, outage)
    assert "its checkpoint cannot be stored, for 0 s now" in caplog.text
    assert "its checkpoints are stored again" in caplog.text
    assert outage.failures == 0
    table = read_progress(run.storage.read("runs/run-a/progress.csv"))
    assert [row.iteration for row in table] == [1, 2, 3, 4]
    published = PolicyStore(run.storage).listing().policies
    assert [manifest.iteration for manifest in published] == [4, 3]


class AtTheEnd(Outage):
    """Storage is away at a trial's last checkpoint, until Tune has gone on for a while."""

    def __init__(self, root: Path, begins: int) -> None:
        super().__init__(root, begins, None)
        self._root_is_away_until: float | None = None

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        super().on_trial_result(iteration, trials, trial, result)
        if result["training_iteration"] == self._begins:
            # Longer than a trial waits that has more to train.
            self._root_is_away_until = time.monotonic() + 2 * _BRIEFLY_S

    def on_step_end(self, iteration: int, trials: Any, **_: Any) -> None:
        until = self._root_is_away_until
        if until is not None and time.monotonic() > until:
            self._root_is_away_until = None
            self.end()


@pytest.mark.usefixtures("ray_cluster")
def test_a_last_checkpoint_is_waited_for_and_nothing_else_is_held_up_by_that(
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tuning, "Recovery", functools.partial(Recovery, patience_s=120.0))
    monkeypatch.setattr("training.runs.recovery._LONG_SAVE_S", 0.5)
    root = tmp_path / "root"
    run = Run(Storage.open(str(root)), "run-a")
    with caplog.at_level(logging.WARNING):
        train(run, dataclasses.replace(tiny_recipe, max_iters=2), AtTheEnd(root, begins=2))
    assert "its last checkpoint is not stored yet" in caplog.text
    assert "its checkpoints are stored again" in caplog.text
    published = PolicyStore(run.storage).listing().policies
    assert [manifest.iteration for manifest in published] == [2, 1]


@ray.remote
class Gone:
    """A trial's process."""

    def why_not_stored(self) -> str:
        return "away"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("done", [False, True])
def test_a_process_that_is_lost_after_storage_refused_raises_no_error_of_ray_s(
    scene: Scene, caplog: pytest.LogCaptureFixture, done: bool
) -> None:
    scene.trial.run_metadata.last_result = {"training_iteration": 6, "done": done}
    actor = Gone.options(num_cpus=0).remote()  # type: ignore[attr-defined]
    ray.kill(actor)
    scene.trial.temporary_state.ray_actor = actor
    recovery = Recovery(scene.run, resume=False, observers=[])
    if done:
        with pytest.raises(StorageError, match="its process does not answer"):
            recovery.on_trial_save(0, [scene.trial], scene.trial)
        assert recovery.failure is not None
    else:
        recovery.on_trial_save(0, [scene.trial], scene.trial)
        assert "its process does not answer" in caplog.text


@pytest.mark.usefixtures("ray_cluster")
def test_storage_that_stays_away_ends_the_run_with_a_message(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "Recovery", functools.partial(Recovery, patience_s=0.5))
    root = tmp_path / "root"
    run = Run(Storage.open(str(root)), "run-a")
    outage = Outage(root, begins=2, ends=None)
    with pytest.raises(
        StorageError, match=r"checkpoints of trial .* could not be stored in .* iteration 1;"
    ):
        train(run, tiny_recipe, outage)
    outage.end()
    assert [manifest.iteration for manifest in PolicyStore(run.storage).listing().policies] == [1]
