"""Checkpoints in storage become published policies; old ones of both are deleted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import build_actor, build_manifest
from training.policy.acting import Policy, weights_to_bytes
from training.policy.manifest import PolicyDescription
from training.runs import publishing
from training.runs.publishing import PublishingCallback, git_revision
from training.store import background
from training.store.background import StorageQueue
from training.store.checkpoint import list_checkpoints, pack_checkpoint
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.store.validation_scores import Validation


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "pause_before", lambda attempt: 0.0)


class Scene:
    """A run whose trials store checkpoints, as they do in their own processes."""

    def __init__(self, root: str, run: str = "run-a", **given: Any) -> None:
        self.storage = Storage.open(root)
        self.store = PolicyStore(self.storage)
        self.queue = StorageQueue("test")
        self._run = run
        options: dict[str, Any] = {"keep_checkpoints": 10} | given
        self.callback = PublishingCallback(
            self.storage, run, "published", self.queue, revision="abc", **options
        )

    def checkpoint(
        self,
        iteration: int,
        *,
        trial: str = "t-0",
        mean_return: float = 50.0,
        actor: torch.nn.Module | None = None,
    ) -> None:
        """A complete checkpoint in storage, of which the driver does not know yet."""
        weights = weights_to_bytes(actor or build_actor(seed=iteration))  # type: ignore[arg-type]
        manifest = build_manifest(weights)
        name, content = pack_checkpoint(
            iteration,
            {
                "num_env_steps_sampled_lifetime": 4096 * iteration,
                "return_mean": mean_return,
                "phase": "explore",
            },
            policy=PolicyDescription(
                **{field: getattr(manifest, field) for field in PolicyDescription.model_fields}
            ),
            weights=weights,
            state=None,
        )
        self.storage.write(f"runs/{self._run}/{trial}/{name}", content)

    def report(self, iteration: int, trial: Any = "t-0") -> None:
        """The trial's result says that a checkpoint is stored."""
        self.callback.on_trial_result(0, [], trial, {"stored_iteration": iteration})

    def publish(self, iteration: int, *, trial: str = "t-0", **options: Any) -> None:
        """A checkpoint, its result, and everything that follows."""
        self.checkpoint(iteration, trial=trial, **options)
        self.report(iteration, trial)
        self.queue.finish(300)

    @property
    def published(self) -> list[int]:
        return sorted(manifest.iteration for manifest in self.store.listing().policies)

    def kept(self, trial: str = "t-0") -> list[int]:
        files = list_checkpoints(self.storage, f"runs/{self._run}/{trial}")
        return sorted(file.iteration for file in files)


@pytest.fixture
def scene(disk_root: str) -> Scene:
    return Scene(disk_root)


def test_a_checkpoint_becomes_the_latest_policy(any_root: str) -> None:
    scene = Scene(any_root)
    scene.publish(10)
    published = scene.store.newest()
    manifest = published.manifest
    assert (manifest.run, manifest.trial, manifest.iteration) == ("run-a", "t-0", 10)
    assert (manifest.mean_return, manifest.env_steps) == (50.0, 40960)
    assert manifest.git_revision == "abc"
    assert manifest.version == f"run-a-000010-{manifest.digest[:8]}"
    observations = np.random.default_rng(1).integers(0, 255, (2, 84, 84, 4), np.uint8)
    expected = Policy(manifest, build_actor(seed=10), version="x").act(observations)
    np.testing.assert_array_equal(Policy.from_published(published).act(observations), expected)


def test_a_result_without_a_new_checkpoint_publishes_nothing(scene: Scene) -> None:
    scene.publish(10)
    scene.checkpoint(20)
    scene.report(10)
    scene.queue.finish(300)
    assert scene.published == [10]


def test_a_search_does_not_move_the_latest_unless_there_is_none(disk_root: str) -> None:
    search = Scene(disk_root, promote=False)
    search.publish(10, trial="t-0")
    first = search.store.latest_ref()
    assert first is not None
    search.publish(20, trial="t-1")
    assert search.store.latest_ref() == first
    Scene(disk_root, "run-b").publish(10)
    other = search.store.latest_ref()
    assert other is not None
    assert other.run == "run-b"
    search.publish(30, trial="t-0")
    assert search.store.latest_ref() == other


def test_an_unknown_return_is_published_as_unknown(scene: Scene) -> None:
    scene.publish(10, mean_return=math.nan)
    assert scene.store.newest().manifest.mean_return is None


