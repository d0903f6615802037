"""A real algorithm that stores its own checkpoints and restores itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from tests.training.conftest import LOCAL
from training.policy.acting import Policy
from training.recipe import Recipe
from training.rllib.config import build_config
from training.store import background, retrying
from training.store.checkpoint import list_checkpoints, open_checkpoint_policy
from training.store.storage import Storage
from training.trials import trial_store
from training.trials.divergence import DIVERGED
from training.trials.trainable import DrivingPPO
from training.trials.trial_store import TrialSettings

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("ray_cluster")]

FOLDER = "runs/run-a/t-0"
Begin = Callable[..., DrivingPPO]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "root"))


@pytest.fixture
def begin(storage: Storage, tiny_recipe: Recipe) -> Iterator[Begin]:
    """Start the trial, as Tune does after each loss of its process."""
    begun: list[DrivingPPO] = []

    def start(**options: Any) -> DrivingPPO:
        settings = TrialSettings(
            storage,
            "runs/run-a",
            tiny_recipe.description(),
            **{"max_iters": 100, "checkpoint_every": 2, "patience_s": 300.0} | options,
        )
        # Tune names the folder of a trial's process.
        kind = type("Trial", (DrivingPPO.with_settings(settings),), {"logdir": "/folder/of/t-0"})
        begun.append(kind(config=build_config(tiny_recipe, LOCAL, seed=len(begun))))
        return begun[-1]

    yield start
    for trial in begun:
        trial.stop()


def optimizer_state(algorithm: DrivingPPO) -> dict[str, Any]:
    learner = algorithm.learner_group._learner
    (_, optimizer), *_ = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    return {
        f"{number} {name}": value.cpu().numpy().copy()
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def kl_coeff(algorithm: DrivingPPO) -> Any:
    return algorithm.learner_group._learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]


def weights(algorithm: DrivingPPO) -> dict[str, Any]:
    state: dict[str, Any] = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    return {name: np.asarray(value).copy() for name, value in state.items()}


def stored(storage: Storage) -> list[int]:
    return sorted(file.iteration for file in list_checkpoints(storage, FOLDER))


def table(storage: Storage) -> list[str]:
    content = storage.read(f"{FOLDER}/progress.csv").decode()
    return [row["training_iteration"] for row in csv.DictReader(io.StringIO(content))]


def test_a_trial_that_starts_again_continues_from_its_newest_checkpoint(
    begin: Begin, storage: Storage
) -> None:
    trial = begin()
    first = trial.train()
    assert first["stored_iteration"] == 0
    kl_coeff(trial).fill_(0.45)
    second = trial.train()
    assert (second["stored_iteration"], second["trial_id"]) == (2, "t-0")
    expected = weights(trial), optimizer_state(trial), kl_coeff(trial).item()
    trial.train()
    assert stored(storage) == [2]

    again = begin()
    assert again.iteration == 2
    np.testing.assert_equal(weights(again), expected[0])
    np.testing.assert_equal(optimizer_state(again), expected[1])
    assert len(expected[1]) > 3
    assert kl_coeff(again).item() == pytest.approx(expected[2])
    third = again.train()
    assert third["restored"] == "continues after iteration 2"
    assert third["training_iteration"] == 3
    assert third["num_env_steps_sampled_lifetime"] == 96
    assert third["time_total_s"] > second["time_total_s"]
    assert third["phase"] == "finetune"
    assert third["entropy_coeff"] == pytest.approx(1e-3)
    assert "restored" not in again.train()
    assert stored(storage) == [2, 4]
    assert table(storage) == ["1", "2", "3", "4"]


def test_the_policy_in_a_checkpoint_is_that_of_the_trial(begin: Begin, storage: Storage) -> None:
    trial = begin(checkpoint_every=1)
    trial.train()
    (file,) = list_checkpoints(storage, FOLDER)
    metadata, content = open_checkpoint_policy(storage, f"{FOLDER}/{file.name}")
    policy = Policy.from_weights(metadata.policy, content, version="x")
    actor = trial.get_module().actor
    for name, value in policy._actor.state_dict().items():
        torch.testing.assert_close(value, actor.state_dict()[name])
    assert metadata.result["phase"] == "explore"


def test_checkpoints_are_taken_at_milestones_and_at_the_end(begin: Begin, storage: Storage) -> None:
    trial = begin(checkpoint_every=100, max_iters=4, milestones=frozenset({3}))
    for _ in range(4):
        trial.train()
    assert stored(storage) == [3, 4]


def test_a_damaged_checkpoint_is_skipped_and_what_a_kill_left_is_deleted(
    begin: Begin, storage: Storage
) -> None:
    trial = begin(checkpoint_every=1)
    trial.train()
    trial.train()
    newest = list_checkpoints(storage, FOLDER)[0]
    storage.write(f"{FOLDER}/{newest.name}", b"half")
    storage.write(f"{FOLDER}/{newest.name}.0f.tmp", b"half")
    result = begin(checkpoint_every=1).train()
    assert result["training_iteration"] == 2
    assert f"continues after iteration 1; {newest.name} is skipped" in result["restored"]
    assert not any(name.endswith(".tmp") for name in storage.files(FOLDER))


def test_a_trial_whose_checkpoints_are_all_damaged_trains_nothing_and_says_why(
    begin: Begin, storage: Storage
) -> None:
    begin(checkpoint_every=1).train()
    (only,) = list_checkpoints(storage, FOLDER)
    storage.write(f"{FOLDER}/{only.name}", b"")
    trial = begin()
    for _ in range(2):
        result = trial.train()
        assert result["done"]
        assert only.name in result["cannot_restore"]
    assert stored(storage) == [1]


def test_storage_that_cannot_be_read_ends_the_trial_with_the_reason(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("away")

    monkeypatch.setattr(Storage, "files", refuse)
    result = begin(patience_s=0.0).train()
    assert result["done"]
    assert "away" in result["storage_failure"]


def test_a_trial_trains_on_while_storage_fails_and_stores_the_newest_checkpoint_later(
    begin: Begin, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin(checkpoint_every=1, max_iters=3)
    monkeypatch.setattr(trial_store, "_WAIT_S", 0.5)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Storage, "write", refuse)
        for _ in range(2):
            result = trial.train()
            assert "No space left" in result["storage_failure"]
            assert result["unstored_s"] > 0
            assert not result["done"]
    assert "storage_failure" not in trial.train()
    assert stored(storage) in ([2, 3], [3])
    assert table(storage) == ["1", "2", "3"]


def test_a_trial_does_not_wait_for_storage_that_hangs(
    begin: Begin, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin(checkpoint_every=1, max_iters=4)
    monkeypatch.setattr(trial_store, "_WAIT_S", 0.1)
    write, back = Storage.write, threading.Event()

    def hang(*arguments: Any) -> None:
        assert back.wait(300)
        write(*arguments)

    monkeypatch.setattr(Storage, "write", hang)
    for _ in range(3):
        assert "not responded" in trial.train()["storage_failure"]
    assert not storage.files(FOLDER)
    back.set()
    assert trial.train()["stored_iteration"] == 4
    assert table(storage) == ["1", "2", "3", "4"]


def test_where_storage_stays_away_the_last_result_says_so(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("away")

    trial = begin(max_iters=1, patience_s=0.2)
    monkeypatch.setattr(Storage, "write", refuse)
    assert trial.train()["storage_failure"] == "away"


def test_told_to_it_takes_a_checkpoint_between_two(begin: Begin, storage: Storage) -> None:
    trial = begin(checkpoint_every=10)
    assert trial.checkpoint_and_hold(300.0) == 0
    trial = begin(checkpoint_every=10)
    trial.train()
    assert trial.checkpoint_and_hold(300.0) == 1
    assert trial.checkpoint_and_hold(300.0) == 1
    assert stored(storage) == [1]
    assert begin().iteration == 1


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "pause_before", lambda attempt: 0.05)
    monkeypatch.setattr(retrying, "pause_before", lambda attempt: 0.05)


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
