from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.policies.watcher import PolicyWatcher
from tests.app.policies.watcher.watching import CountingStorage
from tests.conftest import PublishPolicy
from tests.damages import Corrupt
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.store.layout import BEST_FILE, LATEST_FILE
from training.store.policies import PolicyStore


def test_storage_may_go_away_and_come_back(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    publish_policy(store, iteration=1)
    watcher.start()
    assert watcher.wait_ready(PATIENCE_S)
    loaded = watcher.loaded
    storage.away.set()
    wait_until(lambda: watcher.last_error)
    looks = storage.reads[LATEST_FILE] + 5
    wait_until(lambda: storage.reads[LATEST_FILE] >= looks)
    assert watcher.loaded is loaded
    assert "the bucket does not answer" in str(watcher.last_error)
    assert len([line for line in caplog.messages if "does not answer" in line]) == 1
    storage.away.clear()
    wait_until(lambda: watcher.last_error is None)
    second = publish_policy(store, iteration=2)
    wait_until(lambda: watcher.loaded and watcher.loaded.ref == second)
    assert watcher.alive


@pytest.mark.parametrize("file", [MANIFEST_FILE, WEIGHTS_FILE])
def test_an_older_policy_is_better_than_none_where_the_newest_cannot_be_read(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    file: str,
) -> None:
    older, newest = (publish_policy(store, iteration=number) for number in (1, 2))
    bad = Corrupt(store.storage, newest)
    whole = store.storage.read(bad.path(file))
    bad.put_folder(file)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == older
    reason = f"{newest.version}: it cannot be read: "
    assert str(watcher.last_error).startswith(reason)
    assert watcher.broken[newest.version].startswith(reason)
    assert f"policy skipped: {reason}" in caplog.text
    Path(store.storage.at(bad.path(file))).rmdir()
    store.storage.write(bad.path(file), whole)
    watcher.start()
    wait_until(lambda: watcher.loaded and watcher.loaded.ref == newest)
    wait_until(lambda: watcher.last_error is None)
    assert watcher.broken == {}


def test_a_newest_policy_that_cannot_be_read_changes_nothing_that_is_loaded(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    watcher.look()
    loaded = watcher.loaded
    publish_policy(store, iteration=2)
    Corrupt(store.storage, publish_policy(store, iteration=3)).put_folder(WEIGHTS_FILE)
    with pytest.raises(OSError, match="is a directory"):
        watcher.look()
    assert watcher.loaded is loaded


def test_where_no_policy_can_be_read_storage_is_away(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    for number in (1, 2):
        Corrupt(store.storage, publish_policy(store, iteration=number)).put_folder(WEIGHTS_FILE)
    with pytest.raises(OSError, match=r"000002.*is a directory"):
        watcher.look()
    assert watcher.loaded is None


def test_storage_that_goes_away_under_way_is_not_asked_for_every_policy(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2, 3):
        publish_policy(store, iteration=number)
    store.listing()
    storage.reads.clear()

    def go_away(*_: object) -> None:
        storage.away.set()
        raise OSError("the bucket does not answer")

    monkeypatch.setattr(PolicyStore, "fetch", go_away)
    with pytest.raises(OSError, match="does not answer"):
        watcher.look()
    # By the look, for the candidates, and after the failure.
    assert storage.reads == {LATEST_FILE: 3, BEST_FILE: 1}
    assert watcher.loaded is None
