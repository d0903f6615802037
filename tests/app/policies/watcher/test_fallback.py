from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.policies.watcher import PolicyWatcher
from tests.app.policies.watcher.watching import CountingStorage, damage
from tests.conftest import PublishPolicy, build_actor
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.acting import Policy, weights_to_bytes
from training.store.layout import LATEST_FILE, PolicyRef
from training.store.policies import PolicyStore


def served(watcher: PolicyWatcher) -> tuple[str, PolicyRef]:
    """Where the served policy is from, and which it is."""
    assert watcher.loaded is not None
    return watcher.loaded.source, watcher.loaded.ref


def ref_of(policy: Policy) -> PolicyRef:
    return PolicyRef(run=policy.manifest.run, version=policy.version)


def test_the_fallback_drives_until_a_policy_is_published(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    publish_policy: PublishPolicy,
) -> None:
    assert not falling_back.wait_ready(0)
    falling_back.start()
    assert falling_back.wait_looked(PATIENCE_S)
    assert falling_back.wait_ready(0)
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert falling_back.last_error is None
    ref = publish_policy(store)
    wait_until(lambda: served(falling_back) == ("storage", ref))


def test_the_fallback_never_drives_where_storage_has_a_policy(
    falling_back: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    ref = publish_policy(store)
    falling_back.start()
    assert falling_back.wait_looked(PATIENCE_S)
    falling_back.fall_back()
    assert served(falling_back) == ("storage", ref)
    assert "bundled" not in caplog.text


def test_what_storage_had_is_served_on_when_it_is_gone(
    falling_back: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    falling_back.look()
    Path(store.storage.at(LATEST_FILE)).unlink()
    store.storage.delete_folder("runs")
    falling_back.look()
    falling_back.fall_back()
    assert served(falling_back) == ("storage", ref)


def test_a_broken_policy_is_told_while_the_fallback_drives(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    publish_policy: PublishPolicy,
) -> None:
    bad = publish_policy(store)
    damage(store, bad)
    falling_back.start()
    assert falling_back.wait_looked(PATIENCE_S)
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert "sha256" in str(falling_back.last_error)
    assert list(falling_back.broken) == [bad.version]
    damage(store, bad)  # the bit flips back
    wait_until(lambda: served(falling_back) == ("storage", bad))
    wait_until(lambda: falling_back.last_error is None)


def test_the_fallback_drives_only_when_told_to_while_storage_is_away(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    ref = publish_policy(store)
    storage.away.set()
    falling_back.start()
    assert not falling_back.wait_looked(0.3)
    assert falling_back.loaded is None
    falling_back.fall_back()
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert "storage is away" in str(falling_back.last_error)
    storage.away.clear()
    wait_until(lambda: served(falling_back) == ("storage", ref))


def test_the_fallback_drives_while_the_first_look_hangs(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    ref = publish_policy(store)
    with storage.answering:
        falling_back.start()
        assert not falling_back.wait_looked(0.1)
        assert falling_back.loaded is None
        falling_back.fall_back()
        assert served(falling_back) == ("bundled", ref_of(fallback))
        assert "not answered yet" in str(falling_back.last_error)
    wait_until(lambda: served(falling_back) == ("storage", ref))
    assert falling_back.wait_looked(PATIENCE_S)
    assert falling_back.last_error is None


def test_the_fallback_itself_may_be_published(
    falling_back: PolicyWatcher, fallback: Policy, store: PolicyStore
) -> None:
    falling_back.fall_back()
    ref = store.publish(fallback.manifest, weights_to_bytes(build_actor()))
    falling_back.look()
    assert served(falling_back) == ("storage", ref)
