"""Which checkpoint a trial goes on from, and what becomes of one that storage refuses."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from pyarrow import fs
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Callback, Checkpoint, CheckpointConfig
from ray.tune.experiment import Trial

from tests.training.conftest import LOCAL
from training import tuning
from training.progress import read_progress
from training.progress_report import ProgressReport
from training.publishing import PublishingCallback
from training.recipe import Recipe
from training.recovery import Recovery, has_ended, stored_iteration
from training.run import Run, RunError
from training.storage import Storage, StorageError
from training.store import PolicyStore
from training.trainable import _BRIEFLY_S
from training.trial_table import TrialTables
from training.tuning import tune_trials
from training.whole_checkpoint import seal


class Told(Callback):  # type: ignore[misc]
    """What an observer is told of checkpoints."""

    def __init__(self) -> None:
        self.iterations: list[int] = []

    def on_checkpoint(
        self, iteration: int, trials: Any, trial: Trial, checkpoint: Any, **_: Any
    ) -> None:
        self.iterations.append(trial.last_result["training_iteration"])


class Scene:
    """A run with one trial, as it is when Tune takes it up."""

    def __init__(self, root: str, scratch: Path) -> None:
        self.run = Run(Storage.open(root), "run-a")
        self.told = Told()
        self._scratch = scratch
        storage = StorageContext(
            storage_path=self.run.storage.at("runs"),
            storage_filesystem=self.run.storage.filesystem,
            experiment_dir_name="run-a",
            trial_dir_name="t-0",
        )
        self.trial = Trial(
            "PPO",
            trial_id="t-0",
            stub=True,
            storage=storage,
            checkpoint_config=CheckpointConfig(num_to_keep=3),
        )

    def store(self, name: str, iteration: int) -> None:
        """A whole checkpoint in storage."""
        folder = self._scratch / name
        (folder / "learner").mkdir(parents=True)
        (folder / "learner" / "state.pkl").write_bytes(b"state" * iteration)
        seal(folder, iteration, {"training_iteration": iteration, "return_mean": 1.5})
        self.run.storage.copy_folder(
            str(folder), f"runs/run-a/t-0/{name}", source_filesystem=fs.LocalFileSystem()
        )

    def damage(self, name: str) -> None:
        self.run.storage.write(f"runs/run-a/t-0/{name}/learner/state.pkl", b"half")

    def name(self, name: str, iteration: int) -> None:
        """Tune's state names this one as the newest."""
        self.trial.run_metadata.checkpoint_manager.register_checkpoint(
            _TrainingResult(
                checkpoint=Checkpoint(
                    self.run.storage.at(f"runs/run-a/t-0/{name}"), self.run.storage.filesystem
                ),
                metrics={"training_iteration": iteration},
            )
        )
        self.trial.storage.current_checkpoint_index = int(name[-6:])

    def begin(self, *, taken_up: bool = True) -> None:
        """Tune's first step."""
        recovery = Recovery(self.run, resume=True, observers=[self.told])
        if taken_up:
            recovery.set_state({})
        recovery.on_step_begin(0, [self.trial])

    @property
    def chosen(self) -> tuple[str, int]:
        return Path(self.trial.checkpoint.path).name, stored_iteration(self.trial)


@pytest.fixture
def scene(any_root: str, tmp_path: Path) -> Scene:
    return Scene(any_root, tmp_path / "scratch")


def stored(scene: Scene, names: Sequence[str]) -> None:
    for number, name in enumerate(names, start=1):
        scene.store(name, 2 * number)


CHECKPOINTS = ["checkpoint_000000", "checkpoint_000001", "checkpoint_000002"]


