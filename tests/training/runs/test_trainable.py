"""A real algorithm as Tune runs it: what its checkpoints bring back, and which it refuses."""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint

from tests.training.conftest import LOCAL
from training.recipe import Recipe
from training.rllib.config import build_config
from training.rllib.divergence import DIVERGED
from training.runs.trainable import DrivingPPO, _require_arrived
from training.runs.whole_checkpoint import BrokenCheckpointError, verify
from training.runs.whole_files import whole_files
from training.store.storage import Storage

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def algorithm(tiny_recipe: Recipe) -> Iterator[DrivingPPO]:
    """After two iterations."""
    algorithm = DrivingPPO(config=build_config(tiny_recipe, LOCAL, seed=1))
    algorithm.train()
    algorithm.train()
    yield algorithm
    algorithm.stop()


@pytest.fixture(scope="module")
def other(tiny_recipe: Recipe) -> Iterator[DrivingPPO]:
    """One that has not trained."""
    algorithm = DrivingPPO(config=build_config(tiny_recipe, LOCAL, seed=2))
    yield algorithm
    algorithm.stop()


def optimizer_state(algorithm: DrivingPPO) -> dict[str, Any]:
    learner = algorithm.learner_group._learner
    (_, optimizer), *_ = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    return {
        f"{number} {name}": np.asarray(value.cpu())
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def kl_coeff(algorithm: DrivingPPO) -> Any:
    return algorithm.learner_group._learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]


def test_a_restore_brings_back_the_adapted_kl_coefficient(
    algorithm: DrivingPPO, other: DrivingPPO, tmp_path: Path
) -> None:
    kl_coeff(algorithm).fill_(0.45)
    algorithm.save(str(tmp_path))
    assert kl_coeff(other).item() == pytest.approx(0.2)
    other.restore(str(tmp_path))
    assert kl_coeff(other).item() == pytest.approx(0.45)


def weights(algorithm: DrivingPPO) -> dict[str, Any]:
    state: dict[str, Any] = algorithm.get_module().get_state()
    return state


def test_a_restore_brings_back_weights_optimizer_iteration_and_steps(
    algorithm: DrivingPPO, other: DrivingPPO, tmp_path: Path
) -> None:
    saved = algorithm.save(str(tmp_path))
    listed = verify(fs.LocalFileSystem(), str(tmp_path))
    assert listed.iteration == 2
    assert listed.result["phase"] == "explore"
    assert listed.result["num_env_steps_sampled_lifetime"] == 64
    # As Tune restores what its state does not know: with what the checkpoint's own list tells.
    other.restore(_TrainingResult(checkpoint=saved.checkpoint, metrics=dict(listed.result)))
    assert other.iteration == 2
    expected = optimizer_state(algorithm)
    assert len(expected) > 3
    np.testing.assert_equal(optimizer_state(other), expected)
    np.testing.assert_equal(weights(other), weights(algorithm))
    result = other.train()
    assert result["training_iteration"] == 3
    assert result["num_env_steps_sampled_lifetime"] == 96
    assert result["time_total_s"] > float(listed.result["time_total_s"] or 0)


