from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.policy_watcher import PolicyWatcher
from tests.app.policy_watcher.watching import CountingStorage, damage
from tests.conftest import PublishPolicy, build_actor, build_manifest
from tests.support.waiting import PATIENCE_S, wait_until
from training.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.policy import Policy, weights_to_bytes
from training.store import PolicyStore


def test_a_broken_policy_is_skipped_and_told_once(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = publish_policy(store, iteration=1)
    watcher.look()
    bad = publish_policy(store, iteration=2)
    damage(store, bad)
    before = watcher.loaded
    for _ in range(5):
        watcher.look()
    assert watcher.loaded is before
    assert before is not None
    assert before.ref == good
    assert storage.reads[f"{bad.folder}/{WEIGHTS_FILE}"] == 2  # here, and once by the watcher
    assert storage.reads[f"{good.folder}/{WEIGHTS_FILE}"] == 1
    assert watcher.last_error is not None
    assert "sha256" in watcher.last_error
    assert list(watcher.broken) == [bad.version]
    assert len([line for line in caplog.messages if bad.version in line]) == 1


def test_the_newest_whole_policy_is_taken_in_place_of_a_broken_one(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    watcher.look()
    second = publish_policy(store, iteration=2)
    damage(store, publish_policy(store, iteration=3))
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second


def test_a_repaired_policy_is_taken_after_a_while(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish_policy(store, iteration=1)
    bad = publish_policy(store, iteration=2)
    damage(store, bad)
    watcher.start()
    assert watcher.wait_ready(PATIENCE_S)
    read = f"{bad.folder}/{WEIGHTS_FILE}"
    retried = storage.reads[read] + 2
    wait_until(lambda: storage.reads[read] >= retried)
    assert len([line for line in caplog.messages if bad.version in line]) == 1
    damage(store, bad)  # the bit flips back
    wait_until(lambda: watcher.loaded and watcher.loaded.ref == bad)
    assert watcher.last_error is None
    assert watcher.broken == {}


@pytest.mark.parametrize("missing", [MANIFEST_FILE, WEIGHTS_FILE])
def test_a_policy_without_one_of_its_files_is_skipped(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy, missing: str
) -> None:
    good = publish_policy(store, iteration=1)
    bad = publish_policy(store, iteration=2)
    Path(store.storage.at(f"{bad.folder}/{missing}")).unlink()
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == good
    assert watcher.last_error is not None


def test_a_policy_that_fails_to_run_is_skipped(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = publish_policy(store, iteration=1)
    watcher.look()

    def fail(_: Policy) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Policy, "warm_up", fail)
    publish_policy(store, iteration=2)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == good
    assert watcher.last_error is not None
    assert "cannot be built: RuntimeError: no such kernel" in watcher.last_error


def test_weights_of_another_shape_are_broken(watcher: PolicyWatcher, store: PolicyStore) -> None:
    weights = weights_to_bytes(build_actor())
    manifest = build_manifest(weights)
    wider = dataclasses.replace(manifest.network, hidden=manifest.network.hidden + 1)
    store.publish(manifest.model_copy(update={"network": wider}), weights)
    watcher.look()
    assert watcher.loaded is None
    assert "do not fit" in str(watcher.last_error)
