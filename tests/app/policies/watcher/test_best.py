"""A watcher that follows the policy with the highest validation score."""

from __future__ import annotations

import pytest

from app.policies.watcher import PolicyWatcher
from tests.app.policies.watcher.watching import CountingStorage, damage
from tests.conftest import PublishPolicy, give_scores
from training.policy.acting import Policy
from training.store.layout import BEST_FILE, LATEST_FILE, PolicyRef
from training.store.policies import PolicyStore


@pytest.fixture
def watcher(store: PolicyStore) -> PolicyWatcher:
    return PolicyWatcher(store, 60.0, follow="best", retry_s=0.0)


def loaded(watcher: PolicyWatcher) -> PolicyRef | None:
    """What is served after a look."""
    watcher.look()
    return None if watcher.loaded is None else watcher.loaded.ref


def test_a_beginner_does_not_take_over(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    good = publish_policy(store, run="run-a")
    give_scores(store, {good: 920.0})
    assert loaded(watcher) == good
    beginner = publish_policy(store, run="run-b", iteration=2)
    assert store.latest_ref() == beginner
    assert loaded(watcher) == good
    give_scores(store, {beginner: -20.0})
    assert loaded(watcher) == good
    better = publish_policy(store, run="run-b", iteration=3)
    give_scores(store, {beginner: -20.0, better: 925.0})
    assert loaded(watcher) == better
    assert watcher.last_error is None


def test_while_none_has_a_score_the_latest_is_served(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    first = publish_policy(store, iteration=1)
    assert loaded(watcher) == first
    second = publish_policy(store, iteration=2)
    assert loaded(watcher) == second
    give_scores(store, {first: 10.0})
    assert loaded(watcher) == first


def test_the_next_best_is_served_while_the_best_is_broken(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2, 3, 4)]
    give_scores(store, {refs[0]: 10.0, refs[1]: 30.0, refs[2]: 20.0})
    damage(store, refs[1])
    assert loaded(watcher) == refs[2]
    assert refs[1].version in watcher.broken
    damage(store, refs[1])  # the same bit once more: whole again
    assert loaded(watcher) == refs[1]


def test_a_best_policy_that_was_deleted_is_replaced_by_the_next_one(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2, 3)]
    give_scores(store, {refs[0]: 10.0, refs[1]: 20.0})
    store.delete(refs[1])
    assert loaded(watcher) == refs[0]


def test_a_best_file_that_names_none_is_a_fault(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    give_scores(store, {refs[0]: 10.0})
    store.storage.write(BEST_FILE, b"{")
    assert loaded(watcher) == refs[0]
    assert BEST_FILE in watcher.broken


def test_an_unchanged_store_costs_two_small_reads(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    give_scores(store, {publish_policy(store): 10.0})
    watcher.look()
    storage.reads.clear()
    watcher.look()
    assert storage.reads == {BEST_FILE: 1, LATEST_FILE: 1}


def test_the_bundled_policy_drives_until_storage_has_one(
    store: PolicyStore, fallback: Policy, publish_policy: PublishPolicy
) -> None:
    watcher = PolicyWatcher(store, 60.0, follow="best", fallback=fallback)
    watcher.look()
    watcher.fall_back()
    assert watcher.loaded is not None
    assert watcher.loaded.source == "bundled"
    ref = publish_policy(store)
    assert loaded(watcher) == ref