def test_a_whole_checkpoint_that_tune_names_is_used(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000002", 6)
    scene.begin()
    assert scene.chosen == ("checkpoint_000002", 6)
    assert caplog.text == ""
    assert scene.told.iterations == []


def test_broken_ones_are_refused_with_reasons_and_an_older_one_is_used(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000002")
    scene.damage("checkpoint_000001")
    scene.begin()
    assert scene.chosen == ("checkpoint_000000", 2)
    assert "t-0: checkpoint_000001 is refused: its learner/state.pkl has 4 bytes" in caplog.text
    assert "t-0: checkpoint_000002 is refused: its learner/state.pkl has 4 bytes" in caplog.text
    assert "goes on from checkpoint_000000, taken after iteration 2" in caplog.text
    assert scene.trial.storage.current_checkpoint_index == 2, "the next one is a new folder"
    assert scene.told.iterations == []


def test_one_that_tune_did_not_come_to_know_is_used_and_told_of(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver died between the copy and its note; nothing was published."""
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000001", 4)
    scene.begin()
    assert scene.chosen == ("checkpoint_000002", 6)
    assert scene.told.iterations == [6]
    assert scene.trial.storage.current_checkpoint_index == 2


def test_a_copy_that_was_cut_short_is_written_over(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stored(scene, CHECKPOINTS[:2])
    scene.name("checkpoint_000001", 4)
    scene.run.storage.write("runs/run-a/t-0/checkpoint_000002/learner/state.pkl", b"half")
    scene.begin()
    assert scene.chosen == ("checkpoint_000001", 4)
    assert scene.trial.storage.current_checkpoint_index == 1
    assert "checkpoint_000002 is refused: it has no files.json" in caplog.text
    assert "goes on from checkpoint_000001, taken after iteration 4" in caplog.text


@pytest.mark.parametrize("damaged", [False, True])
def test_no_number_is_used_twice_where_tune_s_count_is_behind(scene: Scene, damaged: bool) -> None:
    """Storage erred between a checkpoint's note and its count, as older ones were deleted."""
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000002", 6)
    if damaged:
        scene.damage("checkpoint_000002")
    scene.trial.storage.current_checkpoint_index = 1
    scene.begin()
    assert scene.chosen == (("checkpoint_000001", 4) if damaged else ("checkpoint_000002", 6))
    assert scene.trial.storage.current_checkpoint_index == 2


def test_the_best_one_s_copy_takes_the_place_of_none(scene: Scene) -> None:
    stored(scene, ["best_checkpoint_000002", "checkpoint_000001", "checkpoint_000002"])
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000001")
    scene.damage("checkpoint_000002")
    scene.trial.storage.current_checkpoint_index = 0
    scene.begin()
    assert scene.chosen == ("checkpoint_000003", 2)
    assert scene.trial.storage.current_checkpoint_index == 3


def test_one_that_is_named_and_was_deleted_since_is_no_harm(scene: Scene) -> None:
    stored(scene, CHECKPOINTS[1:])
    scene.name("checkpoint_000000", 1)
    scene.begin()
    assert scene.chosen == ("checkpoint_000002", 4)


def test_the_kept_best_one_is_used_where_the_newer_ones_are_broken(scene: Scene) -> None:
    stored(scene, ["best_checkpoint_000002", "checkpoint_000001", "checkpoint_000002"])
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000001")
    scene.damage("checkpoint_000002")
    scene.begin()
    assert scene.chosen == ("checkpoint_000003", 2), "a copy, as the best one may be replaced"
    assert scene.trial.storage.current_checkpoint_index == 3


def test_where_none_is_whole_the_run_ends_with_all_reasons(scene: Scene) -> None:
    stored(scene, CHECKPOINTS[:2])
    scene.name("checkpoint_000001", 4)
    scene.damage("checkpoint_000000")
    scene.damage("checkpoint_000001")
    with pytest.raises(RunError, match=r"t-0.*checkpoint_000000: .*checkpoint_000001: .*--restart"):
        scene.begin()


def test_a_trial_whose_first_copy_was_cut_short_begins_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.run.storage.write("runs/run-a/t-0/checkpoint_000000/learner/state.pkl", b"half")
    scene.begin()
    assert scene.trial.checkpoint is None
    assert "begins again: its first checkpoint is refused" in caplog.text


def test_a_trial_without_a_checkpoint_has_nothing_to_choose(scene: Scene) -> None:
    scene.begin()
    assert scene.trial.checkpoint is None


def test_a_state_that_tune_does_not_take_up_ends_the_run(scene: Scene) -> None:
    """Tune itself would begin from nothing, on top of what is there."""
    with pytest.raises(RunError, match="Tune cannot read its state"):
        scene.begin(taken_up=False)


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
    scene.begin()
    assert scene.trial.num_failures == 0


@pytest.mark.parametrize(
    ("criterion", "last", "ended"),
    [
        ({"training_iteration": 6}, {}, True),
        ({"training_iteration": 7}, {"training_iteration": 6}, False),
        ({"training_iteration": 7}, {"training_iteration": 6, "done": True}, True),
        ({"training_iteration": 9}, {"training_iteration": 8, "done": True}, False),
    ],
    ids=["the last iteration", "an earlier one", "given up here", "given up later"],
)
def test_whether_a_trial_has_ended_is_told_by_its_newest_checkpoint(
    scene: Scene, criterion: dict[str, int], last: dict[str, Any], ended: bool
) -> None:
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000001", 4)
    scene.trial.stopping_criterion = criterion
    scene.trial.run_metadata.last_result = last
    scene.begin()
    assert scene.chosen == ("checkpoint_000002", 6)
    assert has_ended(scene.trial) == ended


def test_a_trial_without_a_checkpoint_has_not_ended(scene: Scene) -> None:
    assert not has_ended(scene.trial)


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
    monkeypatch.setattr("training.recovery._LONG_SAVE_S", 0.5)
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
    tmp_path: Path, caplog: pytest.LogCaptureFixture, done: bool
) -> None:
    scene = Scene(str(tmp_path / "root"), tmp_path / "scratch")
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
    with pytest.raises(StorageError, match=r"refused the checkpoints of trial .* iteration 1;"):
        train(run, tiny_recipe, outage)
    outage.end()
    assert [manifest.iteration for manifest in PolicyStore(run.storage).listing().policies] == [1]
