"""Which checkpoint a trial goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.training.trial_scene import Scene
from training.runs.chosen_checkpoint import choose_checkpoint, has_ended
from training.runs.run import RunError


def choose(scene: Scene) -> bool:
    return choose_checkpoint(scene.run, scene.trial, patience_s=0.0)


@pytest.fixture
def scene(disk_root: str, tmp_path: Path) -> Scene:
    return Scene(disk_root, tmp_path / "scratch")


def stored(scene: Scene, names: Sequence[str]) -> None:
    for number, name in enumerate(names, start=1):
        scene.store(name, 2 * number)


CHECKPOINTS = ["checkpoint_000000", "checkpoint_000001", "checkpoint_000002"]


def test_a_whole_checkpoint_that_tune_names_is_used(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000002", 6)
    assert not choose(scene)
    assert scene.chosen == ("checkpoint_000002", 6)
    assert caplog.text == ""


def test_broken_ones_are_refused_with_reasons_and_an_older_one_is_used(
    any_root: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(any_root, tmp_path / "scratch")
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000002")
    scene.damage("checkpoint_000001")
    assert not choose(scene)
    assert scene.chosen == ("checkpoint_000000", 2)
    assert "t-0: checkpoint_000001 is refused: its learner/state.pkl has 4 bytes" in caplog.text
    assert "t-0: checkpoint_000002 is refused: its learner/state.pkl has 4 bytes" in caplog.text
    assert "goes on from checkpoint_000000, taken after iteration 2" in caplog.text
    assert scene.trial.storage.current_checkpoint_index == 2, "the next one is a new folder"


def test_one_that_tune_did_not_come_to_know_is_used(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver died between the copy and its note; nothing was published."""
    stored(scene, CHECKPOINTS)
    scene.name("checkpoint_000001", 4)
    assert choose(scene), "it is newer"
    assert scene.chosen == ("checkpoint_000002", 6)
    assert scene.trial.storage.current_checkpoint_index == 2


def test_a_copy_that_was_cut_short_is_written_over(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stored(scene, CHECKPOINTS[:2])
    scene.name("checkpoint_000001", 4)
    scene.run.storage.write("runs/run-a/t-0/checkpoint_000002/learner/state.pkl", b"half")
    choose(scene)
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
    choose(scene)
    assert scene.chosen == (("checkpoint_000001", 4) if damaged else ("checkpoint_000002", 6))
    assert scene.trial.storage.current_checkpoint_index == 2


def test_the_best_one_s_copy_takes_the_place_of_none(scene: Scene) -> None:
    stored(scene, ["best_checkpoint_000002", "checkpoint_000001", "checkpoint_000002"])
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000001")
    scene.damage("checkpoint_000002")
    scene.trial.storage.current_checkpoint_index = 0
    choose(scene)
    assert scene.chosen == ("checkpoint_000003", 2)
    assert scene.trial.storage.current_checkpoint_index == 3


def test_one_that_is_named_and_was_deleted_since_is_no_harm(scene: Scene) -> None:
    stored(scene, CHECKPOINTS[1:])
    scene.name("checkpoint_000000", 1)
    choose(scene)
    assert scene.chosen == ("checkpoint_000002", 4)


def test_the_kept_best_one_is_used_where_the_newer_ones_are_broken(scene: Scene) -> None:
    stored(scene, ["best_checkpoint_000002", "checkpoint_000001", "checkpoint_000002"])
    scene.name("checkpoint_000002", 6)
    scene.damage("checkpoint_000001")
    scene.damage("checkpoint_000002")
    choose(scene)
    assert scene.chosen == ("checkpoint_000003", 2), "a copy, as the best one may be replaced"
    assert scene.trial.storage.current_checkpoint_index == 3


def test_where_none_is_whole_the_run_ends_with_all_reasons(scene: Scene) -> None:
    stored(scene, CHECKPOINTS[:2])
    scene.name("checkpoint_000001", 4)
    scene.damage("checkpoint_000000")
    scene.damage("checkpoint_000001")
    with pytest.raises(RunError, match=r"t-0.*checkpoint_000000: .*checkpoint_000001: .*--restart"):
        choose(scene)


def test_a_trial_whose_first_copy_was_cut_short_begins_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.run.storage.write("runs/run-a/t-0/checkpoint_000000/learner/state.pkl", b"half")
    choose(scene)
    assert scene.trial.checkpoint is None
    assert "begins again: its first checkpoint is refused" in caplog.text


def test_a_trial_without_a_checkpoint_has_nothing_to_choose(scene: Scene) -> None:
    choose(scene)
    assert scene.trial.checkpoint is None


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
    choose(scene)
    assert scene.chosen == ("checkpoint_000002", 6)
    assert has_ended(scene.trial) == ended


def test_a_trial_without_a_checkpoint_has_not_ended(scene: Scene) -> None:
    assert not has_ended(scene.trial)
