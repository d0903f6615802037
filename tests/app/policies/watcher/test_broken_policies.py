from __future__ import annotations

import pytest

from app.policies.watcher import PolicyWatcher
from tests.app.policies.watcher.watching import CountingStorage, damage
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.acting import Policy
from training.policy.manifest import WEIGHTS_FILE
from training.store.policies import PolicyStore


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
