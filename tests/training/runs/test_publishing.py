from __future__ import annotations

import math
import pickle
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import fs
from ray.tune import Checkpoint

from training.policy.acting import Policy
from training.rllib.checkpoint import load_actor
from training.runs import publishing
from training.runs.publishing import PublishingCallback, git_revision
from training.runs.whole_checkpoint import seal
from training.store.policies import PolicyStore
from training.store.storage import Storage


def trial(name: str = "t-0", *, iteration: int = 10, mean_return: float = 50.0) -> Any:
    """A trial as a Tune callback meets it."""
    result = {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 4096 * iteration,
        "return_mean": mean_return,
        "phase": "explore",
    }
    return SimpleNamespace(trial_id=name, last_result=result)


def publish(callback: PublishingCallback, checkpoint: Checkpoint, **fields: Any) -> None:
    callback.on_checkpoint(0, [], trial(**fields), checkpoint)


@pytest.fixture
def callback(disk_root: str) -> PublishingCallback:
    return PublishingCallback(Storage.open(disk_root), "run-a", "published", revision="abc")


def test_a_checkpoint_becomes_the_latest_policy(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint)
    published = PolicyStore.open(disk_root).newest()
    manifest = published.manifest
    assert (manifest.run, manifest.trial, manifest.iteration) == ("run-a", "t-0", 10)
    assert (manifest.mean_return, manifest.env_steps) == (50.0, 40960)
    assert manifest.git_revision == "abc"
    assert manifest.version == f"run-a-000010-{manifest.digest[:8]}"
    actor, description = load_actor(Path(checkpoint.path))
    observations = np.random.default_rng(1).integers(0, 255, (2, 84, 84, 4), np.uint8)
    expected = Policy(description, actor, version="x").act(observations)
    np.testing.assert_array_equal(Policy.from_published(published).act(observations), expected)


def test_a_search_does_not_move_the_latest_unless_there_is_none(
    any_root: str, checkpoint: Checkpoint
) -> None:
    storage = Storage.open(any_root)
    store = PolicyStore(storage)
    search = PublishingCallback(storage, "run-a", "published", promote=False)
    publish(search, checkpoint, name="t-0", iteration=10)
    first = store.latest_ref()
    assert first is not None
    publish(search, checkpoint, name="t-1", iteration=20)
    assert store.latest_ref() == first
    publish(PublishingCallback(storage, "run-b", "published"), checkpoint, iteration=10)
    other = store.latest_ref()
    assert other is not None
    assert other.run == "run-b"
    publish(search, checkpoint, name="t-0", iteration=30)
    assert store.latest_ref() == other


def test_an_unknown_return_is_published_as_unknown_and_is_no_best_one(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint, mean_return=math.nan)
    store = PolicyStore.open(disk_root)
    assert store.newest().manifest.mean_return is None
    assert store.storage.folders("runs/run-a/t-0") == []


