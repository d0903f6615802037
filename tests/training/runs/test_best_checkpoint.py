"""The best checkpoint of a trial: by its score, and by its return until there is one."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from ray.tune import Checkpoint

from tests.conftest import exists
from tests.training.runs.test_publishing import iterations, publish
from training.runs.publishing import PublishingCallback
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.store.validation_scores import Validation


@pytest.fixture
def callback(any_root: str) -> PublishingCallback:
    return PublishingCallback(Storage.open(any_root), "run-a", "published")


def test_the_best_checkpoint_is_kept_and_replaced_by_a_better_one(
    callback: PublishingCallback, any_root: str, checkpoint: Checkpoint
) -> None:
    storage = PolicyStore.open(any_root).storage

    def kept() -> list[str]:
        return [n for n in storage.folders("runs/run-a/t-0") if n.startswith("best_checkpoint_")]

    publish(callback, checkpoint, iteration=10, mean_return=50.0)
    assert kept() == ["best_checkpoint_000010"]
    publish(callback, checkpoint, iteration=20, mean_return=40.0)
    assert kept() == ["best_checkpoint_000010"]
    publish(callback, checkpoint, iteration=30, mean_return=60.0)
    assert kept() == ["best_checkpoint_000030"]
    assert exists(storage, "runs/run-a/t-0/best_checkpoint_000030/rllib_checkpoint.json")
    assert iterations(any_root) == [10, 20, 30], "every policy is kept unless told otherwise"


class Scores:
    """Validates as a test says; takes the place of a process that drives."""

    def __init__(self) -> None:
        self.added: list[PolicyRef] = []
        self.validations: dict[PolicyRef, Validation] = {}

    def add(self, ref: PolicyRef) -> None:
        self.added.append(ref)


def test_the_best_checkpoint_is_kept_by_score_as_soon_as_there_is_one(
    any_root: str, checkpoint: Checkpoint
) -> None:
    scores = Scores()
    callback = PublishingCallback(
        Storage.open(any_root),
        "run-a",
        "published",
        validator=scores,  # type: ignore[arg-type]
    )
    storage = Storage.open(any_root)

    def kept(iteration: int, mean_return: float, score: float | None = None) -> list[str]:
        """What is kept after a checkpoint of this return, once it has this score."""
        publish(callback, checkpoint, iteration=iteration, mean_return=mean_return)
        if score is not None:
            scores.validations[scores.added[-1]] = Validation(scores={1: score})
        callback.on_step_end(0, [])
        return [name[-2:] for name in storage.folders("runs/run-a/t-0")]

    assert kept(10, mean_return=50.0) == ["10"], "by its return, while there is no score"
    assert kept(20, mean_return=40.0, score=300.0) == ["20"]
    assert kept(30, mean_return=90.0) == ["20"], "returns decide nothing any more"
    assert kept(40, mean_return=90.0, score=200.0) == ["20"]
    resumed = PublishingCallback(storage, "run-a", "published")
    resumed.set_state(pickle.loads(pickle.dumps(callback.get_state())))
    publish(resumed, checkpoint, iteration=50, mean_return=95.0)
    assert storage.folders("runs/run-a/t-0") == ["best_checkpoint_000020"]
    assert kept(60, mean_return=10.0, score=301.0) == ["60"]


def test_a_checkpoint_that_is_gone_when_its_score_comes_is_not_kept(
    any_root: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    scores = Scores()
    storage = Storage.open(any_root)
    callback = PublishingCallback(storage, "run-a", "published", validator=scores)  # type: ignore[arg-type]
    publish(callback, checkpoint, iteration=10, mean_return=50.0)
    deleted = tmp_path / "checkpoint"
    shutil.copytree(checkpoint.path, deleted)
    publish(callback, Checkpoint.from_directory(str(deleted)), iteration=20, mean_return=40.0)
    shutil.rmtree(deleted)
    scores.validations[scores.added[-1]] = Validation(scores={1: 300.0})
    callback.on_step_end(0, [])
    assert storage.folders("runs/run-a/t-0") == ["best_checkpoint_000010"]