def test_what_storage_refuses_is_published_later_and_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, promote = PolicyStore.publish, PolicyStore.promote
    errors = [OSError("away") for _ in range(4)]
    times: list[int] = []

    def refuse_at_first(store: PolicyStore, manifest: Any, weights: bytes, **options: Any) -> Any:
        if len(errors) > 2:
            raise errors.pop()
        times.append(manifest.iteration)
        return publish(store, manifest, weights, **options)

    def refuse_to_promote(store: PolicyStore, ref: Any) -> None:
        if errors:
            raise errors.pop()
        promote(store, ref)

    monkeypatch.setattr(PolicyStore, "publish", refuse_at_first)
    monkeypatch.setattr(PolicyStore, "promote", refuse_to_promote)
    scene.publish(10)
    assert times == [10]
    assert scene.store.newest().manifest.iteration == 10


def test_weights_that_are_not_finite_are_not_published(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    actor = build_actor()
    with torch.no_grad():
        next(actor.parameters()).fill_(math.nan)
    scene.publish(10, actor=actor)
    assert "is not finite" in caplog.text
    assert scene.published == []
    assert scene.kept() == [10]


def test_a_damaged_checkpoint_is_not_published(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.storage.write("runs/run-a/t-0/checkpoint_000010_0123456789abcdef.zip", b"half")
    scene.publish(20)
    assert scene.published == [20]
    assert "not a complete checkpoint" in caplog.text


def test_promoting_a_trial_makes_its_newest_policy_the_latest(scene: Scene) -> None:
    scene.publish(10, trial="t-0")
    scene.publish(20, trial="t-1")
    assert scene.store.newest().manifest.trial == "t-1"
    assert scene.callback.promote("t-0") is not None
    assert scene.store.newest().manifest.trial == "t-0"
    assert scene.callback.promote("never-published") is None


def test_a_run_that_was_killed_publishes_the_rest_when_it_starts_again(
    scene: Scene, disk_root: str
) -> None:
    scene.publish(10)
    scene.checkpoint(20)
    scene.checkpoint(30, trial="t-1")
    again = Scene(disk_root)
    again.callback.publish(["t-0", "t-1", "never-stored"])
    again.queue.finish(300)
    assert again.published == [10, 20, 30]
    ref = again.callback.promote("t-0")
    assert ref is not None
    assert ref.version.startswith("run-a-000020-")


def test_the_newest_checkpoints_and_the_best_one_are_kept(disk_root: str) -> None:
    scene = Scene(disk_root, keep_checkpoints=2)
    for iteration, mean_return in ((10, 5.0), (20, 9.0), (30, 7.0), (40, 1.0), (50, 2.0)):
        scene.publish(iteration, mean_return=mean_return)
    assert scene.kept() == [20, 40, 50]
    # As after a restart, which knows no more than what is published.
    again = Scene(disk_root, keep_checkpoints=2)
    again.publish(60)
    assert again.kept() == [50, 60]


def test_a_validation_score_decides_which_checkpoint_is_the_best(disk_root: str) -> None:
    class Validated:
        validations: dict[Any, Validation] = {}  # noqa: RUF012

        def add(self, ref: Any) -> None:
            score = {10: 1.0, 20: 8.0, 30: 3.0}.get(int(ref.version.split("-")[2]))
            if score is not None:
                self.validations[ref] = Validation(scores={1: score})

    scene = Scene(disk_root, keep_checkpoints=1, validator=Validated())
    for iteration, mean_return in ((10, 9.0), (20, 5.0), (30, 6.0), (40, 7.0)):
        scene.publish(iteration, mean_return=mean_return)
    assert scene.kept() == [20, 40]


def test_all_policies_are_kept_unless_told_otherwise(scene: Scene) -> None:
    for iteration in (10, 20, 30):
        scene.publish(iteration)
    assert scene.published == [10, 20, 30]


def test_the_newest_policies_and_each_trial_s_own_are_kept(disk_root: str) -> None:
    scene = Scene(disk_root, keep_policies=1)
    scene.publish(10, trial="t-0")
    for iteration in (20, 30):
        scene.publish(iteration, trial="t-1")
    assert scene.published == [10, 30]
    assert scene.callback.promote("t-0") is not None
    assert scene.store.newest().manifest.iteration == 10


def test_policies_that_cannot_be_deleted_do_not_stop_training(
    disk_root: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the bucket does not answer")

    scene = Scene(disk_root, keep_policies=1)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete_file", refuse)
        for iteration in (10, 20):
            scene.publish(iteration)
    assert "old policies could not be deleted: the bucket does not answer" in caplog.text
    assert scene.published == [10, 20]
    scene.publish(30)
    assert scene.published == [30]


def test_the_git_revision_is_the_environment_s_or_git_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_GIT_REVISION", "abc")
    assert git_revision() == "abc"
    monkeypatch.delenv("CARRACING_GIT_REVISION")
    assert (git_revision() or "").removesuffix("-dirty").isalnum()
    monkeypatch.setattr(publishing, "__file__", "/nowhere/publishing.py")
    assert git_revision() is None
