"""Policies are validated beside training, by a real process on real tracks."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S, wait_until
from training.environment.seeds import VALIDATION_SEEDS
from training.evaluation.rollout import drive
from training.policy.acting import Policy
from training.policy.manifest import WEIGHTS_FILE
from training.store.layout import BEST_FILE, PolicyRef, validation_file
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.store.validation_scores import best_first
from training.validation import validator as validator_module
from training.validation.validator import Validator


def test_policies_of_before_and_new_ones_are_validated(
    ray_cluster: None, any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    store = any_store
    before = publish_policy(store, iteration=1)
    broken = publish_policy(store, iteration=2)
    store.storage.write(f"{broken.folder}/{WEIGHTS_FILE}", b"torn")
    deleted = PolicyRef(run="run-a", version="deleted")
    with Validator(store.storage, "run-a", tracks=1) as validator:
        new = publish_policy(store, iteration=3)
        validator.add(deleted)
        validator.add(new)
        wait_until(lambda: set(store.listing().validations) == {before, new} and store.best_ref())
    seed = VALIDATION_SEEDS[0]
    policy = Policy.from_published(store.fetch(new))
    expected = drive(policy, seed, simulator="fast").score
    stored = store.listing().validations
    assert stored[new].scores == {seed: pytest.approx(expected)}
    assert validator.validations == stored
    assert store.best_ref() == best_first(stored)[0]


@dataclasses.dataclass(frozen=True)
class _Refusing(Storage):
    """Refuses to write scores until it is told otherwise."""

    refused: threading.Semaphore = dataclasses.field(default_factory=lambda: threading.Semaphore(0))
    answers: threading.Event = dataclasses.field(default_factory=threading.Event)

    def write(self, relative: str, content: bytes) -> None:
        if relative in (validation_file("run-a"), BEST_FILE) and not self.answers.is_set():
            self.refused.release()
            raise OSError("away")
        super().write(relative, content)


def test_scores_are_stored_once_storage_takes_them(
    ray_cluster: None,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validator_module, "pause_before", lambda attempt: 0.05)
    storage = _Refusing(store.storage.root, store.storage.filesystem, store.storage.path)
    ref = publish_policy(store)
    with Validator(storage, "run-a", tracks=1) as validator:
        for _ in range(2):
            assert storage.refused.acquire(timeout=PATIENCE_S)
        assert set(validator.validations) == {ref}
        assert store.listing().validations == {}
        storage.answers.set()
        wait_until(lambda: store.best_ref() == ref)
    assert set(store.listing().validations) == {ref}


def test_what_was_validated_is_not_driven_again(
    store: PolicyStore, publish_policy: PublishPolicy, ray_cluster: None
) -> None:
    ref = publish_policy(store)
    with Validator(store.storage, "run-a", tracks=1):
        wait_until(lambda: store.best_ref() == ref)
    store.storage.delete_file(BEST_FILE)
    with Validator(store.storage, "run-a", tracks=1) as resumed:
        # Its scores are known, and that no ``best.json`` names it is repaired.
        wait_until(lambda: store.best_ref() == ref)
        assert set(resumed.validations) == {ref}


def test_without_tracks_nothing_is_validated(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    with Validator(store.storage, "run-a", tracks=0) as validator:
        validator.add(publish_policy(store))
    assert validator.validations == {}
    assert store.listing().validations == {}
