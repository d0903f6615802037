from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.policies.loading import LoadedPolicy
from app.policies.watcher import PolicyWatcher
from tests.app.conftest import INTERVAL_S, pictures
from tests.app.policies.watcher.watching import CountingStorage, damage
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.acting import Policy
from training.policy.manifest import MANIFEST_FILE
from training.store.layout import BEST_FILE, LATEST_FILE
from training.store.policies import PolicyStore


def test_waits_for_the_first_policy(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    watcher.start()
    assert watcher.wait_looked(PATIENCE_S)
    assert not watcher.wait_ready(0)
    assert [watcher.loaded, watcher.last_error] == [None, None]
    ref = publish_policy(store)
    assert watcher.wait_ready(PATIENCE_S)
    assert watcher.loaded is not None
    assert watcher.loaded.ref == ref
    assert watcher.loaded.source == "storage"


def test_acts_as_the_published_policy_does(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    watcher.look()
    offline = Policy.from_published(store.fetch(ref))
    assert watcher.loaded is not None
    observations = pictures(3, 84, 84, 4)
    np.testing.assert_array_equal(
        watcher.loaded.policy.act(observations), offline.act(observations)
    )


def test_an_unchanged_store_costs_two_small_reads(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    publish_policy(store)
    watcher.look()
    before = watcher.loaded
    storage.reads.clear()
    for _ in range(5):
        watcher.look()
    assert storage.reads == {LATEST_FILE: 5, BEST_FILE: 5}
    assert watcher.loaded is before


def test_an_empty_store_is_not_listed_at_every_look(
    watcher: PolicyWatcher, storage: CountingStorage
) -> None:
    watcher.look()
    storage.reads.clear()
    watcher.look()
    assert storage.reads == {LATEST_FILE: 1, BEST_FILE: 1}


def test_follows_newer_policies_and_promotions(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    first = publish_policy(store, iteration=1)
    watcher.look()
    second = publish_policy(store, iteration=2)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second
    store.promote(first)
    watcher.look()
    assert watcher.loaded.ref == first


def test_without_latest_json_the_newest_is_served(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    second = publish_policy(store, iteration=2)
    Path(store.storage.at(LATEST_FILE)).unlink()
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second


def test_nothing_ends_the_thread(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(PolicyStore, "candidates", lambda *_: 1 / 0)
        watcher.start()
        wait_until(lambda: watcher.last_error)
        assert "ZeroDivisionError" in str(watcher.last_error)
    publish_policy(store)
    assert watcher.wait_ready(PATIENCE_S)


def test_listeners_hear_of_looks_and_reloads(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    served: list[LoadedPolicy | None] = []
    reloads: list[bool] = []
    watcher = PolicyWatcher(
        store, INTERVAL_S, retry_s=60, on_look=served.append, on_reload=reloads.append
    )
    first = publish_policy(store)
    damage(store, publish_policy(store, iteration=2))
    watcher.look()
    assert reloads == [False, True]
    watcher.start()
    wait_until(lambda: len(served) > 2)
    watcher.stop()
    assert {None if each is None else each.ref for each in served} == {first}
    assert reloads == [False, True]


def test_a_listener_that_fails_changes_nothing(
    store: PolicyStore, publish_policy: PublishPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("deaf")

    watcher = PolicyWatcher(store, INTERVAL_S, on_look=fail, on_reload=fail)
    publish_policy(store)
    watcher.start()
    assert watcher.wait_ready(PATIENCE_S)
    wait_until(lambda: caplog.text.count("deaf") > 2)
    assert watcher.alive
    watcher.stop()


def test_stop_ends_the_thread(watcher: PolicyWatcher) -> None:
    watcher.start()
    assert watcher.alive
    watcher.stop()
    assert not watcher.alive


def test_manifests_are_read_once(
    store: PolicyStore, storage: CountingStorage, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    store.storage.write(f"{refs[0].folder}/{MANIFEST_FILE}", b"{}")
    for _ in range(3):
        listing = store.listing()
        assert [m.version for m in listing.policies] == [refs[1].version]
        assert set(listing.broken) == {refs[0]}
    assert storage.reads[f"{refs[1].folder}/{MANIFEST_FILE}"] == 1
    assert storage.reads[f"{refs[0].folder}/{MANIFEST_FILE}"] == 3  # it may be repaired