def test_a_damaged_checkpoint_is_not_unpickled(
    algorithm: DrivingPPO, other: DrivingPPO, tmp_path: Path
) -> None:
    algorithm.save(str(tmp_path))
    (tmp_path / "algorithm_state.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    before = other.iteration
    with pytest.raises(BrokenCheckpointError, match=r"algorithm_state\.pkl"):
        other.restore(Checkpoint.from_directory(str(tmp_path)))
    assert other.iteration in (0, before), "nothing of it was taken up"


@pytest.fixture
def stored(algorithm: DrivingPPO, tmp_path: Path) -> Iterator[Path]:
    """The algorithm stores its checkpoints below this root, as a trial of Tune's."""
    root = tmp_path / "root"
    algorithm._storage = StorageContext(
        storage_path=str(root),
        storage_filesystem=whole_files(fs.LocalFileSystem()),
        experiment_dir_name="run-a",
        trial_dir_name="t-0",
    )
    yield root
    algorithm._storage = None


def test_a_checkpoint_is_stored_with_its_list(algorithm: DrivingPPO, stored: Path) -> None:
    result = algorithm.save()
    assert algorithm.why_not_stored() is None
    assert result.checkpoint.path == str(stored / "run-a" / "t-0" / "checkpoint_000000")
    assert verify(fs.LocalFileSystem(), result.checkpoint.path).iteration == 2


def test_one_that_storage_refuses_is_no_failure_and_its_number_is_used_again(
    algorithm: DrivingPPO, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.runs.trainable._BRIEFLY_S", 0.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(StorageContext, "persist_current_checkpoint", refuse)
        assert algorithm.save().checkpoint is None
    assert "No space left" in (algorithm.why_not_stored() or "")
    again = algorithm.save()
    assert again.checkpoint.path.endswith("checkpoint_000000")
    assert algorithm.why_not_stored() is None


def test_one_of_which_a_file_is_silently_not_stored_is_refused(
    algorithm: DrivingPPO, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's copying does not tell of errors that come when a file is closed."""
    monkeypatch.setattr("training.runs.trainable._BRIEFLY_S", 0.0)

    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        assert algorithm.save().checkpoint is None
    assert "it is not there as it was written" in (algorithm.why_not_stored() or "")
    again = algorithm.save()
    assert again.checkpoint.path.endswith("checkpoint_000000")
    assert verify(fs.LocalFileSystem(), again.checkpoint.path).iteration == 2


def test_what_was_stored_is_found_wherever_that_is(any_root: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"a")
    (folder / "deep" / "b").write_bytes(b"")
    storage = Storage.open(any_root)
    storage.copy_folder(str(folder), "run/c", source_filesystem=fs.LocalFileSystem())
    stored = Checkpoint(storage.at("run/c"), storage.filesystem)
    _require_arrived(folder, stored)
    (folder / "deep" / "b").write_bytes(b"b")
    with pytest.raises(OSError, match=r"it is not there as it was written.*/run/c/deep/b"):
        _require_arrived(folder, stored)


def test_a_full_disk_of_the_trials_node_is_no_failure_and_leaves_no_folder(
    algorithm: DrivingPPO, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def full(*arguments: Any, **options: Any) -> str:
        folder: str = make(*arguments, **options)
        Path(folder, "algorithm_state.pkl").symlink_to("/dev/full")
        return folder

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(temporary))
        patched.setattr(tempfile, "mkdtemp", full)
        assert algorithm.save().checkpoint is None
    refusal = algorithm.why_not_stored() or ""
    assert "on the trial's own node" in refusal
    assert "No space left" in refusal
    assert list(temporary.iterdir()) == []
    assert not (stored / "run-a" / "t-0").exists()
    again = algorithm.save()
    assert again.checkpoint.path.endswith("checkpoint_000000")
    assert algorithm.why_not_stored() is None


def test_no_temporary_folder_at_all_is_no_failure(
    algorithm: DrivingPPO, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert algorithm.save().checkpoint is None
    assert "on the trial's own node" in (algorithm.why_not_stored() or "")


def test_what_was_stored_leaves_no_temporary_folder(
    algorithm: DrivingPPO, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert algorithm.save().checkpoint is not None
    assert list(temporary.iterdir()) == []


def test_a_last_one_is_waited_for(
    algorithm: DrivingPPO, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.runs.trainable._BRIEFLY_S", 0.0)
    persist = StorageContext.persist_current_checkpoint
    refusals = iter([OSError("away"), OSError("away")])

    def refuse_twice(context: StorageContext, checkpoint: Checkpoint) -> Any:
        for refusal in refusals:
            raise refusal
        return persist(context, checkpoint)

    monkeypatch.setattr(StorageContext, "persist_current_checkpoint", refuse_twice)
    assert algorithm.save().checkpoint is None
    algorithm.be_patient(600.0)
    try:
        assert algorithm.save().checkpoint.path.endswith("checkpoint_000000")
    finally:
        algorithm._patience_s = None
    assert algorithm.why_not_stored() is None


def test_a_root_that_is_not_there_is_told_in_our_words(
    algorithm: DrivingPPO, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.runs.trainable._BRIEFLY_S", 0.0)
    stored.rename(stored.with_name("away"))
    assert algorithm.save().checkpoint is None
    assert "the root is not there" in (algorithm.why_not_stored() or "")


def test_an_iteration_trains_although_all_env_runners_were_lost(tiny_recipe: Recipe) -> None:
    resources = dataclasses.replace(LOCAL, num_env_runners=1)
    algorithm = DrivingPPO(config=build_config(tiny_recipe, resources, seed=1))
    try:
        for iteration in (1, 2):
            algorithm.env_runner_group.foreach_env_runner(
                lambda _: os._exit(1), local_env_runner=False, mark_healthy=False
            )
            result = algorithm.train()
            assert result["training_iteration"] == iteration
            assert result["num_env_steps_sampled_lifetime"] == 32 * iteration
            assert DIVERGED not in result
    finally:
        algorithm.stop()