def test_storage_that_refuses_does_not_stop_training(
    callback: PublishingCallback,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(PolicyStore, "publish", refuse)
    publish(callback, checkpoint)
    assert "could not be published" in caplog.text
    assert "no space left" in caplog.text


@pytest.mark.parametrize("later", ["in the next step", "at the end"])
def test_what_storage_has_refused_is_published_later(
    callback: PublishingCallback,
    disk_root: str,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    later: str,
) -> None:
    monkeypatch.setattr(publishing, "pause_before", lambda attempt: 0.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("away")

    with monkeypatch.context() as away:
        away.setattr(PolicyStore, "publish", refuse)
        publish(callback, checkpoint, iteration=10)
        publish(callback, checkpoint, iteration=20)
        callback.on_step_end(0, [])
    store = PolicyStore.open(disk_root)
    assert store.listing().policies == []
    if later == "at the end":
        callback.finish()
    else:
        callback.on_step_end(0, [])
    assert [manifest.iteration for manifest in store.listing().policies] == [20]
    assert store.storage.folders("runs/run-a/t-0") == ["best_checkpoint_000020"]
    callback.finish()
    assert callback.promote("t-0") is not None


def test_a_best_checkpoint_that_is_kept_later_publishes_nothing_again(
    callback: PublishingCallback,
    disk_root: str,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "pause_before", lambda attempt: 0.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("away")

    with monkeypatch.context() as away:
        away.setattr(Storage, "copy_folder", refuse)
        publish(callback, checkpoint, name="t-0", iteration=10)
    store = PolicyStore.open(disk_root)
    (first,) = store.listing().policies
    publish(callback, checkpoint, name="t-1", iteration=20)
    callback.on_step_end(0, [])
    assert store.storage.folders("runs/run-a/t-0") == ["best_checkpoint_000010"]
    latest = store.latest_ref()
    assert latest is not None
    assert latest.version.startswith("run-a-000020-")
    assert PolicyStore.open(disk_root).listing().policies[-1] == first


def test_a_network_that_has_diverged_is_not_published(
    callback: PublishingCallback,
    disk_root: str,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def diverged(folder: Path) -> Any:
        actor, description = load_actor(folder)
        with torch.no_grad():
            next(actor.parameters()).fill_(math.nan)
        return actor, description

    monkeypatch.setattr(publishing, "load_actor", diverged)
    publish(callback, checkpoint)
    assert "is not finite" in caplog.text
    store = PolicyStore.open(disk_root)
    assert store.listing().policies == []
    kept = store.storage.folders("runs/run-a/t-0")
    assert kept == ["best_checkpoint_000010"], "what can be kept is kept"


def test_promoting_a_trial_makes_its_newest_policy_the_latest(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint, name="t-0", iteration=10)
    publish(callback, checkpoint, name="t-1", iteration=20)
    store = PolicyStore.open(disk_root)
    assert store.newest().manifest.trial == "t-1"
    assert callback.promote("t-0") is not None
    assert store.newest().manifest.trial == "t-0"
    assert callback.promote("never-published") is None


def test_a_resumed_run_knows_its_best_and_newest(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint, iteration=10, mean_return=50.0)
    resumed = PublishingCallback(Storage.open(disk_root), "run-a", "published")
    resumed.set_state(callback.get_state())
    publish(resumed, checkpoint, iteration=20, mean_return=40.0)
    folders = PolicyStore.open(disk_root).storage.folders("runs/run-a/t-0")
    assert folders == ["best_checkpoint_000010"]
    assert resumed.promote("t-0") is not None


def stored(checkpoint: Checkpoint, root: str, name: str, iteration: int) -> None:
    """A whole checkpoint beside others of the trial."""
    storage = Storage.open(root)
    folder = f"runs/run-a/t-0/{name}"
    storage.copy_folder(checkpoint.path, folder, source_filesystem=fs.LocalFileSystem())
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(checkpoint.path, scratch, dirs_exist_ok=True)
        seal(Path(scratch), iteration, trial(iteration=iteration).last_result)
        storage.write(f"{folder}/files.json", (Path(scratch) / "files.json").read_bytes())


def test_what_a_killed_run_did_not_come_to_publish_is_published(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint, iteration=10)
    stored(checkpoint, disk_root, "checkpoint_000000", 10)
    callback.catch_up(["t-0", "never-stored"])
    assert iterations(disk_root) == [10]
    stored(checkpoint, disk_root, "checkpoint_000001", 20)
    PolicyStore.open(disk_root).storage.write(
        "runs/run-a/t-0/checkpoint_000002/rllib_checkpoint.json", b"half"
    )
    callback.catch_up(["t-0", "never-stored"])
    assert iterations(disk_root) == [10, 20]
    ref = callback.promote("t-0")
    assert ref is not None
    assert ref.version.startswith("run-a-000020-")


def test_what_was_published_after_the_state_was_noted_is_promoted(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    publish(callback, checkpoint, iteration=10)
    state = pickle.loads(pickle.dumps(callback.get_state()))
    publish(callback, checkpoint, iteration=20)
    resumed = PublishingCallback(Storage.open(disk_root), "run-a", "published")
    resumed.set_state(state)
    resumed.catch_up(["t-0"])
    ref = resumed.promote("t-0")
    assert ref is not None
    assert ref.version.startswith("run-a-000020-")


def iterations(root: str) -> list[int]:
    return sorted(manifest.iteration for manifest in PolicyStore.open(root).listing().policies)


def test_all_policies_are_kept_unless_told_otherwise(
    callback: PublishingCallback, disk_root: str, checkpoint: Checkpoint
) -> None:
    for iteration in (10, 20, 30):
        publish(callback, checkpoint, iteration=iteration)
    assert iterations(disk_root) == [10, 20, 30]


def test_the_newest_policies_and_each_trial_s_own_are_kept(
    disk_root: str, checkpoint: Checkpoint
) -> None:
    callback = PublishingCallback(Storage.open(disk_root), "run-a", "published", keep_policies=1)
    publish(callback, checkpoint, name="t-0", iteration=10)
    for iteration in (20, 30):
        publish(callback, checkpoint, name="t-1", iteration=iteration)
    assert iterations(disk_root) == [10, 30]
    assert callback.promote("t-0") is not None
    assert PolicyStore.open(disk_root).newest().manifest.iteration == 10


def test_policies_that_cannot_be_deleted_do_not_stop_training(
    disk_root: str,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the bucket does not answer")

    callback = PublishingCallback(Storage.open(disk_root), "run-a", "published", keep_policies=1)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete_file", refuse)
        for iteration in (10, 20):
            publish(callback, checkpoint, iteration=iteration)
    assert "old policies could not be deleted: the bucket does not answer" in caplog.text
    assert iterations(disk_root) == [10, 20]
    publish(callback, checkpoint, iteration=30)
    assert iterations(disk_root) == [30]


def test_the_git_revision_is_the_environment_s_or_git_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_GIT_REVISION", "abc")
    assert git_revision() == "abc"
    monkeypatch.delenv("CARRACING_GIT_REVISION")
    assert (git_revision() or "").removesuffix("-dirty").isalnum()
    monkeypatch.setattr(publishing, "__file__", "/nowhere/publishing.py")
    assert git_revision() is None
